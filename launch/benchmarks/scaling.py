"""Time and memory as functions of the number of devices, frames and primitives."""

import dataclasses
import functools
import json
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np

from launch.benchmarks import intervals, measure, scenes
from launch.benchmarks.training import Trainer
from pnerf_jax.geometry.primitives import make_primitives
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene
from pnerf_jax.training import interval_cache

_WIDTH = 352  # pixels; 256 frames of this size fit into memory
_COPY_SHIFT = 7.0  # metres between copies of a primitive
_NUM_INTERVALS = 16


def devices_child(root: str, variant: str) -> None:
  """Train for some calls on the devices that XLA simulates; print losses and seconds as JSON."""
  trainer = Trainer(pathlib.Path(root), variant)
  seconds, losses = [], []
  for _ in range(4):
    start = time.perf_counter()
    losses.append(float(trainer()['loss']))
    seconds.append(time.perf_counter() - start)
  print(json.dumps({'seconds': seconds[1:], 'losses': losses, 'rays': trainer.rays_per_call}))


def _devices(options: Any) -> list[measure.Measurement]:
  """Time the same steps on different numbers of simulated devices, on the same cores."""
  root = scenes.street(options.work, options.street_frames, options.scale / 2)
  runs = {count: [] for count in options.devices}
  for _ in range(options.slow_repeats):
    for count in options.devices:
      output = scenes.run_python(
        '-m',
        'launch.benchmarks.scaling',
        str(root),
        options.variant,
        XLA_FLAGS=f'--xla_force_host_platform_device_count={count}',
      )
      runs[count].append(json.loads(output.strip().splitlines()[-1]))
  reference = runs[options.devices[0]][0]
  rows = []
  for count, count_runs in runs.items():
    losses = zip(count_runs[0]['losses'], reference['losses'])
    error = max(abs(a - b) / abs(b) for a, b in losses)
    rows.append(
      measure.summarize(
        'scaling',
        f'{count} simulated devices',
        f'{reference["rays"]} rays per call',
        [reference['rays'] / np.median(run['seconds']) for run in count_runs],
        'rays/s',
        remark=f'relative difference of the losses to the first row: {error:.1e}',
      )
    )
  return rows


def _frames(options: Any) -> list[measure.Measurement]:
  """Time the intersection of windows of different lengths."""
  row, rows = functools.partial(measure.summarize, 'scaling'), []
  for count in options.windows:
    root = scenes.real_window(options.work, options.real, count, _WIDTH)
    scene = intervals.load_scene(root, count)
    start = time.perf_counter()
    with measure.PeakMemory() as peak:
      result, _ = interval_cache.view_intervals(scene, range(2 * count), _NUM_INTERVALS, None)
    seconds = time.perf_counter() - start
    size = f'{count} stereo frames of width {_WIDTH}, {len(scene.window.primitives)} primitives'
    rows += [
      row('intervals of a window', size, seconds, 's'),
      row(
        'intervals of a window: result',
        size,
        sum(x.nbytes for x in jax.tree.leaves(result)) / 2**20,
        'MiB',
        remark=f'peak memory {peak.bytes / 2**20:.0f} MiB',
      ),
    ]
    del result
  return rows


def with_primitives(scene: Scene, position: np.ndarray, count: int) -> Scene:
  """Return the scene with the `count` static primitives nearest to a position [3], in metres.

  If there are fewer, copies of them are shifted along x.
  """
  static = [record for record in scene.window.primitives if record.timestamp < 0]
  static.sort(key=lambda record: np.linalg.norm(record.vertices.mean(0) - position))
  records = []
  for i in range(count):
    record, shift = static[i % len(static)], np.array([_COPY_SHIFT * (i // len(static)), 0.0, 0.0])
    records.append(dataclasses.replace(record, vertices=record.vertices + shift))
  return dataclasses.replace(
    scene,
    window=dataclasses.replace(scene.window, primitives=records),
    primitives=make_primitives(
      [record.vertices for record in records],
      [record.faces for record in records],
      semantic=[record.semantic for record in records],
      instance=[record.instance for record in records],
      annotation=[record.annotation for record in records],
      timestamp=[-1] * count,
    ),
  )


def _primitives(options: Any) -> list[measure.Measurement]:
  """Time the intersection of one view with different numbers of primitives."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  scene = intervals.load_scene(root, options.frames)
  camera = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  cases, num_faces = {}, {}
  for count in options.primitives:
    subset = with_primitives(scene, camera.world_from_cam[:3, 3], count)
    cases[count] = functools.partial(intervals.scene_intervals, subset, camera, _NUM_INTERVALS)
    num_faces[count] = len(subset.primitives.faces)
  seconds = measure.interleaved(cases, options.repeats)
  rows = []
  for count, case in cases.items():
    with measure.PeakMemory() as peak:
      num_truncated = int(jax.block_until_ready(case()).num_truncated.sum())
    rows.append(
      measure.summarize(
        'scaling',
        'intervals of a view',
        f'{camera.width}x{camera.height}, {count} primitives, {num_faces[count]} faces',
        seconds[count],
        's',
        remark=f'peak memory {peak.bytes / 2**20:.0f} MiB; {num_truncated} truncated intervals',
      )
    )
  return rows


def run(options: Any) -> list[measure.Measurement]:
  """Run the three series."""
  return [*_primitives(options), *_frames(options), *_devices(options)]


if __name__ == '__main__':
  devices_child(*sys.argv[1:])
