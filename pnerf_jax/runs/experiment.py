"""The context of a run: its config, devices, scene and field."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import jax

from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.data import labels
from pnerf_jax.data.window import load_window
from pnerf_jax.distributed import processes, sharding
from pnerf_jax.fields.field import FieldModule
from pnerf_jax.rendering.scene import Scene, init_params, make_field, make_scene

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What training, evaluation and rendering of a run share.

  Attributes:
    config: the parsed config.
    mesh: ('data',), over all devices of all processes.
    scene: the window on the device.
    module: the field.
  """

  config: Config
  mesh: jax.sharding.Mesh
  scene: Scene
  module: FieldModule

  def init_params(self) -> Any:
    """Return the parameters of the field before training, drawn from the config's seed."""
    return init_params(self.module, jax.random.key(self.config.train.seed))


def build_experiment(config: Config | Mapping[str, Any]) -> Experiment:
  """Load the window that a config names, and build its scene and field.

  Raises:
    InputError: a config field is wrong, or a file is missing or damaged.
  """
  mesh = sharding.make_mesh()
  with processes.raise_together():
    config = parse_config(config)
    window = load_window(config.data, config.scene)
  for note in window.notes:
    _LOG.info('%s', note)
  scene = make_scene(window)
  _LOG.info(
    '%s: frames %d-%d, %d views of at most %dx%d, %d primitives, far %.0f m; classes: %s',
    window.sequence,
    window.frames[0],
    window.frames[-1],
    len(window.view_frame),
    window.width,
    window.height,
    len(window.primitives),
    window.far,
    ', '.join(labels.BY_ID[i].name for i in scene.class_ids),
  )
  field = make_field(config.model, scene, all_channels=config.loss.form != 'default')
  return Experiment(config, mesh, scene, field)
