"""window.json: the same window is accepted, others are named by what differs."""

import dataclasses
import json

import numpy as np
import pytest

from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError
from pnerf_jax.runs.window_record import check_window


@pytest.fixture(scope='module')
def window(config_of):
  config = config_of()
  return load_window(config.data, config.scene, supervision=False)


def test_the_same_window_is_accepted_within_rounding(window, tmp_path):
  check_window(window, tmp_path)  # a run of before there was such a file
  assert not list(tmp_path.iterdir())
  check_window(window, tmp_path, write=True)
  poses = window.world_from_cam.copy()
  poses[:, :3, 3] += 1e-4
  check_window(dataclasses.replace(window, world_from_cam=poses), tmp_path)


@pytest.mark.parametrize(
  'change, name',
  [
    (lambda w: {'frames': w.frames[:1]}, 'frames'),
    (lambda w: {'cameras': w.cameras[::-1]}, 'cameras'),
    (lambda w: {'far': w.far + 10}, 'far'),
    (lambda w: {'center': w.center + [0, 1, 0]}, 'center'),
    (lambda w: {'world_from_cam': np.eye(4)[None]}, 'positions'),
    (lambda w: {'world_from_cam': w.world_from_cam[::-1]}, 'positions'),
  ],
)
def test_another_window_is_refused(window, tmp_path, change, name):
  check_window(window, tmp_path, write=True)
  before = (tmp_path / 'window.json').read_bytes()
  with pytest.raises(
    InputError, match=f'window.json: {name} of the window were .* --config.data.r'
  ):
    check_window(dataclasses.replace(window, **change(window)), tmp_path, write=True)
  assert (tmp_path / 'window.json').read_bytes() == before


def test_frames_are_named_as_ranges(window, tmp_path):
  check_window(dataclasses.replace(window, frames=range(1200, 1224)), tmp_path, write=True)
  now = dataclasses.replace(window, frames=[*range(1204, 1210), 1215])
  text = (
    r'were 1200-1223 \(24 frames\) in training and are 1204-1209, 1215 \(7 frames\) in the data'
  )
  with pytest.raises(InputError, match=text):
    check_window(now, tmp_path)


@pytest.mark.parametrize('content', ['[]', '{}', '3', json.dumps({'frames': None})])
def test_a_damaged_record_is_an_error_line(window, tmp_path, content):
  (tmp_path / 'window.json').write_text(content)
  with pytest.raises(InputError, match='window.json: frames of the window were None'):
    check_window(window, tmp_path)
