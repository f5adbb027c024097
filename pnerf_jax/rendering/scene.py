"""A window made ready for the device: its primitives, its classes, and the field that fits it.

Letters: M primitives, C classes present in the window, V views.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.data.primitives import CUBE, CUBE_FACES
from pnerf_jax.data.window import Window
from pnerf_jax.fields import hash_grid
from pnerf_jax.fields.fixed import ClassTable, make_class_table
from pnerf_jax.fields.hash_grid_field import HashGridField
from pnerf_jax.fields.paper_field import PaperField
from pnerf_jax.geometry.primitives import Primitives, make_primitives

_VOID_INSTANCE = 0


@dataclasses.dataclass(frozen=True)
class BoundField:
  """A linen field with its parameters (rendering.rays.Field)."""

  module: Any
  params: Any

  def __call__(self, points, directions, image):
    """The field at points [..., S, 3] seen along directions [..., 3]."""
    return self.module.apply({'params': self.params}, points, directions, image)

  def density(self, points):
    """Density [...] and features [..., W] at points [..., 3]."""
    return self.module.apply({'params': self.params}, points, method='density')

  def encode_view(self, directions, image):
    """What `heads` needs to know of rays [...]."""
    return self.module.apply({'params': self.params}, directions, image, method='encode_view')

  def heads(self, features, view):
    """Colour [..., 3] and logits [..., C] from features and view."""
    return self.module.apply({'params': self.params}, features, view, method='heads')

  def sky(self, origins, directions, image):
    """Colour of the sky, [..., 3]."""
    return self.module.apply({'params': self.params}, origins, directions, image, method='sky')


@dataclasses.dataclass(frozen=True)
class Scene:
  """What rendering needs to know of a window besides the field.

  class_ids: the C ids present, the sky last.   table: class bits of the primitives.
  """

  window: Window
  primitives: Primitives
  class_ids: tuple[int, ...]
  table: ClassTable


def make_scene(window: Window) -> Scene:
  """Builds the primitives and the class table of a window.

  With space outside void, a primitive of class void is put around the scene: density is free in
  it and the learned field alone gives its label, so the words of the pseudo labels join the
  classes.
  """
  boxes = window.boxes
  vertices = [box.vertices for box in boxes]
  faces = [box.faces for box in boxes]
  semantic = [box.semantic for box in boxes]
  instance = [box.instance for box in boxes]
  annotation = [box.annotation for box in boxes]
  timestamp = [box.timestamp for box in boxes]
  present = {box.semantic for box in boxes if box.timestamp < 0}
  if window.outside == 'void':
    low, high = np.asarray(window.bounds, np.float64)
    vertices.append(low + CUBE * (high - low))
    faces.append(CUBE_FACES)
    semantic.append(labels.VOID)
    instance.append(_VOID_INSTANCE)
    annotation.append(-1)
    timestamp.append(-1)
    if window.pseudo_label is not None:
      present |= set(np.unique(window.pseudo_label).tolist())
  class_ids = (*sorted(present - {labels.SKY, *labels.UNKNOWN}), labels.SKY)
  primitives = make_primitives(vertices, faces, semantic, instance, annotation, timestamp)
  return Scene(
    window,
    primitives,
    class_ids,
    make_class_table(np.asarray(primitives.semantic), class_ids, labels.SKY),
  )


def make_field(model: Any, scene: Scene) -> Any:
  """The field of a window from `config.model`: 'hash_grid' or 'paper'."""
  window = scene.window
  if model.field == 'paper':
    return PaperField(float(window.far), scene.class_ids, jnp.dtype(model.compute_dtype))
  low, high = np.asarray(window.bounds, np.float64)
  levels = hash_grid.make_levels(
    tuple(high - low),
    model.grid_max_cell,
    model.grid_min_cell,
    model.grid_levels,
    2**model.log2_hashmap_size,
  )
  return HashGridField(
    low=tuple(low.tolist()),
    levels=levels,
    num_classes=len(scene.class_ids),
    num_images=len(window.view_frame),
    features=model.grid_features,
    width=model.hidden_dim,
    code=model.appearance_embed_dim,
    density_bias=model.density_bias,
    compute_dtype=jnp.dtype(model.compute_dtype),
  )


def init_params(module: Any, key: jax.Array) -> Any:
  """Fresh parameters of a field."""
  point, direction = jnp.zeros((1, 1, 3)), jnp.array([[0.0, 0.0, 1.0]])
  image = jnp.zeros((1,), jnp.int32)

  def touch_all(field, *args):
    return field(*args), field.sky(direction, direction, image)

  return module.init(key, point, direction, image, method=touch_all)['params']
