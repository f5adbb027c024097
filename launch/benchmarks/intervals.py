"""Intervals of all rays of one real view, compared with trimesh and embree.

Letters: R rays, K intervals of a ray.
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from launch.benchmarks import measure, scenes
from pnerf_jax.data.window import load_window
from pnerf_jax.geometry.cameras import Camera, camera_rays
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.geometry.tiles import find_candidates
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene, make_scene

_MIN_LENGTH = 1e-4  # metres; shorter intervals are ignored
_MILLIMETRE = 1e-3
_NUM_INTERVALS = 16

# Ray index [N] and depth [N] in metres of the crossings with a primitive's surface.
Hits = tuple[np.ndarray, np.ndarray]


def load_scene(root: pathlib.Path, frames: int) -> Scene:
  """Return the scene of the real window, without images."""
  config = scenes.real_config(root, frames)
  return make_scene(load_window(config.data, config.scene, supervision=False))


def scene_intervals(scene: Scene, camera: Camera, num_intervals: int) -> Intervals:
  """Return our intervals [H, W, K] of a camera."""
  window = scene.window
  return view_intervals(scene.primitives, camera, window.near, float(window.far), num_intervals)[0]


class Embree:
  """Surface crossings of a camera's rays with its visible static primitives, by trimesh and embree.

  Each primitive is a mesh of its own, since primitives overlap: within one mesh, coincident faces
  hide each other. Building the trees is not timed.
  """

  def __init__(self, scene: Scene, camera: Camera):
    window = scene.window
    candidates = find_candidates(scene.primitives, camera, window.near, window.far).primitive
    visible = np.unique(candidates).tolist()
    self.primitives = [m for m in visible if window.primitives[m].timestamp < 0]
    meshes = [
      trimesh.Trimesh(
        window.primitives[m].vertices, window.primitives[m].faces, merge_norm=True, merge_tex=True
      )
      for m in self.primitives
    ]
    self._trees = [RayMeshIntersector(mesh) for mesh in meshes]
    self._merged = RayMeshIntersector(trimesh.util.concatenate(meshes))
    rays = jax.device_get(camera_rays(camera))
    self._origins = rays.origins.reshape(-1, 3).astype(np.float64)
    self._directions = rays.directions.reshape(-1, 3).astype(np.float64)
    for tree in (*self._trees, self._merged):
      tree.intersects_location(self._origins[:1], self._directions[:1])

  def hits_by_primitive(self) -> list[Hits]:
    """Return the crossings of each primitive, one call per primitive."""
    hits = []
    for tree in self._trees:
      points, rays, _ = tree.intersects_location(self._origins, self._directions)
      hits.append((rays, np.sum((points - self._origins[rays]) * self._directions[rays], -1)))
    return hits

  def hits_of_merged_mesh(self) -> Any:
    """Return all crossings from one call, with all primitives merged into one mesh."""
    return self._merged.intersects_location(self._origins, self._directions)


def pair_hits(
  hits: list[Hits], primitives: list[int], near: float, far: float
) -> dict[int, list[tuple[float, float, int]]]:
  """Return the intervals (enter, exit, primitive) of every ray, sorted, without a limit on K."""
  intervals = {}
  for primitive, (rays, depth) in zip(primitives, hits):
    order = np.lexsort((depth, rays))
    rays, depth = rays[order], depth[order]
    depth, rays = depth[depth > near], rays[depth > near]
    starts = np.flatnonzero(np.diff(rays, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(rays)]):
      t = depth[start:end]
      t = np.concatenate([[near], t]) if len(t) % 2 else t
      intervals.setdefault(int(rays[start]), []).extend(
        (a, min(b, far), primitive) for a, b in t.reshape(-1, 2) if min(b, far) - a > _MIN_LENGTH
      )
  return {ray: sorted(ray_intervals) for ray, ray_intervals in intervals.items()}


def compare(
  ours: Intervals, theirs: dict[int, list[tuple[float, float, int]]], num_intervals: int
) -> tuple[float, float, float]:
  """Compare our intervals with those of `pair_hits`.

  Returns:
    The fraction of rays with equal primitives, the fraction of these whose bounds agree within
    1 mm, and the largest difference among the latter in metres.
  """
  enter, leave, primitive = (
    np.asarray(x).reshape(-1, num_intervals) for x in (ours.enter, ours.exit, ours.primitive)
  )
  num_equal, num_close, largest = 0, 0, 0.0
  for ray, used in enumerate(np.sum(primitive >= 0, axis=-1)):
    mine = sorted(zip(primitive[ray, :used], enter[ray, :used], leave[ray, :used]))
    other = sorted((p, a, b) for a, b, p in theirs.get(ray, [])[:num_intervals])
    if [x[0] for x in mine] == [x[0] for x in other]:
      num_equal += 1
      error = max((max(abs(x[1] - y[1]), abs(x[2] - y[2])) for x, y in zip(mine, other)), default=0)
      num_close += error < _MILLIMETRE
      largest = max(largest, error if error < _MILLIMETRE else 0.0)
  return num_equal / len(primitive), num_close / max(num_equal, 1), largest


def run(options: Any) -> list[measure.Measurement]:
  """Time both on the middle view of the window."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  scene = load_scene(root, options.frames)
  camera = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  embree = Embree(scene, camera)
  k = _NUM_INTERVALS
  size = (
    f'{camera.width}x{camera.height}, {len(embree.primitives)} of {len(scene.window.primitives)} '
    f'primitives in view, K {k}'
  )
  ours = functools.partial(scene_intervals, scene, camera, k)
  cases = {
    'ours': ours,
    'per primitive': embree.hits_by_primitive,
    'merged': embree.hits_of_merged_mesh,
  }
  seconds = measure.interleaved(cases, options.repeats)
  with measure.PeakMemory() as peak:
    intervals = jax.block_until_ready(ours())
  theirs = pair_hits(
    embree.hits_by_primitive(), embree.primitives, scene.window.near, scene.window.far
  )
  equal, close, largest = compare(intervals, theirs, k)
  faster = min(('per primitive', 'merged'), key=lambda name: np.median(seconds[name]))
  result_mib = sum(x.nbytes for x in jax.tree.leaves(intervals)) / 2**20
  row = functools.partial(measure.summarize, 'intervals')
  return [
    row('ours: intervals', size, seconds['ours'], 's'),
    row(
      'trimesh + embree: crossings, one call per primitive',
      size,
      seconds['per primitive'],
      's',
      remark='without pairing into intervals',
    ),
    row(
      'trimesh + embree: crossings, one merged mesh',
      size,
      seconds['merged'],
      's',
      remark='coincident faces hide each other',
    ),
    row(
      'speed-up over the faster of both',
      size,
      measure.ratios(seconds[faster], seconds['ours']),
      'x',
      remark='target: 10',
    ),
    row(
      'ours: peak memory', size, peak.bytes / 2**20, 'MiB', remark=f'result: {result_mib:.0f} MiB'
    ),
    row(
      'rays with equal primitives in both',
      size,
      100 * equal,
      '%',
      remark='embree misses or duplicates hits at edges',
    ),
    row(
      'of these, within 1 mm', size, 100 * close, '%', remark=f'largest difference {largest:.1e} m'
    ),
    row('truncated intervals', size, int(intervals.num_truncated.sum()), 'intervals'),
  ]
