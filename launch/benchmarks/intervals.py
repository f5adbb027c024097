"""The table of intervals of one real view, beside trimesh with embree.

Letters: R rays, K intervals of a ray.
"""

import functools
from typing import Any

import jax
import numpy as np
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from launch.benchmarks import measure, scenes
from pnerf_jax.data.window import load_window
from pnerf_jax.geometry.cameras import Camera, camera_rays
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.geometry.tiles import find_candidates
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene, make_scene

_SHORTEST = 1e-4  # metres; shorter intervals are left out of the table
_MILLIMETRE = 1e-3


def geometry(root: Any, frames: int) -> Scene:
  """The real window's scene without a pixel."""
  config = scenes.real_config(root, frames)
  return make_scene(load_window(config.data, config.scene, supervision=False))


def table(scene: Scene, view: Camera, num_intervals: int) -> Any:
  """Our table of one view."""
  return view_intervals(
    scene.primitives, view, scene.window.near, float(scene.window.far), num_intervals
  )[0]


class Embree:
  """All crossings of a view's rays with the primitives that are in view, by trimesh and embree.

  Each primitive is a mesh of its own, as it must be where several may overlap: in one mesh, faces
  that coincide hide each other. Building the trees is not counted.
  """

  def __init__(self, scene: Scene, view: Camera):
    window = scene.window
    seen = np.unique(find_candidates(scene.primitives, view, window.near, window.far).primitive)
    self.primitives = [m for m in seen.tolist() if window.primitives[m].timestamp < 0]
    meshes = [
      trimesh.Trimesh(
        window.primitives[m].vertices, window.primitives[m].faces, merge_norm=True, merge_tex=True
      )
      for m in self.primitives
    ]
    self._trees = [RayMeshIntersector(mesh) for mesh in meshes]
    self._whole = RayMeshIntersector(trimesh.util.concatenate(meshes))
    rays = jax.device_get(camera_rays(view))
    self._origins = rays.origins.reshape(-1, 3).astype(np.float64)
    self._directions = rays.directions.reshape(-1, 3).astype(np.float64)
    for tree in (*self._trees, self._whole):
      tree.intersects_location(self._origins[:1], self._directions[:1])

  def each(self) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per primitive the rays that cross it and the depths, one call a primitive."""
    found = []
    for tree in self._trees:
      points, rays, _ = tree.intersects_location(self._origins, self._directions)
      found.append((rays, np.sum((points - self._origins[rays]) * self._directions[rays], -1)))
    return found

  def raise_together(self) -> Any:
    """All crossings in one call, of one mesh that holds every primitive."""
    return self._whole.intersects_location(self._origins, self._directions)


def pairs(found: list, primitives: list[int], near: float, far: float) -> dict[int, list]:
  """Crossings as intervals: ray -> sorted (enter, exit, primitive); all are kept."""
  rays = {}
  for primitive, (index, depth) in zip(primitives, found):
    order = np.lexsort((depth, index))
    index, depth = index[order], depth[order]
    depth, index = depth[depth > near], index[depth > near]
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(index)]):
      t = depth[start:end]
      t = np.concatenate([[near], t]) if len(t) % 2 else t
      rays.setdefault(int(index[start]), []).extend(
        (a, min(b, far), primitive) for a, b in t.reshape(-1, 2) if min(b, far) - a > _SHORTEST
      )
  return {ray: sorted(intervals) for ray, intervals in rays.items()}


def agreement(ours: Any, theirs: dict[int, list], num_intervals: int) -> tuple[float, float, float]:
  """Share of the rays with the same primitives in both, among those the share within 1 mm, and the
  largest difference there in metres."""
  enter, leave, primitive = (
    np.asarray(x).reshape(-1, num_intervals) for x in (ours.enter, ours.exit, ours.primitive)
  )
  same, close, largest = 0, 0, 0.0
  for ray, used in enumerate(np.sum(primitive >= 0, axis=-1)):
    other = theirs.get(ray, [])[:num_intervals]
    mine = sorted(zip(primitive[ray, :used], enter[ray, :used], leave[ray, :used]))
    other = sorted((p, a, b) for a, b, p in other)
    if [x[0] for x in mine] == [x[0] for x in other]:
      same += 1
      worst = max((max(abs(x[1] - y[1]), abs(x[2] - y[2])) for x, y in zip(mine, other)), default=0)
      close += worst < _MILLIMETRE
      largest = max(largest, worst if worst < _MILLIMETRE else 0.0)
  return same / len(primitive), close / max(same, 1), largest


def run(options: Any) -> list[measure.Figure]:
  """Times both on the window's middle view."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  scene = geometry(root, options.frames)
  view = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  embree = Embree(scene, view)
  k = 16
  size = (
    f'{view.width}x{view.height}, {len(embree.primitives)} of {len(scene.window.primitives)} '
    f'primitives in view, K {k}'
  )
  ours = functools.partial(table, scene, view, k)
  seconds = measure.interleaved(
    {'ours': ours, 'each': embree.each, 'together': embree.raise_together}, options.repeats
  )
  with measure.PeakMemory() as peak:
    found = jax.block_until_ready(ours())
  same, close, largest = agreement(
    found, pairs(embree.each(), embree.primitives, scene.window.near, scene.window.far), k
  )
  row = functools.partial(measure.figure, 'intervals')
  faster = min(('each', 'together'), key=lambda name: np.median(seconds[name]))
  return [
    row('ours: table of intervals', size, seconds['ours'], 's'),
    row(
      'trimesh + embree: crossings, a call a primitive',
      size,
      seconds['each'],
      's',
      'pairing into intervals not counted',
    ),
    row(
      'trimesh + embree: crossings, one mesh',
      size,
      seconds['together'],
      's',
      'coinciding faces hide each other',
    ),
    row(
      'times as fast as the faster of both',
      size,
      measure.ratios(seconds[faster], seconds['ours']),
      'x',
      'target: 10',
    ),
    row(
      'memory of ours, peak',
      size,
      peak.bytes / 2**20,
      'MiB',
      f'the table itself: {sum(x.nbytes for x in jax.tree.leaves(found)) / 2**20:.0f}',
    ),
    row(
      'rays with the same primitives in both',
      size,
      100 * same,
      '%',
      'embree loses or doubles hits at edges',
    ),
    row('of those, within 1 mm', size, 100 * close, '%', f'largest of them {largest:.1e} m'),
    row('intervals that found no room', size, int(found.num_truncated.sum()), 'intervals'),
  ]
