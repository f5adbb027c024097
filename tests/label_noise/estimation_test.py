"""The noise model of a window of one view: messages on the reliability of its pseudo-labels."""

import logging
import types

import numpy as np
import pytest

from pnerf_jax.config.schema import LossConfig
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.label_noise import estimation, transition

_ROAD, _FENCE, _CAR, _SKY = 7, 13, 26, 23
_HEIGHT, _WIDTH = 6, 8


def _reliability(label, caplog, space='empty'):
  """Return the reliability of a car in all pixels, labelled with one id, and the lines logged."""
  record = types.SimpleNamespace(
    semantic=_CAR, vertices=np.random.default_rng(0).normal(size=(8, 3))
  )
  window = types.SimpleNamespace(
    view_frame=np.zeros(1, np.int32),
    width=_WIDTH,
    height=_HEIGHT,
    intrinsics=np.array([[8.0, 8, 4, 3]], np.float32),
    world_from_cam=np.eye(4, dtype=np.float32)[None],
    pseudo_depth=None,
    primitives=[record],
    unannotated_space=space,
  )
  pixels = _HEIGHT * _WIDTH
  intervals = Intervals(
    np.full((pixels, 1), 5, np.float32),
    np.full((pixels, 1), 9, np.float32),
    np.zeros((pixels, 1), np.int32),
    np.zeros(pixels, np.int32),
  )
  with caplog.at_level(logging.INFO):
    noise = estimation.build_label_noise(
      window,
      LossConfig(),
      (_ROAD, _FENCE, _CAR, _SKY),
      semantic=np.array([_CAR]),
      intervals=intervals,
      label=np.full(pixels, label, np.uint8),
    )
  return float(noise.reliability), [(r.levelname, r.getMessage()) for r in caplog.records]


@pytest.mark.parametrize('space', ['empty', 'void'])
@pytest.mark.parametrize(
  'label, reliability, level, message',
  [
    (_CAR, 1.0, 'INFO', 'pseudo-label reliability 1.00 (scales the L_2D weight)'),
    (
      _FENCE,  # the train id of a car
      0.0,
      'WARNING',
      f'pseudo-label reliability 0.00 (scales the L_2D weight): {transition.UNRELIABLE}',
    ),
    (
      0,
      1.0,
      'WARNING',
      'there are no pseudo-labels: the primitives alone give the labels, all else is labelled sky.'
      ' Make them with python -m pnerf_jax.prepare labels',
    ),
  ],
)
def test_reliability_near_0_and_absent_labels_are_warnings(
  caplog, space, label, reliability, level, message
):
  found, lines = _reliability(label, caplog, space)
  assert found == reliability and lines == [(level, message)]
