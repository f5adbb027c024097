"""The training step: speed, profile, share of the machine's peaks, and comparison with PyTorch."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmarks import measure, profiles, scenes
from launch.benchmarks.training import Trainer
from pnerf_jax.data import labels
from pnerf_jax.errors import InputError
from pnerf_jax.fields.field import BoundField
from pnerf_jax.rendering import paper_rendering
from pnerf_jax.rendering.rays import points_on_rays
from pnerf_jax.training import paper_losses
from pnerf_jax.training.ray_table import draw_pixels_of_image, gather_batch
from pnerf_jax.training.step import paper_loss_terms

_PAPER_SAMPLES = 148
_NUM_INSTRUCTIONS = 8  # of the profile
_LOSS_TOLERANCE = {'float32': 1e-4, 'bfloat16': 2e-2}  # relative


class _Compilations:
  """Counter of the programs that XLA compiles."""

  def __init__(self):
    self.count = 0
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  def _listen(self, event, seconds, **_):
    del seconds
    self.count += event == '/jax/core/compile/backend_compile_duration'


def product_flops(trainer: Trainer) -> float:
  """Return the FLOP of the matrix products of one step: forward, and twice that backward.

  The coarse pass has no backward pass and evaluates the density only.
  """
  model, train = trainer.config.model, trainer.config.train
  products = 0.0  # multiply-adds of a ray's forward pass
  for path, array in jax.tree_util.tree_leaves_with_path(trainer.state.params):
    name = jax.tree_util.keystr(path)
    once_per_ray = any(part in name for part in ('color_ray', 'sky'))
    if 'kernel' in name:
      products += array.size * (1 if once_per_ray else model.num_samples)
      if 'trunk' in name or 'density' in name:
        products += array.size * model.num_coarse_samples / 3
  return 6.0 * products * train.batch_rays


def ours(options: Any, row: Any) -> list[measure.Measurement]:
  """Time our step on a street, and compare it with the peaks of the machine."""
  fields = {'train__batch_rays': options.rays} if options.rays else {}
  trainer = Trainer(
    scenes.street(options.work, options.street_frames, options.scale), options.variant, **fields
  )
  model, train = trainer.config.model, trainer.config.train
  field, steps = model.field, train.steps_per_call
  compilations = _Compilations()
  trainer()
  after_first_call = compilations.count
  seconds = np.array(measure.interleaved({'step': trainer}, options.repeats)['step']) / steps
  recompiled = compilations.count - after_first_call
  one_step = trainer.make(1).lower(trainer.state, *trainer.arguments).compile()
  traffic = (one_step.cost_analysis() or {}).get('bytes accessed', 0.0)
  flops = product_flops(trainer)
  peak = np.median(measure.product_peak(jnp.dtype(model.compute_dtype), options.repeats))
  bandwidth = np.median(measure.bandwidth(options.repeats))
  size = (
    f'{train.batch_rays} rays x {model.num_coarse_samples} + {model.num_samples} samples, '
    f'{model.compute_dtype}, {jax.device_count()} device(s)'
  )
  rows = [
    row(f'{field}: step', size, 1e3 * seconds, 'ms', remark=f'{steps} steps per call, no transfer'),
    row(f'{field}: speed', size, train.batch_rays / seconds, 'rays/s'),
    row(
      f'{field}: programs compiled after the first call', size, recompiled, '', remark='target: 0'
    ),
    row('machine: matrix product', str(model.compute_dtype), peak / 1e9, 'GFLOP/s'),
    row('machine: memory bandwidth', 'x + 1, reads plus writes', bandwidth / 1e9, 'GB/s'),
    row(f'{field}: matrix products', size, flops / 1e9, 'GFLOP per step'),
    row(f'{field}: share of the measured matrix peak', size, 100 * flops / seconds / peak, '%'),
    row(
      f'{field}: memory traffic',
      size,
      traffic / 1e9,
      'GB per step',
      remark="XLA's estimate; caches serve part of it",
    ),
    row(
      f'{field}: memory traffic over the measured bandwidth',
      size,
      100 * traffic / seconds / bandwidth,
      '%',
      remark='above 100 because of caches',
    ),
  ]
  for kind, (sheet_flops, sheet_bytes) in measure.DATA_SHEETS.items():
    if kind in jax.devices()[0].device_kind:
      rows += [
        row(
          f'{field}: share of the bfloat16 peak of the {kind}',
          size,
          100 * flops / seconds / sheet_flops,
          '%',
          remark='data sheet',
        ),
        row(
          f'{field}: memory traffic over the bandwidth of the {kind}',
          size,
          100 * traffic / seconds / sheet_bytes,
          '%',
          remark='data sheet',
        ),
      ]
  return rows + _profile(trainer, size, row)


def _profile(trainer: Trainer, size: str, row: Any) -> list[measure.Measurement]:
  """Return the profile of one call, by part and by the longest instructions."""
  field = trainer.config.model.field
  compiled = trainer.train_steps.lower(trainer.state, *trainer.arguments).compile()
  names = profiles.source_names(compiled)
  durations = profiles.trace(trainer)
  parts = profiles.time_by_part(durations, names)
  total = sum(parts.values()) or 1.0
  rows = [
    row(f'{field}: {part}', size, 100 * nanoseconds / total, '% of the profile')
    for part, nanoseconds in parts.items()
  ]
  return rows + [
    row(
      f'{field}: {instruction}', size, 100 * nanoseconds / total, '% of the profile', remark=source
    )
    for instruction, nanoseconds, source in profiles.longest(durations, names, _NUM_INSTRUCTIONS)
  ]


def paper(options: Any, row: Any) -> list[measure.Measurement]:
  """Time a step of the paper's network in JAX and in PyTorch, in float32 and bfloat16."""
  try:
    import torch
  except ImportError:
    raise InputError(
      'section paper of the step suite: PyTorch is not installed. '
      'Run pip install -r requirements-benchmark.txt -c constraints.txt.'
    ) from None
  from launch.benchmarks import torch_paper

  torch.set_num_threads(options.threads)
  root = scenes.street(options.work, options.street_frames, options.scale)
  size = f'{options.paper_rays} rays x {_PAPER_SAMPLES} samples'
  cases, rows = {}, []
  for dtype, tolerance in _LOSS_TOLERANCE.items():
    trainer = Trainer(
      root,
      'paper',
      train__batch_rays=options.paper_rays,
      train__steps_per_call=1,
      model__compute_dtype=dtype,
    )
    arrays, our_loss = one_batch(trainer)
    network = torch_paper.PaperField(
      jax.device_get(trainer.state.params), float(trainer.run.scene.window.far)
    )
    step = torch_paper.Step(network, dataclasses.asdict(trainer.config.loss), dtype == 'bfloat16')
    batch = torch_paper.to_tensors(arrays)
    our_loss, torch_loss = float(our_loss), step(batch)
    difference = abs(our_loss - torch_loss) / abs(our_loss)
    if difference > tolerance:
      raise InputError(f'the losses differ: {torch_loss} in PyTorch, {our_loss} in JAX.')
    rows.append(
      row(
        f'paper, {dtype}: relative difference of the losses',
        size,
        difference,
        '',
        remark='same weights and samples',
      )
    )
    cases[f'paper, {dtype}: ours'] = trainer
    cases[f'paper, {dtype}: PyTorch'] = functools.partial(step, batch)
  seconds = measure.interleaved(cases, options.slow_repeats)
  rows += [row(name, size, values, 's per step') for name, values in seconds.items()]
  return rows + [
    row(
      f'paper, {dtype}: speed-up over PyTorch',
      size,
      measure.ratios(seconds[f'paper, {dtype}: PyTorch'], seconds[f'paper, {dtype}: ours']),
      'x',
    )
    for dtype in _LOSS_TOLERANCE
  ]


def one_batch(trainer: Trainer) -> tuple[dict[str, np.ndarray], jax.Array]:
  """Return a batch with the arrays of torch_paper.to_tensors, and our loss on it."""
  table, classes, _, _ = trainer.arguments
  options, loss, key = trainer.options, trainer.config.loss, jax.random.key(0)
  step = jnp.zeros((), jnp.int32)
  batch = gather_batch(table, draw_pixels_of_image(table, key, step, options.batch_rays), 1)
  terms = jax.jit(
    lambda params: paper_loss_terms(
      BoundField(trainer.run.module, params), batch, classes, loss, options=options.paper, key=key
    )
  )(trainer.state.params)
  rays, class_id = batch.rays, classes.label_ids[batch.intervals.primitive]
  t = paper_rendering.place_samples(batch.intervals, options.paper, key)
  z = t * rays.depth_per_t[:, None]
  samples = paper_rendering.locate_samples(t, z, batch.intervals, options.paper.far)
  merged, label = (paper_losses.merge_classes(x) for x in (class_id, batch.label))
  classes_of_depth = jnp.asarray(loss.depth_classes or range(labels.NUM_IDS))
  wanted = jnp.isin(class_id, classes_of_depth).any(axis=-1)
  reached = (merged == label[:, None]).any(axis=-1) | (label == labels.SKY)
  arrays = {
    'points': points_on_rays(rays, t),
    'directions': rays.directions,
    'rgb': batch.rgb,
    'z': z,
    'is_empty': samples.is_empty,
    'hot': paper_rendering.multi_hot(samples, merged),
    'depth': batch.depth,
    'has_depth_loss': (batch.depth > 0) & (batch.depth < loss.depth_max) & wanted,
    'label_on_ray': reached & batch.supervised,
    'supervised': batch.supervised,
  }
  arrays = {**jax.device_get(arrays), 'label': np.asarray(label, np.int64)}
  return arrays, sum(dict(options.weights)[name] * value for name, value in terms.items())


def run(options: Any) -> list[measure.Measurement]:
  """Run the selected sections of the suite."""
  row = functools.partial(measure.summarize, 'step')
  sections = {'ours': ours, 'paper': paper}
  rows = []
  for name in options.sections or sections:
    if name not in sections:
      raise InputError(f'--sections={name}: no such section. Use some of {sorted(sections)}.')
    rows += sections[name](options, row)
  return rows
