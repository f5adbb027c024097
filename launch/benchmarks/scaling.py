"""Time and memory against devices, frames and primitives."""

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

_WIDTH = 352  # of the frames that are counted up to 256, so that all fit into memory
_SHIFT = 7.0  # metres between copies where more primitives are asked for than there are


def devices_child(root: str, variant: str) -> None:
  """Train for some calls on as many devices as XLA simulates; print losses and seconds."""
  trainer = Trainer(pathlib.Path(root), variant)
  seconds, losses = [], []
  for _ in range(4):
    start = time.perf_counter()
    losses.append(float(trainer()['loss']))
    seconds.append(time.perf_counter() - start)
  print(json.dumps({'seconds': seconds[1:], 'losses': losses, 'rays': trainer.rays_per_call}))


def _devices(options: Any) -> list[measure.Figure]:
  """The same steps on more and more simulated devices of the same cores."""
  root = scenes.street(options.work, options.street_frames, options.scale / 2)
  found = {count: [] for count in options.devices}
  for _ in range(options.slow_repeats):
    for count in options.devices:
      said = scenes.run(
        '-m',
        'launch.benchmarks.scaling',
        str(root),
        options.variant,
        XLA_FLAGS=f'--xla_force_host_platform_device_count={count}',
      )
      found[count].append(json.loads(said.strip().splitlines()[-1]))
  row, one = functools.partial(measure.figure, 'scaling'), found[options.devices[0]][0]
  rows = []
  for count, runs in found.items():
    off = max(abs(a - b) / abs(b) for a, b in zip(runs[0]['losses'], one['losses']))
    rows.append(
      row(
        f'{count} simulated devices',
        f'{one["rays"]} rays per call',
        [one['rays'] / np.median(r['seconds']) for r in runs],
        'rays/s',
        f"losses differ from the first row's by at most {off:.1e} of themselves",
      )
    )
  return rows


def _frames(options: Any) -> list[measure.Figure]:
  """Intersecting longer and longer windows."""
  row, rows = functools.partial(measure.figure, 'scaling'), []
  for count in options.windows:
    root = scenes.real_window(options.work, options.real, count, _WIDTH)
    scene = intervals.geometry(root, count)
    start = time.perf_counter()
    with measure.PeakMemory() as peak:
      found, _ = interval_cache.of_views(scene, range(2 * count), 16, None)
    seconds = time.perf_counter() - start
    size = f'{count} stereo frames of {_WIDTH}, {len(scene.window.primitives)} primitives'
    rows += [
      row('intervals of a window', size, seconds, 's'),
      row(
        'intervals of a window: table',
        size,
        sum(x.nbytes for x in jax.tree.leaves(found)) / 2**20,
        'MiB',
        f'peak {peak.bytes / 2**20:.0f} MiB while it is made',
      ),
    ]
    del found
  return rows


def with_primitives(scene: Scene, position: np.ndarray, count: int) -> Scene:
  """The scene with the `count` static primitives that are nearest to a position [3], and where
  there are fewer, with copies of them shifted along x."""
  boxes = [box for box in scene.window.primitives if box.timestamp < 0]
  boxes.sort(key=lambda box: np.linalg.norm(box.vertices.mean(0) - position))
  shifts = [np.array([_SHIFT * (i // len(boxes)), 0.0, 0.0]) for i in range(count)]
  boxes = [boxes[i % len(boxes)] for i in range(count)]
  boxes = [dataclasses.replace(box, vertices=box.vertices + s) for box, s in zip(boxes, shifts)]
  return dataclasses.replace(
    scene,
    window=dataclasses.replace(scene.window, primitives=boxes),
    primitives=make_primitives(
      [b.vertices for b in boxes],
      [b.faces for b in boxes],
      semantic=[b.semantic for b in boxes],
      instance=[b.instance for b in boxes],
      annotation=[b.annotation for b in boxes],
      timestamp=[-1] * count,
    ),
  )


def _primitives(options: Any) -> list[measure.Figure]:
  """One view among more and more primitives."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  scene = intervals.geometry(root, options.frames)
  view = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  cases, faces = {}, {}
  for count in options.primitives:
    chosen = with_primitives(scene, view.world_from_cam[:3, 3], count)
    cases[count] = functools.partial(intervals.table, chosen, view, 16)
    faces[count] = len(chosen.primitives.faces)
  seconds = measure.interleaved(cases, options.repeats)
  rows = []
  for count, case in cases.items():
    with measure.PeakMemory() as peak:
      dropped = int(jax.block_until_ready(case()).num_truncated.sum())
    rows.append(
      measure.figure(
        'scaling',
        'intervals of a view',
        f'{view.width}x{view.height}, {count} primitives, {faces[count]} faces',
        seconds[count],
        's',
        f'peak {peak.bytes / 2**20:.0f} MiB; {dropped} intervals found no room',
      )
    )
  return rows


def run(options: Any) -> list[measure.Figure]:
  """All three."""
  return [*_primitives(options), *_frames(options), *_devices(options)]


if __name__ == '__main__':
  devices_child(*sys.argv[1:])
