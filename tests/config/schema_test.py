"""Every field of every config is checked, and every config that is shipped passes."""

import itertools

import pytest

from configs import ablations, kitti360, street
from pnerf_jax.errors import InputError
from pnerf_jax.runs import config_schema

NAN, INF = float('nan'), float('inf')


def fields():
  config = kitti360.get_config()
  return [(group, field) for group in config for field in config[group]]


@pytest.mark.parametrize(
  'config',
  [
    *(kitti360.get_config(v) for v in ('default', 'cpu', 'paper', 'tiny')),
    street.get_config(),
    *(ablations.get_config(v) for v in ablations.VARIANTS),
  ],
)
def test_shipped_configs_pass_on_devices_that_share_their_rays_evenly(config):
  config_schema.check(config, 4)  # raises otherwise
  with pytest.raises(InputError, match=f'{config.train.batch_rays} cannot be split over 7 devices'):
    config_schema.check(config, 7)


def test_a_device_takes_whole_pixels():
  config = kitti360.get_config('cpu')
  config.train.batch_rays, config.train.refine_fraction, config.train.refine_supersampling = (
    72,
    0.5,
    3,
  )
  config_schema.check(config, 4)  # two pixels of nine rays each
  with pytest.raises(InputError, match='72 cannot be split over 16 .* a multiple of 144'):
    config_schema.check(config, 16)
  config.train.refine_fraction = 0.0
  config_schema.check(config, 8)


def test_there_is_a_check_for_every_field_and_no_other():
  assert {(g, f) for g in config_schema.FIELDS for f in config_schema.FIELDS[g]} == set(fields())


@pytest.mark.parametrize('group, field', fields())
def test_nothing_but_the_right_type_passes(group, field):
  config = kitti360.get_config().to_dict()
  good = config[group][field]
  bad = [None, {}, object(), NAN, INF, -INF, (NAN,), ({},), [1.0, INF, 2.0]]
  if not isinstance(good, str):
    bad.append('many')
  if not isinstance(good, bool):
    bad.append(True)
  if isinstance(good, int):
    bad += [1.5, 10**12, -7] if not isinstance(good, bool) else [1, 0]
  if isinstance(good, tuple):
    bad += [3, 'ab']
  for value in bad:
    config[group][field] = value
    with pytest.raises(InputError, match=rf'^config\.{group}\.{field}: .*Give --config'):
      config_schema.check(config, 1)


@pytest.mark.parametrize(
  'kind, good, bad',
  [
    (config_schema.whole(2, 4), [2, 4], [1, 5, 2.0, True, '3']),
    (config_schema.real(0, 1), [0, 1, 0.0, 0.5], [-1e-9, 1.1, NAN, False, '0.5']),
    (config_schema.real(0, 1, above=True), [1e-300, 1], [0, 0.0, 1.1, INF]),
    (config_schema.choice('a', 'b'), ['a'], ['', 'c', 'ab', None]),
  ],
)
def test_kinds_by_hand(kind, good, bad):
  for accepted, value in itertools.chain(((True, x) for x in good), ((False, x) for x in bad)):
    assert kind.accepts(value) is accepted, value


def test_source_stands_first():
  with pytest.raises(InputError, match='^RUN/config.json: config.loss: None is no group'):
    config_schema.check({**kitti360.get_config().to_dict(), 'loss': None}, 1, 'RUN/config.json: ')
