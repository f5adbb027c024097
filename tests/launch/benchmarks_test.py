"""Tests of the benchmarks: order of rounds, pairing of embree's hits, profile, equal losses."""

import dataclasses

import numpy as np
import pytest

from launch.benchmarks import intervals, measure, profiles
from pnerf_jax.geometry.intervals import Intervals


def test_interleaved_alternates_the_order_and_drops_the_first_round():
  order = []
  seconds = measure.interleaved(
    {name: lambda name=name: order.append(name) for name in 'ab'}, repeats=3
  )
  assert ''.join(order) == 'baabbaab'
  assert {name: len(rounds) for name, rounds in seconds.items()} == {'a': 3, 'b': 3}


def test_markdown_has_median_and_range():
  rows = [
    measure.summarize('s', 'time', 'size', [3.0, 1.0, 20.0], 'ms', remark='remark'),
    measure.summarize('s', 'speed', 'size', 12345.6, 'rays/s'),
  ]
  lines = measure.markdown({'date': 'today'}, rows).splitlines()
  assert lines[0] == '- date: today'
  assert lines[-2] == '| s | time | size | 3 | 1 – 20 | ms | 3 | remark |'
  assert lines[-1] == '| s | speed | size | 12346 |  | rays/s | 1 |  |'


def test_peak_memory_covers_only_its_block():
  with measure.PeakMemory() as small:
    np.ones(2**17).sum()
  with measure.PeakMemory() as large:
    np.ones(2**26).cumsum()  # twice half a gigabyte
  assert large.bytes > 2**29 > 100 * 2**20 > small.bytes


def test_pair_hits_returns_intervals():
  near, far = 0.5, 50.0
  rays, depth = np.array([1, 0, 1, 1, 2, 1]), np.array([4.0, 2.0, 7.0, 3.0, 60.0, 9.0])
  theirs = intervals.pair_hits([(rays, depth), (np.array([1]), np.array([5.0]))], [8, 3], near, far)
  # Ray 0 starts inside 8; ray 1 crosses 8 twice and starts inside 3; ray 2 stays inside 8.
  assert theirs == {
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
  equal, close, largest = intervals.compare(ours, theirs, 3)
  assert (equal, close) == (2 / 3, 1 / 2) and largest == pytest.approx(0.0005)


@pytest.mark.parametrize(
  'name, part',
  [
    ('while/body/closed_call/jvp(losses)/HashGridField/lookup/gather', 'hash lookup'),
    ('while/body/transpose(jvp(losses))/HashGridField/trunk_1/dot_general', 'MLP, backward'),
    ('while/body/optimizer/add', 'optimiser'),
    ('while/body/batch/jit(_randint)/shift', 'batch'),
    ('while/body/jvp(losses)/sampling/sort', 'sampling'),
    ('while', 'other'),
  ],
)
def test_part_of(name, part):
  assert profiles.part_of(f'jit(train_steps)/{name}') == part


@pytest.mark.slow
def test_compiled_step_contains_every_part(street):
  from launch.benchmarks.training import Trainer

  trainer = Trainer(street, 'tiny', frames=1)
  compiled = trainer.train_steps.lower(trainer.state, *trainer.arguments).compile()
  parts = {profiles.part_of(name) for name in profiles.source_names(compiled).values()}
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
  } <= parts
  losses = [float(trainer()['loss']) for _ in range(2)]
  assert np.isfinite(losses).all() and int(trainer.state.step) == 4


@pytest.mark.slow
@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-4), ('bfloat16', 0.02)])
def test_pytorch_step_has_the_same_loss(street, dtype, tolerance):
  pytest.importorskip('torch')
  from launch.benchmarks import step, torch_paper
  from launch.benchmarks.training import Trainer

  trainer = Trainer(
    street,
    'paper',
    frames=1,
    train__batch_rays=64,
    scene__max_intervals_per_ray=4,
    model__num_samples=12,
    model__num_render_samples=12,
    train__steps_per_call=1,
    model__compute_dtype=dtype,
    loss__depth_classes=(),
  )
  arrays, ours = step.one_batch(trainer)
  assert arrays['has_depth_loss'].any() and arrays['label_on_ray'].any()
  network = torch_paper.PaperField(trainer.state.params, float(trainer.run.scene.window.far))
  weights = dataclasses.asdict(trainer.config.loss)
  torch_step = torch_paper.Step(network, weights, dtype == 'bfloat16')
  batch = torch_paper.to_tensors(arrays)
  assert torch_step(batch) == pytest.approx(float(ours), rel=tolerance)
  assert torch_step(batch) < float(ours)  # it learns


@pytest.mark.slow
def test_with_primitives_copies_records_if_there_are_too_few(street):
  from launch.benchmarks import scaling
  from launch.benchmarks.training import Trainer

  scene = Trainer(street, 'tiny', frames=1).run.scene
  num_static = sum(record.timestamp < 0 for record in scene.window.primitives)
  few, many = (scaling.with_primitives(scene, np.zeros(3), n) for n in (3, num_static + 2))
  assert int(few.primitives.valid.sum()) == 3 == len(few.window.primitives)
  shift = many.window.primitives[num_static].vertices - many.window.primitives[0].vertices
  np.testing.assert_allclose(shift, np.broadcast_to([7.0, 0.0, 0.0], shift.shape))
