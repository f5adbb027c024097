"""What the benchmarks say of themselves: order of rounds, pairing of peers' hits, equal losses."""

import dataclasses

import numpy as np
import pytest

from launch.benchmarks import intervals, measure, profiles
from pnerf_jax.geometry.intervals import Intervals


def test_rounds_take_turns_and_the_first_is_not_counted():
  order = []
  seconds = measure.interleaved(
    {name: lambda name=name: order.append(name) for name in 'ab'}, repeats=3
  )
  assert ''.join(order) == 'baabbaab'
  assert {name: len(found) for name, found in seconds.items()} == {'a': 3, 'b': 3}


def test_the_table_tells_median_and_extremes():
  rows = [
    measure.figure('s', 'what', 'size', [3.0, 1.0, 20.0], 'ms', 'remark'),
    measure.figure('s', 'one', 'size', 12345.6, 'rays/s'),
  ]
  lines = measure.markdown({'date': 'today'}, rows).splitlines()
  assert lines[0] == '- date: today'
  assert lines[-2] == '| s | what | size | 3 | 1 – 20 | ms | 3 | remark |'
  assert lines[-1] == '| s | one | size | 12346 |  | rays/s | 1 |  |'


def test_memory_is_that_of_the_block():
  with measure.PeakMemory() as small:
    np.ones(2**17).sum()
  with measure.PeakMemory() as large:
    np.ones(2**26).cumsum()  # half a gigabyte, and again
  assert large.bytes > 2**29 > 100 * 2**20 > small.bytes


def test_hits_of_a_peer_become_intervals():
  near, far = 0.5, 50.0
  rays, depth = np.array([1, 0, 1, 1, 2, 1]), np.array([4.0, 2.0, 7.0, 3.0, 60.0, 9.0])
  found = intervals.pairs([(rays, depth), (np.array([1]), np.array([5.0]))], [8, 3], near, far)
  # Ray 0 starts inside; ray 1 crosses 8 twice and starts in 3; ray 2 is inside throughout.
  assert found == {
    0: [(0.5, 2.0, 8)],
    1: [(0.5, 5.0, 3), (3.0, 4.0, 8), (7.0, 9.0, 8)],
    2: [(0.5, 50.0, 8)],
  }
  inf = np.inf
  ours = Intervals(
    np.array([[0.5, inf, inf], [0.5, 3.0, 7.0], [0.5, 9.0, inf]]),
    np.array([[2.0005, inf, inf], [5.0, 4.0, 9.1], [50.0, 9.5, inf]]),
    np.array([[8, -1, -1], [3, 8, 8], [8, 8, -1]]),
    np.zeros(3, int),
  )
  same, close, largest = intervals.agreement(ours, found, 3)
  assert (same, close) == (2 / 3, 1 / 2) and largest == pytest.approx(0.0005)


@pytest.mark.parametrize(
  'name, part',
  [
    ('jit(train_steps)/while/body/closed_call/jvp(losses)/HashGridField/lookup/gather', 'hash lookup'),
    (
      'jit(train_steps)/while/body/transpose(jvp(losses))/HashGridField/trunk_1/dot_general',
      'MLP, backward',
    ),
    ('jit(train_steps)/while/body/optimizer/add', 'optimiser'),
    ('jit(train_steps)/while/body/batch/jit(_randint)/shift', 'batch'),
    ('jit(train_steps)/while/body/jvp(losses)/sampling/sort', 'sampling'),
    ('jit(train_steps)/while', 'other'),
  ],
)
def test_parts_of_the_program(name, part):
  assert profiles.part_of(name) == part


def test_a_compiled_program_names_the_parts_of_the_source(street):
  from launch.benchmarks.training import Trainer

  trainer = Trainer(street, 'tiny', frames=1)
  compiled = trainer.train_steps.lower(trainer.state, *trainer.arguments).compile()
  found = {profiles.part_of(where) for where in profiles.sources(compiled).values()}
  assert {
    'hash lookup',
    'hash lookup, backward',
    'MLP',
    'MLP, backward',
    'losses',
    'sampling',
    'batch',
    'optimiser',
    'compositing',
  } <= found
  losses = [float(trainer()['loss']) for _ in range(2)]
  assert np.isfinite(losses).all() and int(trainer.state.step) == 4


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-4), ('bfloat16', 0.02)])
def test_pytorch_makes_the_same_step(street, dtype, tolerance):
  pytest.importorskip('torch')
  from launch.benchmarks import step, torch_published
  from launch.benchmarks.training import Trainer

  trainer = Trainer(
    street,
    'paper',
    frames=1,
    train__batch_rays=64,
    model__num_samples=12,
    train__steps_per_call=1,
    model__compute_dtype=dtype,
    loss__depth_classes=(),
  )
  arrays, ours = step.one_batch(trainer)
  assert arrays['measured'].any() and arrays['supported'].any()
  network = torch_published.Published(
    trainer.state.params, float(trainer.run.scene.window.far), trainer.run.scene.class_ids
  )
  theirs = torch_published.Step(network, dataclasses.asdict(trainer.config.loss), dtype == 'bfloat16')
  batch = torch_published.prepared(arrays)
  assert theirs(batch) == pytest.approx(float(ours), rel=tolerance)
  assert theirs(batch) < float(ours)  # it learns
