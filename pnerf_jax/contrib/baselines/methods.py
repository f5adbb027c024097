"""The methods that need nothing but one image's inputs: each gives labels, none sees the truth.

Letters: H, W image size, L labels of the image, P LiDAR points in the image.

The constants were set by the figures and pictures of three synthetic streets kept for development;
none is critical: halving or doubling a weight moves the mean IoU by a point.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from pnerf_jax.contrib.baselines import dense_crf, graph_cut, lidar, nearest, ray_labels
from pnerf_jax.contrib.baselines.inputs import Inputs
from pnerf_jax.data import labels

_PASSING = 0.8  # share of rays that pass beside what a primitive bounds: they are coarse
_CONTRAST = 4.0  # Potts weight between pixels of one colour
_WRONG_WORD = 0.1  # plausibility of a word that does not name the class
_WRONG_POINT = 0.05  # share of LiDAR points that are in none of the primitives that hold them


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
  """Labels of one image.

  semantic: [H, W] uint8 ids.   instance: [H, W] uint16 id * 1000 + instanceId.   depth: [H, W]
  float32 planar metres, 0 = sky; None for a method that has none of its own.
  """

  semantic: np.ndarray
  instance: np.ndarray
  depth: np.ndarray | None


def classes_alone(semantic: np.ndarray) -> Prediction:
  """A prediction of a method that knows no instances and no depth; semantic [H, W]."""
  return Prediction(semantic, labels.pack_instance(semantic, np.zeros_like(semantic)), None)


def _prediction(
  found: ray_labels.RayLabels, label: np.ndarray, depth: np.ndarray | None = None
) -> Prediction:
  semantic = found.semantic[label].astype(np.uint8)
  return Prediction(semantic, labels.pack_instance(semantic, found.instance[label]), depth)


def pseudo_labels(inputs: Inputs) -> Prediction:
  """What the 2D network says; unknown stays unlabelled, things have no instances."""
  return classes_alone(inputs.word)


def nearest_primitive(inputs: Inputs) -> Prediction:
  """What the ray enters first, and where."""
  return _prediction(inputs.met, *nearest.nearest(inputs.met, inputs.depth_per_t))


def _pixel_cost(inputs: Inputs) -> np.ndarray:
  """[H, W, L]: -log of the primitives' prior and of the plausibility of the pseudo label."""
  likelihood = ray_labels.label_likelihood(inputs.met, inputs.word, _WRONG_WORD)
  with np.errstate(divide='ignore'):
    return -np.log(ray_labels.prior(inputs.met, _PASSING)) - inputs.trust[..., None] * np.log(
      likelihood
    )


def primitives_graph_cut(inputs: Inputs) -> Prediction:
  """Primitives along the ray and pseudo labels, smoothed up to the edges of the image."""
  weights = graph_cut.contrast_weights(inputs.photo, _CONTRAST)
  return _prediction(inputs.met, graph_cut.minimise(_pixel_cost(inputs), *weights))


def lidar_graph_cut(inputs: Inputs) -> Prediction:
  """Labels of the LiDAR points, spread up to the edges of the image.

  A pixel without a point may be anything that its ray meets, at the same cost.
  """
  shape = inputs.word.shape
  cost = lidar.evidence(
    lidar.point_labels(inputs.met, inputs.primitive), inputs.pixel, shape, _WRONG_POINT
  )
  with np.errstate(divide='ignore'):
    cost = cost - np.log(ray_labels.prior(inputs.met, 1.0))
  weights = graph_cut.contrast_weights(inputs.photo, _CONTRAST)
  return _prediction(inputs.met, graph_cut.minimise(cost, *weights))


_ITERATIONS = 10  # of the mean field
_NEIGHBOURS = 16  # nearest nodes to which a node is tied, in each kernel
_REGION = 0.05  # standard deviation of position, share of the image's width,
_COLOUR = 12.0  # and of colour, grey levels
_SPACE = 0.3  # standard deviation of position in space, metres
_STEREO = 30.0  # metres; beyond, stereo depth says little of what belongs together
_ALIKE, _BESIDE, _LINK = 4.0, 2.0, 4.0  # weights of the kernels


def crf(inputs: Inputs) -> Prediction:
  """Pixels and LiDAR points in one conditional random field."""
  height, width = inputs.word.shape
  pixels, points = height * width, len(inputs.points)
  cost = _pixel_cost(inputs).reshape(pixels, -1)
  may = lidar.point_labels(inputs.met, inputs.primitive)
  may[~may.any(axis=1)] = True  # a point in no primitive says nothing
  share = may / may.sum(axis=1, keepdims=True)
  cost = np.concatenate([cost, -np.log(_WRONG_POINT / may.shape[1] + (1 - _WRONG_POINT) * share)])
  row, column = (x.ravel() for x in np.indices((height, width)))
  alike = np.stack([column / (_REGION * width), row / (_REGION * width)], -1)
  alike = np.concatenate([alike, inputs.photo.reshape(pixels, 3) / _COLOUR], -1)
  alike = np.concatenate([alike, np.full((points, 5), np.nan)])  # a point has no colour
  space = np.concatenate([_stereo_points(inputs), inputs.points]) / _SPACE
  kernels = [
    (_ALIKE, dense_crf.affinity(alike, _NEIGHBOURS)),
    (_BESIDE, dense_crf.affinity(space, _NEIGHBOURS)),
    (
      _LINK,
      dense_crf.links(inputs.pixel @ [width, 1], pixels + np.arange(points), pixels + points),
    ),
  ]
  marginal = dense_crf.mean_field(cost.astype(np.float32), kernels, _ITERATIONS)[:pixels]
  return _prediction(inputs.met, marginal.argmax(axis=1).reshape(height, width))


def _stereo_points(inputs: Inputs) -> np.ndarray:
  """[H * W, 3] recentred metres, nan without stereo depth or beyond its use."""
  z = np.where((inputs.stereo > 0) & (inputs.stereo < _STEREO), inputs.stereo, np.nan)
  fx, fy, cx, cy = np.asarray(inputs.view.intrinsics, np.float64)
  row, column = np.indices(z.shape)
  points = np.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], -1).reshape(-1, 3)
  pose = np.asarray(inputs.view.world_from_cam, np.float64)
  return points @ pose[:3, :3].T + pose[:3, 3]


METHODS: dict[str, tuple[str, Callable[[Inputs], Prediction]]] = {
  'pseudo_labels': ('2D pseudo labels', pseudo_labels),
  'nearest_primitive': ('nearest primitive', nearest_primitive),
  'primitives_graph_cut': ('primitives + graph cut', primitives_graph_cut),
  'lidar_graph_cut': ('LiDAR points + graph cut', lidar_graph_cut),
  'crf': ('3D-2D CRF', crf),
}
