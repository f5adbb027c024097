"""Multi-view consistency of the paper against its evaluator, and pairs by hand."""

import numpy as np

from pnerf_jax.evaluation import frame_result
from pnerf_jax.evaluation.metrics import paper_consistency
from pnerf_jax.evaluation.metrics.consistency import MatchCounts


def _points(positions, classes, depth=5.0):
  positions = np.array(positions, float)
  return paper_consistency.PixelPoints(
    points=positions, depth=np.full(len(positions), depth), classes=np.array(classes)
  )


def test_counts_equal_the_evaluator_of_the_paper(golden):
  arrays = golden('consistency')
  track = {}
  for i, frame in enumerate(arrays['frames']):
    uvz = np.c_[arrays[f'lidar_pixels.{i}'], arrays[f'lidar_depth.{i}'].astype(np.float64)]
    labels = arrays['semantic'][i].repeat(2, axis=0).repeat(2, axis=1)
    track[int(frame)] = paper_consistency.PixelPoints(
      points=frame_result.unproject(uvz, arrays['world_from_cam'][i], arrays['intrinsics']),
      depth=uvz[:, 2],
      classes=frame_result.sample_at(labels, uvz),
    )
  frames = list(track)
  pairs = [paper_consistency.count_pair(track[a], track[b]) for a, b in zip(frames, frames[1:])]
  assert [pair.matched for pair in pairs] == arrays['matched'].tolist()
  assert [pair.equal for pair in pairs] == arrays['consistent'].tolist()
  counts = paper_consistency.count_track(track)
  assert counts == MatchCounts(int(arrays['matched_all']), int(arrays['consistent_all']))
  assert abs(counts.mc() - arrays['mc']) < 1e-12


def test_points_beyond_100_m_are_dropped():
  near, limit, far = (_points([[0, 0, 0]], [7], depth) for depth in (5.0, 100.0, 100.1))
  assert paper_consistency.count_pair(near, limit).matched == 1
  assert paper_consistency.count_pair(near, far).matched == 0


def test_pairs_are_neighbours_at_most_10_frames_apart():
  road, car = _points([[0, 0, 0]], [7]), _points([[0, 0, 0]], [26])
  count = paper_consistency.count_track
  assert count({15: car, 5: road}) == MatchCounts(1, 0)
  assert count({16: road, 5: road}) == MatchCounts()
  assert count({5: road, 10: None, 12: road}) == MatchCounts()  # 10 is evaluated too
  assert count({5: road, 10: road, 12: car}) == MatchCounts(2, 1)
