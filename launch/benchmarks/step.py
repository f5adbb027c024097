"""The train step: rays a second, its parts, its share of the machine's limits, and peers."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmarks import measure, profiles, scenes
from launch.benchmarks.training import Trainer
from pnerf_jax.errors import InputError
from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import BoundField
from pnerf_jax.rendering import sampling
from pnerf_jax.training import losses
from pnerf_jax.training.ray_table import draw_pixels, gather_batch
from pnerf_jax.training.step import loss_terms

_PAPER_SAMPLES = 148


class _Compilations:
  """Counts the programs that XLA compiles."""

  def __init__(self):
    self.count = 0
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  def _listen(self, event, seconds, **_):
    del seconds
    self.count += event == '/jax/core/compile/backend_compile_duration'


def product_flops(trainer: Trainer) -> float:
  """FLOP of the matrix products of one step: forward, and twice that backward.

  The coarse pass has no backward pass and evaluates the density only.
  """
  model, train = trainer.config.model, trainer.config.train
  weights = 0.0
  for path, array in jax.tree_util.tree_leaves_with_path(trainer.state.params):
    name = jax.tree_util.keystr(path)
    once_per_ray = any(word in name for word in ('color_ray', 'sky'))
    if 'kernel' in name:
      weights += array.size * (1 if once_per_ray else model.num_samples)
      if 'trunk' in name or 'density' in name:
        weights += array.size * model.num_coarse_samples / 3
  return 6.0 * weights * train.batch_rays


def ours(options: Any, row: Any) -> list[measure.Figure]:
  """Our step on a street, and how it stands to the machine's peaks."""
  fields = {'train__batch_rays': options.rays} if options.rays else {}
  trainer = Trainer(
    scenes.street(options.work, options.street_frames, options.scale), options.variant, **fields
  )
  config = trainer.config
  name, steps = config.model.field, config.train.steps_per_call
  compilations = _Compilations()
  trainer()
  first = compilations.count
  seconds = np.array(measure.interleaved({'step': trainer}, options.repeats)['step']) / steps
  again = compilations.count - first
  one = trainer.make(1).lower(trainer.state, *trainer.arguments).compile()
  moved = (one.cost_analysis() or {}).get('bytes accessed', 0.0)
  flops = product_flops(trainer)
  peak = np.median(measure.product_peak(jnp.dtype(config.model.compute_dtype), options.repeats))
  speed = np.median(measure.bandwidth(options.repeats))
  model = config.model
  size = (
    f'{config.train.batch_rays} rays x {model.num_coarse_samples} + {model.num_samples} samples, '
    f'{config.model.compute_dtype}, {jax.device_count()} device(s)'
  )
  rows = [
    row(f'{name}: a step', size, 1e3 * seconds, 'ms', f'{steps} steps per call, no transfer'),
    row(f'{name}: speed', size, config.train.batch_rays / seconds, 'rays/s'),
    row(f'{name}: programs compiled after the first call', size, again, '', 'target: 0'),
    row('machine: matrix product', str(config.model.compute_dtype), peak / 1e9, 'GFLOP/s'),
    row('machine: memory', 'x + 1, read and written', speed / 1e9, 'GB/s'),
    row(f'{name}: matrix products', size, flops / 1e9, 'GFLOP a step'),
    row(f'{name}: share of the measured matrix peak', size, 100 * flops / seconds / peak, '%'),
    row(
      f'{name}: memory that the program names',
      size,
      moved / 1e9,
      'GB a step',
      "XLA's own count; caches serve part of it",
    ),
    row(
      f'{name}: that over the measured bandwidth',
      size,
      100 * moved / seconds / speed,
      '%',
      'above 100: caches',
    ),
  ]
  for kind, (sheet_flops, sheet_bytes) in measure.DATA_SHEETS.items():
    if kind in jax.devices()[0].device_kind:
      rows += [
        row(
          f"{name}: share of the {kind}'s bf16 peak",
          size,
          100 * flops / seconds / sheet_flops,
          '%',
          'data sheet',
        ),
        row(
          f"{name}: named memory over the {kind}'s bandwidth",
          size,
          100 * moved / seconds / sheet_bytes,
          '%',
          'data sheet',
        ),
      ]
  return rows + _profile(trainer, size, row)


def _profile(trainer: Trainer, size: str, row: Any) -> list[measure.Figure]:
  """The profile of one dispatch, by part and by the longest instructions."""
  name = trainer.config.model.field
  compiled = trainer.train_steps.lower(trainer.state, *trainer.arguments).compile()
  source = profiles.sources(compiled)
  spent = profiles.instructions(trainer)
  share = profiles.parts(spent, source)
  total = sum(share.values()) or 1.0
  rows = [
    row(f'{name}: {part}', size, 100 * value / total, '% of the profile')
    for part, value in share.items()
  ]
  longest = profiles.longest(spent, source, 8)
  return rows + [
    row(f'{name}: {instruction}', size, 100 * nanoseconds / total, '% of the profile', where)
    for instruction, nanoseconds, where in longest
  ]


def paper(options: Any, row: Any) -> list[measure.Figure]:
  """The published network's step, ours and PyTorch's, in both number formats."""
  try:
    import torch
  except ImportError:
    raise InputError(
      'the step suite times PyTorch beside us, which is not installed. '
      'pip install -r requirements-benchmark.txt'
    ) from None
  from launch.benchmarks import torch_published

  torch.set_num_threads(options.threads)
  root = scenes.street(options.work, options.street_frames, options.scale)
  size = f'{options.paper_rays} rays x {_PAPER_SAMPLES} samples'
  cases, rows = {}, []
  for dtype in ('float32', 'bfloat16'):
    trainer = Trainer(
      root,
      'paper',
      train__batch_rays=options.paper_rays,
      train__steps_per_call=1,
      model__compute_dtype=dtype,
    )
    batch, value = one_batch(trainer)
    params = jax.device_get(trainer.state.params)
    network = torch_published.Published(
      params, float(trainer.run.scene.window.far), trainer.run.scene.class_ids
    )
    step = torch_published.Step(
      network, dataclasses.asdict(trainer.config.loss), dtype == 'bfloat16'
    )
    batch = torch_published.prepared(batch)
    theirs = step(batch)
    ours = float(value)
    if abs(ours - theirs) > (1e-4 if dtype == 'float32' else 2e-2) * abs(ours):
      raise InputError(f"PyTorch's loss is {theirs}, ours {ours}: they are not the same step")
    rows.append(
      row(
        f'paper, {dtype}: difference of both losses',
        size,
        abs(ours - theirs) / abs(ours),
        'of the loss',
        'same weights and samples',
      )
    )
    cases[f'paper, {dtype}: ours'] = trainer
    cases[f'paper, {dtype}: PyTorch'] = functools.partial(step, batch)
  seconds = measure.interleaved(cases, options.slow_repeats)
  rows += [row(name, size, values, 's a step') for name, values in seconds.items()]
  for dtype in ('float32', 'bfloat16'):
    rows.append(
      row(
        f"paper, {dtype}: PyTorch's time over ours",
        size,
        measure.ratios(seconds[f'paper, {dtype}: PyTorch'], seconds[f'paper, {dtype}: ours']),
        'x',
      )
    )
  return rows


def one_batch(trainer: Trainer) -> tuple[dict[str, np.ndarray], jax.Array]:
  """Return a batch in the form of torch_published.prepared, and our loss on it."""
  table, classes, noise, _ = trainer.arguments
  options, loss = trainer.options, trainer.config.loss
  key = jax.random.key(0)
  batch = gather_batch(table, draw_pixels(table, key, options.batch_rays, 0.0), 1)
  terms, _ = jax.jit(
    lambda params: loss_terms(
      BoundField(trainer.run.module, params),
      batch,
      classes,
      noise,
      options,
      posterior_weight=jnp.float32(loss.posterior_weight_warmup),
      key=key,
    )
  )(trainer.state.params)
  render, rays = options.render, batch.rays
  t = sampling.sample_intervals(
    batch.intervals, render.num_samples, render.per_interval_fraction, key
  )
  membership = fixed.find_membership(t, batch.intervals, classes)
  ray_classes = jnp.any(membership.class_mask, axis=-2)
  has_depth_loss = jnp.ones(len(ray_classes), bool)
  if options.depth_columns is not None:
    columns = jnp.asarray(options.depth_columns, jnp.int32)
    has_depth_loss = jnp.any(ray_classes[:, columns], axis=-1)
  arrays = {
    'points': rays.origins[:, None] + t[..., None] * rays.directions[:, None],
    'directions': rays.directions,
    'origins': rays.origins,
    'rgb': batch.rgb,
    't': t,
    'delta': sampling.assign_segments(t, membership.inside, batch.intervals).delta,
    'occupied': membership.occupied,
    'fixed': membership.fixed,
    'likelihood': noise.transition.T[batch.label],
    'target': batch.depth / rays.depth_per_t,
    'measured': (batch.depth > 0) & (batch.depth < loss.depth_max) & has_depth_loss,
    'supervised': (batch.label > 0) * batch.label_weight,
    'supported': losses.label_on_ray(ray_classes, batch.label, noise.compatible),
  }
  weights = dict(options.weights)
  return jax.device_get(arrays), sum(weights[name] * value for name, value in terms.items())


def run(options: Any) -> list[measure.Figure]:
  """The step suite, or those of its sections that are asked for."""
  row = functools.partial(measure.figure, 'step')
  sections = {'ours': ours, 'paper': paper}
  rows = []
  for name in options.sections or sections:
    rows += sections[name](options, row)
  return rows
