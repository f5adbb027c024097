"""Whole images: intervals of a view, then its rays in chunks over all devices.

Letters: H, W image size, B rays of a chunk, K intervals of a ray.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from pnerf_jax.data import labels
from pnerf_jax.geometry import cameras
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling import confidence, panoptic
from pnerf_jax.labelling.moving_objects import dynamic_object_mask
from pnerf_jax.rendering.rays import RenderOptions, render_pixels
from pnerf_jax.rendering.scene import BoundField, Scene


@dataclasses.dataclass(frozen=True)
class Camera:
  """What is rendered: a pinhole camera and the image whose appearance code and frame it takes.

  intrinsics: [4] fx, fy, cx, cy.   world_from_cam: [4, 4] recentred.   image: index of the view in
  the window.   frame: its number, for moving objects.
  """

  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  width: int
  height: int
  image: int
  frame: int


@dataclasses.dataclass(frozen=True)
class Image:
  """One rendered view, numpy.

  rgb: [H, W, 3] uint8.   depth: [H, W] float32 planar metres, 0 = sky.   semantic, fixed: [H, W]
  uint8 ids.   instance: [H, W] uint16 id * 1000 + instanceId.   confidence: [H, W] float32.
  evidence: [H, W, 4] float32 of confidence.calibration_features, from which the confidence is made.
  outside: [H, W] bool, no primitive vouches for the label: the ray met none and no pseudo label
  calls it sky, or most of what it saw is void's, or it met more than the table had room for.
  dropped: intervals that the table had no room for, summed over the rays.
  """

  rgb: np.ndarray
  depth: np.ndarray
  semantic: np.ndarray
  fixed: np.ndarray
  instance: np.ndarray
  confidence: np.ndarray
  evidence: np.ndarray
  outside: np.ndarray
  num_truncated: int


@dataclasses.dataclass(frozen=True)
class LabelOptions:
  """How pixels are labelled at inference.

  merged: classes were merged in training as in the published program; the primitives split them.
  source: the field that labels, 'learned' or 'fixed'.   calibration: of the confidence.
  """

  merged: bool
  source: str
  calibration: confidence.ConfidenceModel


def dataset_camera(scene: Scene, image: int, full: bool) -> Camera:
  """The window's own view `image`, at the size of the source images or of training."""
  window = scene.window
  intrinsics = window.full_intrinsics if full else window.intrinsics
  width, height = (window.full_sizes if full else window.sizes)[image].tolist()
  return Camera(
    np.asarray(intrinsics[image], np.float32),
    np.asarray(window.world_from_cam[image], np.float32),
    width,
    height,
    image,
    int(window.view_frame[image]),
  )


class Renderer:
  """Renders views of a scene; compiles once for all of one size."""

  def __init__(
    self,
    scene: Scene,
    module: Any,
    options: RenderOptions,
    mesh: jax.sharding.Mesh,
    chunk: int,
    num_intervals: int,
    labelling: LabelOptions,
  ):
    """Binds what does not change between views.

    Args:
      scene: the window on the device.
      module: the field (linen).
      options: of the rendering.
      mesh: ('data',).
      chunk: rays rendered at once; rounded up to a multiple of the device count.
      num_intervals: K.
      labelling: how pixels are labelled.
    """
    devices = mesh.devices.size
    self._scene = scene
    self._chunk = -(-chunk // devices) * devices
    self._num_intervals = num_intervals
    self._calibration = labelling.calibration
    # [chunks, rays of a chunk, ...]: the chunks follow each other, a chunk's rays are shared out.
    by_ray, replicated = PartitionSpec(None, 'data'), PartitionSpec()
    class_ids = jnp.asarray(scene.class_ids, jnp.int32)
    taken_for = [labels.paper_merged_class(i) if labelling.merged else i for i in scene.class_ids]
    groups = jnp.asarray(np.equal.outer(taken_for, taken_for))
    primitives = scene.primitives

    def render_chunk(params, rays, intervals):
      """B rays -> rgb [B, 3] uint8, planar depth [B] in metres (0 = sky), panoptic.PixelLabels [B]."""
      out = render_pixels(
        BoundField(module, params), rays, intervals, scene.table, len(scene.class_ids), options
      )
      picked = panoptic.label_pixels(
        out,
        intervals,
        class_ids,
        groups,
        primitives.semantic,
        primitives.instance,
        labelling.source,
      )
      depth = jnp.where(out.opacity > 0.5, out.median_depth * rays.depth_per_t, 0.0)
      rgb = jnp.round(jnp.clip(out.rgb, 0.0, 1.0) * 255.0).astype(jnp.uint8)
      return rgb, depth, picked

    # One call an image: a loop inside keeps reusing one chunk's memory, which on CPU doubles the
    # speed, for there each call maps its temporaries afresh. Each device chooses among the samples
    # of its own rays, hence shard_map.
    self._render_chunks = jax.jit(
      jax.shard_map(
        lambda params, rays, intervals: jax.lax.map(
          lambda chunk: render_chunk(params, *chunk), (rays, intervals)
        ),
        mesh=mesh,
        in_specs=(replicated, by_ray, by_ray),
        out_specs=by_ray,
        check_vma=False,
      )
    )

  def __call__(self, params: Any, view: Camera) -> Image:
    """Renders one view. params: the field's parameters."""
    scene = self._scene
    intrinsics, world_from_cam = jnp.asarray(view.intrinsics), jnp.asarray(view.world_from_cam)
    intervals, moving, moving_primitive = view_intervals(
      scene.primitives,
      intrinsics,
      world_from_cam,
      view.width,
      view.height,
      scene.window.near,
      float(scene.window.far),
      self._num_intervals,
      view.frame,
    )
    rays = cameras.pixel_rays(
      intrinsics, world_from_cam, cameras.pixel_grid(view.width, view.height), jnp.int32(view.image)
    )
    count = view.width * view.height
    chunks = -(-count // self._chunk)

    def split(x):
      """[H, W, ...] to [chunks, rays of a chunk, ...]; the last rays are rendered more than once
      where they do not fill the last chunk."""
      x = x.reshape(count, *x.shape[2:])
      index = jnp.minimum(jnp.arange(chunks * self._chunk), count - 1)
      return x[index].reshape(chunks, self._chunk, *x.shape[1:])

    out = self._render_chunks(params, *jax.tree.map(split, (rays, intervals)))
    whole = jax.tree.map(
      lambda x: (
        np.asarray(x)
        .reshape(-1, *x.shape[2:])[:count]
        .reshape(view.height, view.width, *x.shape[2:])
      ),
      out,
    )
    return self._finish(
      whole,
      view,
      np.asarray(moving),
      np.asarray(moving_primitive),
      int(jnp.sum(intervals.num_truncated)),
    )

  def _finish(
    self, whole, view: Camera, moving: np.ndarray, moving_primitive: np.ndarray, dropped: int
  ) -> Image:
    """Lays the moving objects of the view's own frame over the static scene and packs the ids."""
    rgb, depth, picked = whole
    semantic, instance, depth = picked.semantic.copy(), picked.instance.copy(), depth.copy()
    mass, fixed_mass = picked.mass.copy(), picked.fixed_mass.copy()
    words = self._recorded(view, 'pseudo_label')
    if words is None:
      words = np.zeros((view.height, view.width), np.uint8)
    outside = picked.overflowed | picked.unnamed | (picked.unmet & (words != labels.SKY))
    planar = moving / _ray_length(view)
    box = (moving_primitive >= 0) & ((depth == 0) | (planar < depth))
    moving_semantic = np.asarray(self._scene.primitives.semantic)[moving_primitive]
    seen = dynamic_object_mask(box, moving_semantic, words, rgb, self._recorded(view, 'rgb'))
    over = moving_primitive[seen]
    semantic[seen] = moving_semantic[seen]
    instance[seen] = np.asarray(self._scene.primitives.instance)[over]
    depth[seen] = planar[seen]
    # The box says where the object is, not which of its pixels it covers.
    mass[seen] = fixed_mass[seen] = 0.5
    outside[seen] = False
    known = confidence.calibration_features(mass, fixed_mass, semantic, words, view.intrinsics[0])
    trust = confidence.calibrated_confidence(known, outside, self._calibration)
    return Image(
      rgb,
      depth,
      semantic.astype(np.uint8),
      picked.fixed.astype(np.uint8),
      labels.pack_instance(semantic, instance),
      trust,
      known,
      outside,
      dropped,
    )

  def _recorded(self, view: Camera, layer: str) -> np.ndarray | None:
    """A layer of the window ('rgb', 'pseudo_label') at the view's size, [H, W, ...]; None where
    there is none or the view was not recorded."""
    window, image = self._scene.window, view.image
    values = getattr(window, layer)
    if values is None or not (
      np.allclose(view.world_from_cam, window.world_from_cam[image], atol=1e-5)
      and np.allclose(
        view.intrinsics[:2] / view.width,
        window.intrinsics[image, :2] / window.sizes[image, 0],
        rtol=1e-4,
      )
    ):
      return None
    width, height = window.sizes[image]
    rows = (np.arange(view.height) * height) // view.height
    columns = (np.arange(view.width) * width) // view.width
    return values[image][rows[:, None], columns[None, :]]


def _ray_length(view: Camera) -> np.ndarray:
  """Distance along the ray for one metre of planar depth, [H, W]."""
  fx, fy, cx, cy = view.intrinsics
  u, v = np.meshgrid(np.arange(view.width), np.arange(view.height))
  return np.sqrt(1.0 + ((u - cx) / fx) ** 2 + ((v - cy) / fy) ** 2)


def render_options(model: Any) -> RenderOptions:
  """Options of inference from `config.model`."""
  return RenderOptions(
    model.num_render_samples,
    model.num_coarse_samples,
    model.uniform_fraction,
    model.per_interval_fraction,
    model.mask_semantics,
  )


def label_options(loss: Any, evaluation: Any) -> LabelOptions:
  """How pixels are labelled, from `config.loss` and `config.eval`."""
  return LabelOptions(
    loss.label_noise == 'merged',
    evaluation.label_field,
    confidence.ConfidenceModel(*evaluation.confidence_coefficients),
  )
