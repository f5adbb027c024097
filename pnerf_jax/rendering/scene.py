"""Scene of a window on the device, and the field of `config.model`.

Letters: M primitives, C classes present in the window.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.data.primitives import CUBE_FACES, CUBE_VERTICES
from pnerf_jax.data.window import Window
from pnerf_jax.fields import hash_grid
from pnerf_jax.fields.field import FieldModule
from pnerf_jax.fields.fixed import ClassTable, make_class_table
from pnerf_jax.fields.hash_grid_field import HashGridField
from pnerf_jax.fields.paper_field import NUM_CHANNELS, PaperField
from pnerf_jax.geometry.primitives import Primitives, make_primitives

_VOID_INSTANCE = 0


@dataclasses.dataclass(frozen=True)
class Scene:
  """A window and its device arrays.

  Attributes:
    window: the data on the host.
    primitives: M primitives.
    class_ids: label ids of the C classes, the sky last.
    table: classes of the primitives.
  """

  window: Window
  primitives: Primitives
  class_ids: tuple[int, ...]
  table: ClassTable


def make_scene(window: Window) -> Scene:
  """Build the primitives and the class table of a window.

  If unannotated space is void, the scene is enclosed in a void primitive: density is allowed
  everywhere in it, its class is predicted by the learned field alone, and the classes of the
  pseudo-labels are added to those of the primitives.
  """
  records = window.primitives
  vertices = [record.vertices for record in records]
  faces = [record.faces for record in records]
  semantic = [record.semantic for record in records]
  instance = [record.instance for record in records]
  annotation = [f'{record.annotation} ({record.label})' for record in records]
  timestamp = [record.timestamp for record in records]
  present = {record.semantic for record in records if record.timestamp < 0}
  if window.unannotated_space == 'void':
    low, high = np.asarray(window.bounds, np.float64)
    vertices.append(low + CUBE_VERTICES * (high - low))
    faces.append(CUBE_FACES)
    semantic.append(labels.VOID)
    instance.append(_VOID_INSTANCE)
    annotation.append('of the void')
    timestamp.append(-1)
    if window.pseudo_label is not None:
      present |= set(np.unique(window.pseudo_label).tolist())
  class_ids = (*sorted(present - {labels.SKY, *labels.UNKNOWN}), labels.SKY)
  primitives = make_primitives(
    vertices,
    faces,
    semantic=semantic,
    instance=instance,
    annotation=annotation,
    timestamp=timestamp,
    source=window.primitives_source,
  )
  table = make_class_table(np.asarray(primitives.semantic), class_ids, labels.SKY)
  return Scene(window, primitives, class_ids, table)


def make_field(model: Any, scene: Scene, *, all_channels: bool = False) -> FieldModule:
  """Build the field of `config.model`: 'hash_grid' or 'paper'.

  Args:
    model: config.model.
    scene: the window.
    all_channels: the paper's field has all channels of its network instead of those of the classes.
  """
  window = scene.window
  if model.field == 'paper':
    class_ids = tuple(range(NUM_CHANNELS)) if all_channels else scene.class_ids
    return PaperField(float(window.far), class_ids, jnp.dtype(model.compute_dtype))
  low, high = np.asarray(window.bounds, np.float64)
  levels = hash_grid.make_levels(
    tuple(high - low),
    max_cell=model.grid_max_cell,
    min_cell=model.grid_min_cell,
    num_levels=model.grid_levels,
    hashmap_size=2**model.log2_hashmap_size,
  )
  return HashGridField(
    low=tuple(low.tolist()),
    levels=levels,
    num_classes=len(scene.class_ids),
    num_images=len(window.view_frame),
    grid_features=model.grid_features,
    hidden_dim=model.hidden_dim,
    appearance_embed_dim=model.appearance_embed_dim,
    density_bias=model.density_bias,
    compute_dtype=jnp.dtype(model.compute_dtype),
  )


def init_params(module: FieldModule, key: jax.Array) -> Any:
  """Initialise the parameters of a field."""
  point, direction = jnp.zeros((1, 1, 3)), jnp.array([[0.0, 0.0, 1.0]])
  image = jnp.zeros((1,), jnp.int32)

  def call_all(field, *args):
    return field(*args), field.sky(direction, direction, image)

  return module.init(key, point, direction, image, method=call_all)['params']
