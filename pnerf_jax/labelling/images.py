"""Rendering of whole images with semantic, instance and panoptic labels and their confidence.

The static scene is rendered in chunks of rays over all devices; the moving objects of the camera's
frame are composited over it.

Letters: H, W image size, B rays of a chunk, K intervals of a ray.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from pnerf_jax.config.schema import Config, EvalConfig, LossConfig
from pnerf_jax.data import labels
from pnerf_jax.distributed.program import Program
from pnerf_jax.fields.field import BoundField, FieldModule
from pnerf_jax.geometry import cameras
from pnerf_jax.geometry.cameras import Camera, Rays
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.labelling import confidence, panoptic, paper_labels
from pnerf_jax.labelling.moving_objects import dynamic_object_mask
from pnerf_jax.rendering import paper_rendering
from pnerf_jax.rendering.paper_rendering import PaperOptions
from pnerf_jax.rendering.rays import RenderOptions, render_rays
from pnerf_jax.rendering.scene import Scene

_MIN_CHUNK = 2**16  # rays; smaller chunks are rendered as configured


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
  """One rendered and labelled image, numpy.

  Attributes:
    rgb: [H, W, 3] uint8.
    depth: [H, W] float32, planar metres, 0 for sky.
    semantic: [H, W] uint8, label id.
    fixed: [H, W] uint8, label id of the fixed field.
    instance: [H, W] uint16, id * 1000 + instanceId.
    confidence: [H, W] float32 in (0, 1).
    features: [H, W, 4] float32, confidence.calibration_features.
    unsupported: [H, W] bool, pixels without primitive support: the ray intersects no primitive and
      the pseudo-label is not sky, or most of its weight lies in free space, or its intervals were
      truncated.
    num_truncated: number of truncated intervals of all rays.
  """

  rgb: np.ndarray
  depth: np.ndarray
  semantic: np.ndarray
  fixed: np.ndarray
  instance: np.ndarray
  confidence: np.ndarray
  features: np.ndarray
  unsupported: np.ndarray
  num_truncated: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
  """Labelling options.

  Attributes:
    paper_form: the config's loss.form; used with PaperOptions alone.
    label_field: the field that predicts the labels, 'learned' or 'fixed'.
    confidence_model: coefficients of the calibrated confidence.
  """

  paper_form: str
  label_field: str
  confidence_model: confidence.ConfidenceModel


def dataset_camera(scene: Scene, image: int, full: bool) -> Camera:
  """Return the camera of a source image of the window.

  Args:
    scene: the scene of the window.
    image: index of the source image.
    full: at the size of the source images instead of the training size.
  """
  window = scene.window
  intrinsics = window.full_intrinsics if full else window.intrinsics
  width, height = (window.full_sizes if full else window.sizes)[image].tolist()
  return Camera(
    intrinsics=np.asarray(intrinsics[image], np.float32),
    world_from_cam=np.asarray(window.world_from_cam[image], np.float32),
    width=width,
    height=height,
    image=image,
    frame=int(window.view_frame[image]),
  )


class Renderer:
  """Renderer of labelled images of a scene; compiles once per number and size of chunks."""

  def __init__(
    self,
    scene: Scene,
    module: FieldModule,
    mesh: jax.sharding.Mesh,
    *,
    render_options: RenderOptions | PaperOptions,
    label_options: LabelOptions,
    chunk_rays: int,
    num_intervals: int,
  ):
    """Prepare rendering.

    Args:
      scene: the window on the device.
      module: the field.
      mesh: ('data',).
      render_options: rendering options; PaperOptions select the labels of the paper's program.
      label_options: labelling options.
      chunk_rays: rays rendered at a time; rounded up to a multiple of the device count.
      num_intervals: K.
    """
    self._scene = scene
    self._chunk_rays, self._num_devices = chunk_rays, mesh.devices.size
    self._num_intervals = num_intervals
    self._confidence_model = label_options.confidence_model
    self._programs: dict[tuple[int, int], Program] = {}  # by number of chunks and of their rays
    self._sizes: set[tuple[int, int]] = set()  # of the images rendered so far
    if isinstance(render_options, PaperOptions):
      render_chunk = _paper_chunk_renderer(scene, module, render_options, label_options)
    else:
      render_chunk = _chunk_renderer(scene, module, render_options, label_options)
    # [chunks, rays of a chunk, ...]: chunks are rendered in turn, their rays are divided over the
    # devices. The loop is inside the jitted function, where all chunks reuse the same memory; on
    # CPU this doubles the speed, since each call allocates its temporaries again. shard_map, since
    # each device selects among the samples of its own rays.
    by_ray, replicated = PartitionSpec(None, 'data'), PartitionSpec()
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

  def is_compiled(self, camera: Camera) -> bool:
    """Return whether an image of this size was rendered before, so that nothing is compiled."""
    return (camera.width, camera.height) in self._sizes

  def __call__(self, params: Any, camera: Camera) -> Image:
    """Render the image of a camera with the given parameters of the field."""
    window = self._scene.window
    intervals, moving_t, moving_primitive = view_intervals(
      self._scene.primitives, camera, window.near, float(window.far), self._num_intervals
    )
    num_rays = camera.width * camera.height
    # A chunk beyond the image is only padding.
    chunk_rays = min(self._chunk_rays, max(_MIN_CHUNK, num_rays))
    chunk_rays = -(-chunk_rays // self._num_devices) * self._num_devices
    num_chunks = -(-num_rays // chunk_rays)

    def split(x):
      """Reshape [H, W, ...] to [chunks, rays of a chunk, ...], padded with the last ray."""
      x = x.reshape(num_rays, *x.shape[2:])
      index = jnp.minimum(jnp.arange(num_chunks * chunk_rays), num_rays - 1)
      return x[index].reshape(num_chunks, chunk_rays, *x.shape[1:])

    def join(x):
      x = np.asarray(x).reshape(-1, *x.shape[2:])[:num_rays]
      return x.reshape(camera.height, camera.width, *x.shape[1:])

    rays = cameras.camera_rays(camera)
    name = f'the renderer of {camera.width}x{camera.height} images'
    program = self._programs.setdefault(
      (num_chunks, chunk_rays), Program(self._render_chunks, name, '--config.eval.chunk_rays')
    )
    self._sizes.add((camera.width, camera.height))
    out = program(params, *jax.tree.map(split, (rays, intervals)))
    return self._composite_moving(
      camera,
      jax.tree.map(join, out),
      np.asarray(moving_t),
      np.asarray(moving_primitive),
      int(jnp.sum(intervals.num_truncated)),
    )

  def _composite_moving(
    self,
    camera: Camera,
    static: tuple[np.ndarray, np.ndarray, panoptic.PixelLabels],
    moving_t: np.ndarray,
    moving_primitive: np.ndarray,
    num_truncated: int,
  ) -> Image:
    """Composite the moving objects of the camera's frame over the static scene.

    Args:
      camera: the camera of the image.
      static: rgb, planar depth and labels of the static scene.
      moving_t: [H, W], entry into the nearest moving primitive, metres along the ray.
      moving_primitive: [H, W], index of this primitive, -1 for none.
      num_truncated: number of truncated intervals of all rays.
    """
    rgb, depth, pixels = static
    primitives = self._scene.primitives
    semantic, instance, depth = np.array(pixels.semantic), np.array(pixels.instance), depth.copy()
    mass, fixed_mass = np.array(pixels.mass), np.array(pixels.fixed_mass)
    pseudo_label = self._source_layer(camera, 'pseudo_label')
    if pseudo_label is None:
      pseudo_label = np.zeros((camera.height, camera.width), np.uint8)
    unsupported = (
      pixels.truncated
      | pixels.mostly_free_space
      | (pixels.no_primitive_hit & (pseudo_label != labels.SKY))
    )
    moving_depth = moving_t / cameras.t_per_depth(camera)
    is_nearer = (moving_primitive >= 0) & ((depth == 0) | (moving_depth < depth))
    moving_semantic = np.asarray(primitives.semantic)[moving_primitive]
    mask = dynamic_object_mask(
      is_nearer, moving_semantic, pseudo_label, rgb, self._source_layer(camera, 'rgb')
    )
    semantic[mask] = moving_semantic[mask]
    instance[mask] = np.asarray(primitives.instance)[moving_primitive[mask]]
    depth[mask] = moving_depth[mask]
    mass[mask] = fixed_mass[mask] = 0.5  # the primitive is known, the pixels it covers are not
    unsupported[mask] = False
    features = confidence.calibration_features(
      mass, fixed_mass, semantic, pseudo_label, float(camera.intrinsics[0])
    )
    return Image(
      rgb=rgb,
      depth=depth,
      semantic=semantic.astype(np.uint8),
      fixed=np.asarray(pixels.fixed, np.uint8),
      instance=labels.pack_instance(semantic, instance),
      confidence=confidence.calibrated_confidence(features, unsupported, self._confidence_model),
      features=features,
      unsupported=unsupported,
      num_truncated=num_truncated,
    )

  def _source_layer(self, camera: Camera, layer: str) -> np.ndarray | None:
    """Return a layer of the source image ('rgb', 'pseudo_label') at the camera's size.

    Returns [H, W, ...], or None if the window lacks the layer or the camera has no source image,
    or another pose or field of view than its source image.
    """
    window, image = self._scene.window, camera.image
    values = getattr(window, layer)
    if (
      values is None
      or image < 0
      or not np.allclose(camera.world_from_cam, window.world_from_cam[image], atol=1e-5)
      or not np.allclose(
        camera.intrinsics[:2] / camera.width,
        window.intrinsics[image, :2] / window.sizes[image, 0],
        rtol=1e-4,
      )
    ):
      return None
    width, height = window.sizes[image]
    rows = (np.arange(camera.height) * height) // camera.height
    columns = (np.arange(camera.width) * width) // camera.width
    return values[image][rows[:, None], columns[None, :]]


RenderChunk = Callable[[Any, Rays, Intervals], tuple[jax.Array, jax.Array, panoptic.PixelLabels]]


def _chunk_renderer(
  scene: Scene, module: FieldModule, render_options: RenderOptions, label_options: LabelOptions
) -> RenderChunk:
  """Return the function that renders and labels the rays of one chunk."""
  class_ids = jnp.asarray(scene.class_ids, jnp.int32)

  def render_chunk(params, rays, intervals):
    """Return rgb [B, 3] uint8, planar depth [B] in metres (0 = sky) and labels [B]."""
    field = BoundField(module, params)
    out = render_rays(field, rays, intervals, scene.table, render_options, key=None)
    pixel_labels = panoptic.label_pixels(
      out,
      intervals,
      scene.primitives,
      class_ids,
      label_field=label_options.label_field,
    )
    depth = jnp.where(out.opacity > 0.5, out.median_depth * rays.depth_per_t, 0.0)
    return _to_uint8(out.rgb), depth, pixel_labels

  return render_chunk


def _paper_chunk_renderer(
  scene: Scene, module: FieldModule, options: PaperOptions, label_options: LabelOptions
) -> RenderChunk:
  """Return the function that renders and labels the rays of one chunk as the paper's program."""

  def render_chunk(params, rays, intervals):
    """Return rgb [B, 3] uint8, planar depth [B] in metres (0 = sky) and labels [B]."""
    field = BoundField(module, params)
    out = paper_rendering.render_rays(field, rays, intervals, options, key=None)
    pixel_labels, sky_weight = paper_labels.label_pixels(
      out,
      intervals,
      scene.primitives,
      label_field=label_options.label_field,
      logits_rendered=label_options.paper_form == 'paper',
    )
    return _to_uint8(out.rgb), jnp.where(sky_weight > 0.5, 0.0, out.depth), pixel_labels

  return render_chunk


def _to_uint8(rgb: jax.Array) -> jax.Array:
  return jnp.round(jnp.clip(rgb, 0.0, 1.0) * 255.0).astype(jnp.uint8)


def render_options(config: Config, far: float) -> RenderOptions | PaperOptions:
  """Return the rendering options of inference. far: far bound of the window, metres."""
  model = config.model
  if config.loss.form != 'default':
    return PaperOptions(num_samples=model.num_render_samples, far=far)
  return RenderOptions(
    num_samples=model.num_render_samples,
    num_coarse_samples=model.num_coarse_samples,
    uniform_fraction=model.uniform_fraction,
    per_interval_fraction=model.per_interval_fraction,
    mask_semantics=model.mask_semantics,
  )


def label_options(loss: LossConfig, evaluation: EvalConfig) -> LabelOptions:
  """Return the labelling options from `config.loss` and `config.eval`."""
  return LabelOptions(
    paper_form=loss.form,
    label_field=evaluation.label_field,
    confidence_model=confidence.ConfidenceModel(*evaluation.confidence_coefficients),
  )
