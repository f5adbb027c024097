"""Readiness check of a window: its files and their content, its geometry, the cost of training.

The input is read and validated by the functions that training uses, so the check fails on the same
input as training, with the same message. The verdict is the last line: "ready", "ready, but ..." or
"not ready: ...".
"""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from pnerf_jax.config.schema import Config, LossConfig
from pnerf_jax.contrib.preparation import alignment, content, estimate_cost, limitations, overlay
from pnerf_jax.contrib.preparation.limitations import Limitation, format_duration
from pnerf_jax.contrib.report import panels
from pnerf_jax.data import kitti360, labels
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges
from pnerf_jax.data.files import check_is_folder, check_output
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.window import Window
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation.ground_truth import camera_to_score, check_ground_truth, frames_to_score
from pnerf_jax.runs.experiment import build_experiment

_GIB = 2**30
_MAX_MEMORY = 0.8  # fraction of the device memory above which training may not fit
_WARNING, _ERROR = 'warning: ', 'error: '
NOT_READY = 'not ready'
_MAX_BARE = (0.2, 0.5)  # of the labelled surface without a primitive: a warning, an error
_MAX_BARE_WITH_SKY = (0.7, 0.85)  # without pseudo-labels, of all pixels
_SURROUNDINGS = ('flat', 'construction', 'nature')  # categories of what surrounds things
_MIN_HIT = 0.01  # fraction of the pixels that intersect a primitive
_MAX_RATIO = 1.25  # of stereo depth and LiDAR, either way
_UNIT = 'Check its unit: metres * 256, or depth_unit_scale_factor of transforms.json'


def check(
  config: Config, out: Path, estimates_cost: bool = True, config_flags: str = '--config=CONFIG'
) -> list[str]:
  """Check whether the window of a config is ready for training.

  Args:
    config: the config of the run.
    out: picture to write, PNG.
    estimates_cost: run a few training steps to estimate time and memory.
    config_flags: of the command line, for the commands of remedies.

  Returns:
    Lines of a report; suspicious input starts with 'warning: ', input that makes the labels wrong
    with 'error: ', and the last line is the verdict, which starts with 'ready' or 'not ready'.

  Raises:
    InputError: input on which training or evaluation fails, or an invalid `out`.
  """
  out = Path(out)
  if out.suffix.lower() != '.png' or out.is_dir():
    raise InputError(f'--out={out}: is not a PNG file name. Use for example --out=check.png.')
  check_is_folder(out.absolute().parent, '--out')
  check_output(out, panels.MARK)
  dataset = open_dataset(config.data)
  camera = camera_to_score(dataset, config.eval.camera)
  scored = frames_to_score(dataset, camera, config.data.eval_frames)
  check_ground_truth(dataset, camera, scored)
  experiment = build_experiment(config)
  window = experiment.scene.window
  found = alignment.compare(experiment)
  limits = limitations.supervision_limitations(dataset, window, config, found, config_flags)
  lines = [
    f'{dataset.sequence}, frames {format_ranges(dataset.frames)} ({len(dataset.frames)}), '
    f'{" and ".join(dataset.cameras)}',
    *_limitation_lines(limits),
    f'images {_format_sizes(window.full_sizes)}, trained at {_format_sizes(window.sizes)}',
    *_file_lines(dataset, config.loss, camera),
    f'frames to score: {format_ranges(scored)}',
    *primitive_lines(window.primitives),
    *_window_lines(window),
    *_alignment_lines(found, window),
    *_lidar_lines(dataset, camera),
  ]
  frame = overlay.write_overlay(
    out, dataset, experiment.scene, camera, config.scene.max_intervals_per_ray
  )
  lines.append(f'picture of frame {frame}: {out}')
  if estimates_cost:
    cost = estimate_cost.estimate(experiment)
    platform = experiment.mesh.devices.ravel()[0].platform
    slow = limitations.slow_training(config, cost, platform, config_flags)
    lines += _cost_lines(cost) + _limitation_lines(slow)
    limits += slow
  return [*lines, _verdict(lines, limits)]


def _limitation_lines(limits: list[Limitation]) -> list[str]:
  """Return the warnings of the limitations that no other line states."""
  return [f'{_WARNING}{limit.cause}: {limit.text()}' for limit in limits if limit.cause]


def _verdict(lines: list[str], limits: list[Limitation]) -> str:
  """Return whether a window is ready, what limits its labels, and the first remedy."""
  num_errors, num_warnings = (
    sum(line.startswith(prefix) for line in lines) for prefix in (_ERROR, _WARNING)
  )
  warnings = _number(num_warnings, 'warning')
  if num_errors:
    return f'{NOT_READY}: correct the errors above ({_number(num_errors, "error")}, {warnings})'
  if limits:
    worth = '; '.join(limit.worth for limit in limits)
    remedy = next((f'. {limit.remedy}' for limit in limits if limit.remedy), '')
    return f'ready, but {worth}{remedy} ({warnings})'
  if num_warnings:
    first = next(line for line in lines if line.startswith(_WARNING)).removeprefix(_WARNING)
    return f'ready, but the labels may be wrong: {first} ({warnings})'
  return 'ready'


def _number(number: int, noun: str) -> str:
  """Return '1 warning' or '2 warnings'."""
  return f'{number} {noun}{"s" * (number != 1)}'


def primitive_lines(primitives: list[PrimitiveRecord]) -> list[str]:
  """Return the number of static primitives and of moving objects per class."""
  static = Counter(p.semantic for p in primitives if p.timestamp < 0)
  objects = {(p.semantic, p.instance) for p in primitives if p.timestamp >= 0}
  moving = Counter(semantic for semantic, _ in sorted(objects))
  counts = lambda counter: ', '.join(
    f'{labels.BY_ID[i].name} {n}' for i, n in counter.most_common()
  )
  return [
    f'static primitives: {counts(static) or "none"}',
    f'moving objects (their pixels are not trained): {counts(moving)}'
    if moving
    else 'moving objects: none',
  ]


def _file_lines(dataset: DatasetIndex, loss: LossConfig, scored_camera: str) -> list[str]:
  """Return lines per kind of file and camera: the frames that have it, its content, what is odd."""
  consequences = {}
  if loss.semantic_2d_fixed or loss.semantic_2d:
    consequences['pseudo_label'] = 'the label losses are off there'
  if loss.depth:
    consequences['pseudo_depth'] = 'the depth loss is off there'
  lines = []
  supervision = ('rgb', 'pseudo_label', 'pseudo_confidence', 'pseudo_depth')
  for kind in supervision:
    samples = {camera: content.draw(dataset, kind, camera) for camera in dataset.cameras}
    is_absent = not any(sample.frames for sample in samples.values())  # a limitation, said above
    for camera, sample in samples.items():
      consequence = '' if is_absent else consequences.get(kind, '')
      lines += _sample_lines(dataset, camera, sample, consequence)
  for kind in ('true_semantic', 'true_instance', 'true_confidence', 'lidar_depth'):
    sample = content.draw(dataset, kind, scored_camera)
    lines += _sample_lines(dataset, scored_camera, sample)
  scans = [path for path in map(dataset.scan_path, dataset.frames) if path is not None]
  for path in scans:
    kitti360.check_scan_size(path, path.stat().st_size)  # on which evaluation would fail
  return [*lines, f'LiDAR: {len(scans)} of {len(dataset.frames)} frames have a scan']


def _sample_lines(
  dataset: DatasetIndex, camera: str, sample: content.Sample, consequence: str = ''
) -> list[str]:
  """Return the line of one kind of file, and a line for everything odd in its content.

  Args:
    dataset: the window's files.
    camera: e.g. 'image_00'.
    sample: of the files.
    consequence: effect of missing files on training; '' = none, no warning.
  """
  name = f'{sample.kind.title}, {camera}'
  line = f'{name}: {_count(sample.frames, dataset)}'
  if description := sample.description():
    line += f'; {description}'
  missing = sorted(set(dataset.frames) - set(sample.frames))
  if missing and consequence:
    line = f'{_WARNING}{line}; missing {format_ranges(missing)}: {consequence}'
  read = f'frames {format_ranges(sample.read)}'
  is_needless = len(sample.frames) == len(dataset.frames) and not description
  return [line] * (not is_needless) + [
    f'{_ERROR if fault.startswith(content.TRAIN_IDS) else _WARNING}{name}, {read}: {fault}'
    for fault in sample.faults()
  ]


def _format_sizes(sizes: np.ndarray) -> str:
  """Format the distinct (width, height) of sizes [V, 2], largest first."""
  return ' and '.join(f'{width} x {height}' for width, height in np.unique(sizes, axis=0)[::-1])


def _count(frames: list[int], dataset: DatasetIndex) -> str:
  return f'{len(frames)} of {len(dataset.frames)} frames'


def _window_lines(window: Window) -> list[str]:
  """Return lines on the window as a whole."""
  counted = re.compile(rf'{_WARNING}no .+ in \d+ of \d+ frames')  # by _file_lines
  return (
    [f'far bound {window.far:g} m, space outside all primitives: {window.unannotated_space}']
    + [
      note
      for note in window.notes
      if ' images used, ' in note or (note.startswith(_WARNING) and not counted.match(note))
    ]
    + [_WARNING + fault for fault in content.window_faults(window)]
  )


def _alignment_lines(found: alignment.Alignment, window: Window) -> list[str]:
  """Return lines on the agreement of the primitives with the pseudo-labels and depth."""
  views = f'in {found.num_views} of {len(window.view_frame)} images'
  lines = [f'{found.hit:.0%} of the pixels show a primitive, {views}']
  things = {record.semantic for record in window.primitives if record.timestamp < 0}
  if found.hit < _MIN_HIT and window.primitives:
    lines[0] = f'{_WARNING}{lines[0]}: check poses, primitives and config.data.start'
  if window.unannotated_space == 'empty':
    lines += _bare_lines(found, things, views)
  if found.reliability is not None:
    lines.append(
      f'pseudo-label reliability {found.reliability:.2f}, {views} (1 = right more often than wrong'
      ' where primitives and depth give the class; see docs/method.md)'
    )
  if found.depth_scale is not None:
    lines.append(
      f'{_WARNING}stereo depth lies inside the primitives if multiplied by'
      f' {found.depth_scale:.2g}, {views}. {_UNIT}'
    )
  return lines


def _bare_lines(found: alignment.Alignment, classes: set[int], views: str) -> list[str]:
  """Return an error or a warning if space that is not annotated is taken to be empty.

  Args:
    found: the agreement.
    classes: ids of the static primitives.
    views: those compared, in English.
  """
  bare, what, limits = 1 - found.hit, 'pixels', _MAX_BARE_WITH_SKY
  if found.bare is not None:
    bare, what, limits = found.bare, 'pixels with another pseudo-label than sky', _MAX_BARE
  only_things = not any(labels.BY_ID[i].category in _SURROUNDINGS for i in classes)
  if bare < limits[0] and not only_things:
    return []
  share = f'{bare:.0%} of the {what} show no primitive'
  cause = 'only things are annotated' if only_things else share
  return [
    f'{_ERROR if only_things or bare >= limits[1] else _WARNING}{cause}, {views}: all that no'
    ' primitive contains is labelled sky. Check the poses, or set'
    ' --config.scene.unannotated_space=void'
  ]


def _lidar_lines(dataset: DatasetIndex, camera: str) -> list[str]:
  """Return a warning if stereo depth and LiDAR differ."""
  ratio = alignment.depth_over_lidar(dataset, camera)
  if ratio is None or 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
    return []
  return [f'{_WARNING}stereo depth is {ratio:.2g} times that of LiDAR, {camera}. {_UNIT}']


def _cost_lines(cost: estimate_cost.CostEstimate) -> list[str]:
  """Return the estimated time and memory as lines."""
  workspace = 'unknown' if cost.workspace is None else f'{cost.workspace / _GIB:.2f} GiB'
  lines = [
    f'time, measured on this machine over {_number(cost.measured_steps, "step")}:'
    f' {cost.step * 1e3:.3g} ms per'
    f' step, {format_duration(cost.training)} for {cost.num_steps} steps; before that'
    f' {format_duration(cost.intervals)} for the intervals and {format_duration(cost.compile)} to'
    ' compile (previews, checkpoints and evaluation not included)',
    f'memory per device, computed: {cost.arrays / _GIB:.2f} GiB for parameters, optimiser and'
    f' rays, {workspace} of XLA workspace',
  ]
  limit, owner = cost.device_memory, 'device'
  if limit is None and hasattr(os, 'sysconf'):
    limit, owner = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'), 'machine'
  if limit and cost.arrays + (cost.workspace or 0) > _MAX_MEMORY * limit:
    lines.append(
      f'{_WARNING}this may not fit into the {limit / _GIB:.1f} GiB of this {owner}: reduce'
      ' config.train.batch_rays, config.data.max_width or config.data.frames'
    )
  return lines
