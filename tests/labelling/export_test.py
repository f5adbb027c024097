"""The folder of exported views: origin, cameras, damaged files."""

import json

import numpy as np
import pytest

from pnerf_jax.errors import InputError
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.labelling import export

_ORIGIN = {'step': 4, 'size': 'full', 'weights': 'ab'}


def _view(frame, name='image_00'):
  return name, Camera(
    intrinsics=np.array([30, 31, 20, 10], np.float32),
    world_from_cam=np.eye(4, dtype=np.float32),
    width=40,
    height=20,
    frame=frame,
  )


def _write_images(folder, *views):
  for view in views:
    for path in export.image_paths(folder, view).values():
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(b'')


def test_add_views_merges_cameras_in_world_coordinates(tmp_path):
  export.claim_folder(tmp_path, _ORIGIN, [_view(3)], overwrite=False)
  export.add_views(tmp_path, _ORIGIN, [_view(3)], np.array([100.0, 200, 300]))
  export.add_views(tmp_path, _ORIGIN, [_view(3), _view(2)], np.array([100.0, 200, 300]))
  content = json.loads((tmp_path / 'views.json').read_text())
  assert {key: content[key] for key in _ORIGIN} == _ORIGIN
  assert [view['frame'] for view in content['views']] == [2, 3]
  view = content['views'][0]
  assert np.array(view['world_from_cam'])[:3, 3].tolist() == [100, 200, 300]
  assert (view['fl_x'], view['cy'], view['width'], view['height']) == (30, 10, 40, 20)


def test_claim_folder_rejects_another_origin(tmp_path):
  views, other = [_view(3), _view(4)], {**_ORIGIN, 'step': 2}
  export.claim_folder(tmp_path, _ORIGIN, views, overwrite=False)
  _write_images(tmp_path, *views)
  export.claim_folder(tmp_path, _ORIGIN, views[:1], overwrite=False)
  for selected, overwrite in ((views, False), (views[:1], True)):
    with pytest.raises(InputError, match=r'step 4.*step 2.*--overwrite'):
      export.claim_folder(tmp_path, other, selected, overwrite)
  assert len(list(tmp_path.rglob('*.png'))) == 2 * len(export.KINDS)
  export.claim_folder(tmp_path, other, views, overwrite=True)
  assert not list(tmp_path.rglob('*.png')) and export.read_views(tmp_path)['step'] == 2


def test_read_views_names_a_damaged_file(tmp_path):
  assert export.read_views(tmp_path) is None
  for content in ('{', '[]', '{"views": 3}', '{"views": [{"camera": 1}]}'):
    (tmp_path / 'views.json').write_text(content)
    with pytest.raises(InputError, match=r'views.json: .*(damaged|not JSON).*Remove it'):
      export.read_views(tmp_path)
