"""What each field of a config may hold: told before anything is read, not after an hour.

Fields whose words another module knows (config.data.cameras, config.data.boxes) are looked at
there, beside the files; here they need only be of the right type.
"""
from collections.abc import Callable, Mapping
import dataclasses
import math
import numbers
from typing import Any

from pnerf_jax.data.kitti360 import FAR_AWAY
from pnerf_jax.errors import InputError

_MANY = 2**31 - 1  # what device counters hold


@dataclasses.dataclass(frozen=True)
class Kind:
  """What a value must be. wanted: in words. accepts: whether a value is that."""
  wanted: str
  accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
  return (isinstance(value, numbers.Real) and not isinstance(value, bool)
          and math.isfinite(value))


def _is_whole(value: Any) -> bool:
  return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def whole(low: int, high: int = _MANY) -> Kind:
  """A whole number in [low, high]."""
  return Kind(f'a whole number from {low} to {high}',
              lambda value: _is_whole(value) and low <= value <= high)


def real(low: float, high: float, above: bool = False) -> Kind:
  """A finite number in [low, high], or in (low, high] with `above`."""
  return Kind(f'a number {"above" if above else "from"} {low:g} {"and up " if above else ""}to'
              f' {high:g}',
              lambda value: _is_number(value) and (low < value or not above and low == value)
              and value <= high)


def choice(*words: str) -> Kind:
  """One of some words."""
  return Kind(f'one of {words}', lambda value: isinstance(value, str) and value in words)


def _sequence_of(accepts: Callable[[Any], bool], counts: tuple[int, ...] = ()) -> Callable:
  return lambda value: (isinstance(value, (tuple, list)) and all(accepts(x) for x in value)
                        and (not counts or len(value) in counts))


TEXT = Kind('text', lambda value: isinstance(value, str) and '\0' not in value)
_FLAG = Kind('True or False', lambda value: isinstance(value, bool))
WORDS = Kind('a tuple of words', _sequence_of(TEXT.accepts))
WHOLES = Kind('a tuple of whole numbers', _sequence_of(whole(0).accepts))
_WEIGHT = real(0, 1e9)
_SHARE = real(0, 1)
_LENGTH = real(0, FAR_AWAY, above=True)


def _reals(*counts: int) -> Kind:
  return Kind(f'{max(counts)} numbers of at most {FAR_AWAY:g}' + (' or ()' if 0 in counts else ''),
              _sequence_of(real(-FAR_AWAY, FAR_AWAY).accepts, counts))


FIELDS: dict[str, dict[str, Kind]] = {
    'data': {
        'root': TEXT, 'source': choice('folder', 'tfds', 'transforms'), 'derived': TEXT,
        'sequence': TEXT, 'start': whole(-1), 'frames': whole(1), 'cameras': WORDS, 'boxes': TEXT,
        'scale': _SHARE, 'max_width': whole(8), 'eval_frames': WHOLES},
    'scene': {
        'outside': choice('empty', 'void'), 'center': _reals(0, 3), 'bounds': _reals(0, 6),
        'near': _LENGTH, 'far': real(0, FAR_AWAY), 'frame_margin': whole(0),
        'intervals': whole(1, 1024)},
    'model': {
        'network': choice('hybrid', 'published'), 'samples': whole(1, 65536),
        'render_samples': whole(1, 65536), 'first_samples': whole(0, 65536), 'blind': _SHARE,
        'share': _SHARE, 'restrict': _FLAG,
        'levels': whole(1, 64), 'features': whole(1, 1024), 'log2_rows': whole(1, 30),
        'coarse_cell': _LENGTH, 'fine_cell': _LENGTH, 'width': whole(1, 65536),
        'appearance_code': whole(0, 65536), 'density_bias': real(-100, 100),
        'compute_dtype': choice('float32', 'bfloat16')},
    'loss': {
        'rgb': _WEIGHT, 'depth': _WEIGHT, 'fixed': _WEIGHT, 'semantic_2d': _WEIGHT,
        'semantic_3d': _WEIGHT,
        'depth_form': choice('likelihood', 'huber'), 'depth_max': _LENGTH,
        'depth_classes': WHOLES, 'depth_spread': _LENGTH, 'depth_outliers': _SHARE,
        'words': choice('estimated', 'sets', 'merged'), 'words_prior': _WEIGHT,
        'words_after': whole(0), 'label_floor': _SHARE, 'posterior_first': _WEIGHT,
        'posterior': _WEIGHT, 'finish_depth': _SHARE, 'finish_semantic_2d': _SHARE,
        'reachable_only': _FLAG},
    'optim': {
        'learning_rate': real(0, 1e38, above=True), 'final': real(0, 1, above=True),
        'warmup': whole(0), 'epsilon': real(0, 1, above=True)},
    'train': {
        'steps': whole(1), 'rays': whole(1), 'focus': _SHARE, 'finish': _SHARE,
        'finish_side': whole(1, 16), 'seed': whole(0, _MANY - 1),
        'steps_per_dispatch': whole(1), 'log_every': whole(1), 'checkpoint_every': whole(1),
        'preview_every': whole(1)},
    'eval': {
        'camera': TEXT, 'chunk': whole(1), 'panels': whole(0),
        'labels': choice('learned', 'fixed'),
        'confidence': Kind('6 numbers, such as launch/calibrate.py prints',
                           _sequence_of(_is_number, (6,)))},
}


def check(config: Mapping[str, Any], devices: int, source: str = '') -> None:
  """Looks at every field of a field's config, and at those that must fit each other.

  Args:
    config: groups of fields.
    devices: over which the rays of a step are divided.
    source: 'FILE: ' where the config was read from one.

  Raises:
    InputError: a field that is unknown, absent, of the wrong type or out of range; named.
  """
  check_fields(config, FIELDS, source)
  _check_fits(config, devices, source)


def check_fields(config: Mapping[str, Any], known: dict[str, dict[str, Kind]], source: str = '',
                 example: str = 'configs/kitti360.py') -> None:
  """Looks at every field of a config alone.

  Args:
    config: groups of fields.
    known: what each field of each group must be.
    source: 'FILE: ' where the config was read from one.
    example: the file that has all fields.

  Raises:
    InputError: a field that is unknown, absent, of the wrong type or out of range; named.
  """
  for group, kinds in known.items():
    fields = config.get(group)
    if not hasattr(fields, 'items'):
      raise InputError(f'{source}config.{group}: {fields!r:.60} is no group of fields. Take those'
                       f' of {example}.')
    for name in fields:
      if name not in kinds:
        raise InputError(f'{source}config.{group}.{name}: unknown config field'
                         f' ({fields[name]!r:.60}). Remove it.')
    for name, kind in kinds.items():
      if name not in fields:
        raise InputError(f'{source}config.{group}.{name}: absent. Take it from'
                         f' {example}; a run of another version must be trained anew.')
      if not kind.accepts(fields[name]):
        raise InputError(f'{source}config.{group}.{name}: {fields[name]!r:.60} is not'
                         f' {kind.wanted}. Give --config.{group}.{name} such a value.')
  for group in config:
    if group not in known:
      raise InputError(f'{source}config.{group}: unknown config group. Remove it.')


def _check_fits(config: Any, devices: int, source: str) -> None:
  """Fields that contradict each other."""
  train, scene, model = config['train'], config['scene'], config['model']
  dispatch = train['steps_per_dispatch']
  for name in ('steps', 'log_every', 'checkpoint_every', 'preview_every'):
    if train[name] % dispatch:
      raise InputError(f'{source}config.train.{name}: {train[name]} is not a multiple of'
                       f' config.train.steps_per_dispatch ({dispatch}). Make it one.')
  # Each device takes whole pixels.
  together = devices * (train['finish_side']**2 if train['finish'] else 1)
  if train['rays'] % together:
    raise InputError(f'{source}config.train.rays: {train["rays"]} cannot be split over {devices}'
                     f' devices in whole pixels. Make it a multiple of {together}.')
  if scene['far'] and not scene['near'] < scene['far']:
    raise InputError(f'{source}config.scene.near: {scene["near"]} is not below config.scene.far'
                     f' ({scene["far"]}). Lower it.')
  bounds = scene['bounds']
  if bounds and not all(low < high for low, high in zip(bounds[:3], bounds[3:])):
    raise InputError(f'{source}config.scene.bounds: {tuple(bounds)} is not x, y, z low, then high.'
                     ' Put the lower corner first.')
  if model['fine_cell'] > model['coarse_cell']:
    raise InputError(f'{source}config.model.fine_cell: {model["fine_cell"]} is above config.model.'
                     f'coarse_cell ({model["coarse_cell"]}). Lower it.')
