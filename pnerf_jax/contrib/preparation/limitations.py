"""Limitations of a window that can be trained, with remedies: absent supervision, a slow device."""

import dataclasses
import re
import shlex

import numpy as np

from pnerf_jax.config.files import read_config
from pnerf_jax.config.schema import Config, DataConfig, LossConfig, parse_config
from pnerf_jax.contrib.preparation import alignment, outputs
from pnerf_jax.contrib.preparation.estimate_cost import CostEstimate
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.window import Window
from pnerf_jax.errors import InputError
from pnerf_jax.label_noise import transition

_MIN_MOTION = 0.05  # metres between the cameras, for parallax
_CPU_BATCH_RAYS = 1024  # of the variants `cpu`; larger batches are meant for a GPU or TPU
_LONG = 3600.0  # seconds of training on a CPU


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limitation:
  """A limitation of a window that can be trained.

  Attributes:
    cause: what is absent or slow; '' = another line of the report states it.
    worth: effect on the labels or on training.
    remedy: with a command, if one mends it; '' = part of `worth`.
  """

  cause: str
  worth: str
  remedy: str

  def text(self) -> str:
    """Return effect and remedy."""
    return f'{self.worth}. {self.remedy}' if self.remedy else self.worth


def supervision_limitations(
  dataset: DatasetIndex,
  window: Window,
  config: Config,
  found: alignment.Alignment,
  config_flags: str,
) -> list[Limitation]:
  """Return which supervision is absent or useless.

  Args:
    dataset: the window's files.
    window: the window.
    config: the config of the run.
    found: the agreement of the inputs.
    config_flags: of the command line, for the commands of remedies.
  """
  loss = config.loss
  command = lambda kind: _command(dataset, config.data, kind, config_flags)
  label, depth = window.pseudo_label, window.pseudo_depth
  confidence = 1.0 if window.pseudo_confidence is None else window.pseudo_confidence
  weight = np.zeros((1, 1, 1)) if label is None else label * confidence
  has_label = np.max(weight, axis=(1, 2)) > 0
  has_weight = bool(loss.semantic_2d_fixed or loss.semantic_2d)
  is_labelled = bool(has_label.any()) and has_weight
  limitations = []
  if not is_labelled:
    cause, replace = 'there are no pseudo-labels', ''
    paths = [dataset.path_of('pseudo_label', *view) for view in dataset.views()]
    if any(path is not None and path.exists() for path in paths):
      cause, replace = 'the pseudo-labels hold no class with a confidence above 0', ' --overwrite'
    rest = 'unlabelled' if window.unannotated_space == 'void' else 'labelled sky'
    limitations.append(
      Limitation(
        cause=f'no label loss is on, since {cause if has_weight else "its weights are 0"}',
        worth=f'the labels are those of the primitives alone, all else is {rest}',
        remedy=command('labels') + replace if has_weight else 'Set --config.loss.semantic_2d.',
      )
    )
  elif found.reliability is not None and found.reliability < transition.MIN_RELIABILITY:
    limitations.append(
      Limitation(
        cause=f'the reliability of the pseudo-labels is {found.reliability:.2f}',
        worth='the labels are those of the primitives, the pseudo-labels count for nothing',
        remedy=transition.UNRELIABLE[0].upper() + transition.UNRELIABLE[1:],
      )
    )
  elif not has_label.all():
    worth = f'{np.sum(~has_label)} of {len(has_label)} images have no pseudo-label of their own'
    limitations.append(Limitation(cause='', worth=worth, remedy=command('labels')))
  if depth is None or not (depth > 0).any() or not loss.depth:
    limitations.append(_without_depth(dataset, window, loss, is_labelled, command('depth')))
  if not window.primitives:
    limitations.append(
      Limitation(
        cause='no primitive is used',
        worth='there are no instances, and the classes are those of the pseudo-labels',
        remedy='Check poses, primitives, config.data.start and config.data.primitives.',
      )
    )
  return limitations


def _command(dataset: DatasetIndex, data: DataConfig, kind: str, config_flags: str) -> str:
  """Return how to make the 'labels' or 'depth' of a window, in a folder that can be written."""
  files = 'pseudo_label' if kind == 'labels' else 'pseudo_depth'
  folders = [dataset.folder_of(files, camera) for camera in dataset.cameras]
  is_packed = data.source == 'tfds' and not data.derived_root
  folder, intro = '', f'Make {"pseudo-labels" if kind == "labels" else "depth"}: '
  if is_packed or not all(map(outputs.is_writable, folders)):
    folder = ' --config.data.derived_root=DIR'
    state = f'{dataset.derived_root} cannot be written: name another folder DIR, also to train'
    intro = f'{state}. {intro}'
  network = ' --network=transformers:FOLDER' if kind == 'labels' else ''
  return f'{intro}python -m pnerf_jax.prepare {kind} {config_flags}{folder}{network}'


def _without_depth(
  dataset: DatasetIndex, window: Window, loss: LossConfig, is_labelled: bool, make_depth: str
) -> Limitation:
  """Return the limitation of a window without depth.

  Args:
    dataset: the window's files.
    window: the window.
    loss: config.loss.
    is_labelled: a label loss is on.
    make_depth: the remedy for a stereo pair.
  """
  still = np.ptp(window.world_from_cam[:, :3, 3], axis=0).max() < _MIN_MOTION
  source = 'colour and labels' if is_labelled else 'colour alone'
  if not loss.depth:
    remedy = 'Set --config.loss.depth.'
  elif dataset.stereo:
    remedy = make_depth + ('' if window.pseudo_depth is None else ' --overwrite')
  else:
    remedy = 'Name depth of LiDAR or stereo as depth_file_path.'
  return Limitation(
    cause='no depth loss is on' + ('' if is_labelled else ', so colour is the only supervision'),
    worth=f'the geometry comes from {source}'
    + (' of cameras that do not move, so it is a guess' if still else ''),
    remedy=remedy,
  )


def slow_training(
  config: Config, cost: CostEstimate, platform: str, config_flags: str
) -> list[Limitation]:
  """Return a limitation if training on a CPU is long and its batches are those of a GPU or TPU.

  Args:
    config: the config of the run.
    cost: of training.
    platform: of the devices, 'cpu', 'gpu' or 'tpu'.
    config_flags: of the command line.
  """
  if platform != 'cpu' or cost.training <= _LONG or config.train.batch_rays <= _CPU_BATCH_RAYS:
    return []
  return [
    Limitation(
      cause=f'training takes about {format_duration(cost.training)} on this CPU',
      worth=f'this config is meant for a GPU or TPU: use {_cpu_variant(config_flags)}',
      remedy='',
    )
  ]


def _cpu_variant(config_flags: str) -> str:
  """Return the flag of the config file's variant `cpu`, or of smaller batches if it has none."""
  words = shlex.split(config_flags)
  files = [
    re.sub(':.*', '', word.split('=', 1)[1]) for word in words if re.match('--?config=', word)
  ]
  smaller = f'--config.train.batch_rays={_CPU_BATCH_RAYS} and fewer --config.train.steps'
  if not files:
    return smaller
  variant = f'{files[0]}:cpu'
  try:
    batch_rays = parse_config(read_config(variant)).train.batch_rays
  except (InputError, KeyError, TypeError, ValueError):  # the user's file has no such variant
    return smaller
  return f'--config={shlex.quote(variant)}' if batch_rays <= _CPU_BATCH_RAYS else smaller


def format_duration(seconds: float) -> str:
  """Format a duration in seconds, minutes or hours."""
  if seconds < 90:
    return f'{seconds:.0f} s'
  if seconds < 5400:
    return f'{seconds / 60:.0f} min'
  return f'{seconds / 3600:.1f} h'
