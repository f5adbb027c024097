"""The baselines that need only one image's inputs.

The constants were chosen on three synthetic development scenes; halving or doubling a weight
changes the mean IoU by about one percentage point.

Letters: H, W image size, L labels of the image, P LiDAR points in the image.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from pnerf_jax.contrib.baselines import dense_crf, graph_cut, lidar
from pnerf_jax.contrib.baselines.inputs import Inputs
from pnerf_jax.contrib.baselines.ray_labels import (
  RayLabels,
  label_likelihood,
  label_prior,
  nearest_label,
)
from pnerf_jax.data import labels

_PASS_THROUGH_PROB = 0.8  # fraction of rays that miss the object that a primitive bounds
_LABEL_LIKELIHOOD_FLOOR = 0.1  # likelihood of a pseudo-label that is incompatible with the class
_POINT_ERROR_PROB = (
  0.05  # fraction of LiDAR points and triangles that belong to none of their primitives
)
_CONTRAST = 4.0  # Potts weight between pixels of equal colour

_CRF_ITERATIONS = 10
_CRF_NEIGHBOURS = 16  # per node and kernel
_POSITION_STD = 0.05  # fraction of the image's width
_COLOUR_STD = 12.0  # grey levels
_SPACE_STD = 0.3  # metres
_MAX_STEREO_DEPTH = 30.0  # metres; beyond, stereo depth is too inaccurate for the kernel in space
_APPEARANCE_WEIGHT, _SPACE_WEIGHT, _LINK_WEIGHT = 4.0, 2.0, 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
  """Labels of one image.

  Attributes:
    semantic: [H, W] uint8 ids.
    instance: [H, W] uint16, id * 1000 + instanceId.
    depth: [H, W] float32, planar metres, 0 = sky; None for a method without depth.
  """

  semantic: np.ndarray
  instance: np.ndarray
  depth: np.ndarray | None


def semantic_prediction(semantic: np.ndarray) -> Prediction:
  """Return a prediction without instances and depth; semantic: [H, W] uint8."""
  return Prediction(semantic, labels.pack_instance(semantic, np.zeros_like(semantic)), None)


def _prediction(rays: RayLabels, label: np.ndarray, depth: np.ndarray | None = None) -> Prediction:
  semantic = rays.semantic[label].astype(np.uint8)
  return Prediction(semantic, labels.pack_instance(semantic, rays.instance[label]), depth)


def pseudo_labels(inputs: Inputs) -> Prediction:
  """Return the pseudo-labels; unknown pixels stay unlabelled."""
  return semantic_prediction(inputs.pseudo_label)


def nearest_primitive(inputs: Inputs) -> Prediction:
  """Return the first primitive on each ray, and the depth of its entry."""
  return _prediction(inputs.ray_labels, *nearest_label(inputs.ray_labels, inputs.depth_per_t))


def _pixel_cost(inputs: Inputs) -> np.ndarray:
  """Return -log of the prior from the primitives times the label likelihood, [H, W, L]."""
  rays = inputs.ray_labels
  likelihood = label_likelihood(rays, inputs.pseudo_label, _LABEL_LIKELIHOOD_FLOOR)
  with np.errstate(divide='ignore'):
    log_prior = np.log(label_prior(rays, _PASS_THROUGH_PROB))
    return -log_prior - inputs.label_confidence[..., None] * np.log(likelihood)


def primitives_graph_cut(inputs: Inputs) -> Prediction:
  """Combine primitives on the ray and pseudo-labels in a contrast-sensitive Potts model."""
  weights = graph_cut.contrast_weights(inputs.image, _CONTRAST)
  label = graph_cut.alpha_expansion(_pixel_cost(inputs), *weights)
  return _prediction(inputs.ray_labels, label)


def mesh_graph_cut(inputs: Inputs) -> Prediction:
  """Propagate the labels of the LiDAR mesh in a contrast-sensitive Potts model.

  A pixel that sees no labelled triangle may take any label on its ray, at equal cost.
  """
  if inputs.surface_primitives is None:
    raise ValueError('mesh_graph_cut needs inputs with a mesh')
  height, width, _ = inputs.surface_primitives.shape
  pixel = np.indices((height, width)).reshape(2, -1).T
  return _propagate(inputs, inputs.surface_primitives.reshape(height * width, -1), pixel)


def lidar_graph_cut(inputs: Inputs) -> Prediction:
  """Propagate the labels of the LiDAR points in a contrast-sensitive Potts model.

  A pixel without a point may take any label on its ray, at equal cost.
  """
  return _propagate(inputs, inputs.point_primitives, inputs.point_pixel)


def _propagate(inputs: Inputs, primitives: np.ndarray, pixel: np.ndarray) -> Prediction:
  """Extend the labels of primitives [N, B] at pixels [N, 2] to the image."""
  rays = inputs.ray_labels
  possible = lidar.point_labels(rays, primitives)
  cost = lidar.pixel_costs(possible, pixel, inputs.pseudo_label.shape, _POINT_ERROR_PROB)
  with np.errstate(divide='ignore'):
    cost = cost - np.log(label_prior(rays, 1.0))
  weights = graph_cut.contrast_weights(inputs.image, _CONTRAST)
  return _prediction(rays, graph_cut.alpha_expansion(cost, *weights))


def crf(inputs: Inputs) -> Prediction:
  """Infer the labels of pixels and LiDAR points in one conditional random field."""
  height, width = inputs.pseudo_label.shape
  num_pixels, num_points = height * width, len(inputs.points)
  possible = lidar.point_labels(inputs.ray_labels, inputs.point_primitives)
  possible[~possible.any(axis=1)] = True  # a point in no primitive is uninformative
  cost = np.concatenate(
    [
      _pixel_cost(inputs).reshape(num_pixels, -1),
      lidar.label_costs(possible, _POINT_ERROR_PROB),
    ]
  )
  row, column = (x.ravel() for x in np.indices((height, width)))
  appearance = np.stack([column / (_POSITION_STD * width), row / (_POSITION_STD * width)], -1)
  colour = inputs.image.reshape(num_pixels, 3) / _COLOUR_STD
  appearance = np.concatenate([appearance, colour], -1)
  appearance = np.concatenate([appearance, np.full((num_points, 5), np.nan)])  # points: no colour
  space = np.concatenate([_stereo_points(inputs), inputs.points]) / _SPACE_STD
  point_nodes = num_pixels + np.arange(num_points)
  links = dense_crf.link_kernel(
    inputs.point_pixel @ [width, 1], point_nodes, num_pixels + num_points
  )
  kernels = [
    (_APPEARANCE_WEIGHT, dense_crf.gaussian_kernel(appearance, _CRF_NEIGHBOURS)),
    (_SPACE_WEIGHT, dense_crf.gaussian_kernel(space, _CRF_NEIGHBOURS)),
    (_LINK_WEIGHT, links),
  ]
  marginals = dense_crf.mean_field(cost.astype(np.float32), kernels, _CRF_ITERATIONS)
  label = marginals[:num_pixels].argmax(axis=1).reshape(height, width)
  return _prediction(inputs.ray_labels, label)


def _stereo_points(inputs: Inputs) -> np.ndarray:
  """Return the stereo points [H * W, 3], recentred metres; nan without usable depth."""
  usable = (inputs.stereo_depth > 0) & (inputs.stereo_depth < _MAX_STEREO_DEPTH)
  z = np.where(usable, inputs.stereo_depth, np.nan)
  fx, fy, cx, cy = np.asarray(inputs.camera.intrinsics, np.float64)
  row, column = np.indices(z.shape)
  points = np.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], -1).reshape(-1, 3)
  pose = np.asarray(inputs.camera.world_from_cam, np.float64)
  return points @ pose[:3, :3].T + pose[:3, 3]


METHODS: dict[str, tuple[str, Callable[[Inputs], Prediction]]] = {
  'pseudo_labels': ('2D pseudo-labels', pseudo_labels),
  'nearest_primitive': ('nearest primitive', nearest_primitive),
  'primitives_graph_cut': ('primitives + graph cut', primitives_graph_cut),
  'mesh_graph_cut': ('LiDAR mesh + graph cut', mesh_graph_cut),
  'lidar_graph_cut': ('LiDAR points + graph cut', lidar_graph_cut),
  'crf': ('3D-2D CRF', crf),
}
