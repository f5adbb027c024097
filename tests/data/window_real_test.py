"""Windows of real files and of a whole street."""

import numpy as np
import pytest

from pnerf_jax.config.schema import DataConfig, SceneConfig
from pnerf_jax.data import window
from pnerf_jax.errors import InputError


def clip(shared, **changes):
  fields = {
    'root': str(shared / 'kitti360_real'),
    'start': 700,
    'frames': 5,
    'sequence': '2013_05_28_drive_0000_sync',
  }
  return DataConfig(**fields | changes)


@pytest.fixture(scope='module')
def real(shared):
  return window.load_window(clip(shared), SceneConfig())


def test_real_clip(real):
  assert real.frames == (700, 701, 702, 703, 704)
  assert real.view_frame.tolist() == [f for f in range(700, 705) for _ in range(2)]
  assert real.view_camera.tolist() == [0, 1] * 5
  assert (real.width, real.height) == (704, 188)
  assert (real.sizes == [704, 188]).all() and (real.full_sizes == [1408, 376]).all()
  assert real.rgb.shape == (10, 188, 704, 3) and real.rgb.dtype == np.uint8
  assert real.pseudo_label.shape == (10, 188, 704) and real.pseudo_depth is None
  assert set(np.unique(real.pseudo_label)) <= {7, 8, 11, 12, 13, 17, 21, 22, 23, 26, 27}
  assert real.pseudo_confidence is None
  assert sum('no pseudo depth for' in note for note in real.notes) == 2
  np.testing.assert_allclose(
    real.full_intrinsics[0], [552.554261, 552.554261, 682.049453, 238.769549], rtol=1e-6
  )
  np.testing.assert_allclose(
    real.intrinsics[0], [276.2771305, 276.2771305, 340.7747265, 119.1347745], rtol=1e-6
  )


def test_real_poses_keep_precision_in_float32(real, shared):
  # Recentred in float64 first: in float32 the raw coordinates (up to 3792 m) carry 0.2 mm steps.
  cam0 = np.loadtxt(shared / 'kitti360_real' / 'data_poses' / real.sequence / 'cam0_to_world.txt')
  published = {int(row[0]): row[1:].reshape(4, 4) for row in cam0}
  assert np.abs(real.world_from_cam[:, :3, 3]).max() < 10
  for frame, camera, pose in zip(real.view_frame, real.view_camera, real.world_from_cam):
    expected = published[frame].copy()
    expected[:3, 3] += expected[:3, 0] * 0.594183 * camera - real.center
    np.testing.assert_allclose(pose, expected, atol=6e-4)
  left, right = real.world_from_cam[:2].astype(np.float64)
  np.testing.assert_allclose((np.linalg.inv(left) @ right)[:3, 3], [0.594183, 0, 0], atol=3e-6)


TRUE_CARS, GHOST = {892, 941, 927, 928, 953}, 4727


@pytest.mark.parametrize('split', ['auto', 'train', 'train_full', 'union'])
def test_real_ghosts_are_excluded(shared, split):
  found = window.load_window(clip(shared, primitives=split), SceneConfig(), supervision=False)
  indices = [record.index for record in found.primitives]
  assert TRUE_CARS <= set(indices) and GHOST not in indices
  assert len(indices) == len(set(indices))
  hand_made = [i for i in indices if 5918 <= i <= 6015]
  assert (len(hand_made) > 80) == (split != 'train')


def test_real_ghost_is_in_view_without_the_filter(shared):
  found = window.load_window(
    clip(shared), SceneConfig(annotation_margin_frames=10**6), supervision=False
  )
  assert GHOST in [record.index for record in found.primitives]


def test_real_union_counts_repeats(shared):
  # train_full holds the cars of train once more, under other instance numbers.
  both = window.load_window(clip(shared, primitives='union'), SceneConfig(), supervision=False)
  full = window.load_window(clip(shared, primitives='train_full'), SceneConfig(), supervision=False)
  assert [record.instance for record in both.primitives] == [
    record.instance for record in full.primitives
  ]


def test_real_bounds(real):
  assert 100 <= real.far <= 250
  low, high = real.bounds
  origins = real.world_from_cam[:, :3, 3]
  assert real.bounds.dtype == np.float32 and (high > low).all()
  assert (low[:2] <= origins[:, :2].min(0)).all() and (high[:2] >= origins[:, :2].max(0)).all()
  assert high[2] - low[2] < 60  # a street, not the frustum's 100 m
  nearest = min(np.linalg.norm(record.vertices.mean(0) - origins[0]) for record in real.primitives)
  assert nearest < 30 and real.primitives[0].vertices.dtype == np.float64


def test_real_void(shared):
  found = window.load_window(
    clip(shared, primitives='train'),
    SceneConfig(unannotated_space='void', far=80.0),
    supervision=False,
  )
  assert found.far == 80 and {record.label for record in found.primitives} == {'car'}
  size = found.bounds[1] - found.bounds[0]
  assert 80 < size.max() < 200 and size[2] > 40


def test_real_geometry_alone(shared, real):
  found = window.load_window(clip(shared), SceneConfig(), supervision=False)
  assert found.rgb is None and found.pseudo_label is None and found.pseudo_depth is None
  np.testing.assert_array_equal(found.world_from_cam, real.world_from_cam)
  np.testing.assert_array_equal(found.bounds, real.bounds)
  assert (found.width, found.height) == (704, 188)


def test_real_range_with_holes(shared):
  found = window.load_window(clip(shared, start=-1, frames=8), SceneConfig(), supervision=False)
  assert found.frames == (250, 644, 700, 701, 702, 703, 704, 729)
  assert '16 of 22 images used' in found.notes[0]
  (warning,) = [note for note in found.notes if note.startswith('warning')]
  assert 'warning: frames 250 and 644 are ' in warning and '--config.data.frames=1 ' in warning


@pytest.mark.parametrize(
  'start, frames, messages',
  [
    (12000, 1, ['no frame from 12000 on', '700-704', '--config.data.start']),
  ],
)
def test_real_no_frames(shared, start, frames, messages):
  with pytest.raises(InputError) as error:
    window.load_window(clip(shared, start=start, frames=frames), SceneConfig())
  for message in messages:
    assert message in str(error.value)


def test_street(shared):
  data = clip(shared, root=str(shared / 'streets' / 'street_a'), sequence='', start=-1, frames=64)
  found = window.load_window(data, SceneConfig())
  assert found.frames == tuple(range(1238, 1262))
  assert (found.sizes == [352, 94]).all() and (found.full_sizes == [352, 94]).all()
  assert (found.pseudo_label[0::2] > 0).mean() > 0.9 and not found.pseudo_label[1::2].any()
  assert (found.pseudo_depth[0::2] > 0).mean() > 0.8 and not found.pseudo_depth[1::2].any()
  assert sum('image_01' in note for note in found.notes) == 2
  assert 150 < len(found.primitives) <= 249
