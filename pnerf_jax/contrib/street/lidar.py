"""Simulation of a spinning 64-beam LiDAR."""

import numpy as np

from pnerf_jax.contrib.street import raycast

# Velodyne HDL-64E: two blocks of 32 beams, 1/3 degree apart above, 1/2 degree below.
_ELEVATION = np.deg2rad(
  np.concatenate([np.linspace(2.0, -8.33, 32), np.linspace(-8.83, -24.33, 32)])
)
_AZIMUTHS = 2000
_RANGE = (2.0, 100.0)  # metres
_RANGE_NOISE = 0.015  # metres, standard deviation
_DROPOUT = 0.04


def scan(
  scenes: list[raycast.Scene], world_from_velo: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Return the points of one revolution of a scanner at rest.

  Args:
    scenes: the geometry.
    world_from_velo: [4, 4].
    rng: source of the noise.

  Returns:
    [N, 4] float32: x, y, z in the Velodyne's frame (metres) and reflectance in [0, 1].
  """
  turn = 2 * np.pi * (np.arange(_AZIMUTHS) + rng.random()) / _AZIMUTHS
  elevation, azimuth = np.meshgrid(_ELEVATION, turn, indexing='ij')
  elevation = elevation.ravel() + rng.normal(0, 2e-4, elevation.size)
  azimuth = azimuth.ravel()
  local = np.stack(
    [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1
  )
  directions = local @ world_from_velo[:3, :3].T
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  origins = np.broadcast_to(world_from_velo[:3, 3], directions.shape).copy()
  scene_index, hits = raycast.nearest(scenes, origins, directions)
  distance = hits.distance + rng.normal(0, _RANGE_NOISE, len(local))
  keep = (
    (hits.face >= 0)
    & (distance > _RANGE[0])
    & (distance < _RANGE[1])
    & (rng.random(len(local)) > _DROPOUT)
  )
  reflectance = np.zeros(len(local))
  for index, scene in enumerate(scenes):
    rays = np.flatnonzero(keep & (scene_index == index))
    if not len(rays):
      continue
    points = origins[rays] + hits.distance[rays, None] * directions[rays]
    surface, normal, gloss = scene.surface_at(
      hits.face[rays], points, directions[rays], 0.003 * hits.distance[rays]
    )
    cosine = np.abs(np.einsum('ij,ij->i', normal, directions[rays]))
    reflectance[rays] = surface.mean(1) * (0.4 + 0.6 * cosine)
    # Glass returns little light.
    keep[rays[(gloss > 0.3) & (rng.random(len(rays)) < 0.7)]] = False
  points = local * distance[:, None]
  return np.concatenate([points, reflectance[:, None]], 1)[keep].astype('<f4')
