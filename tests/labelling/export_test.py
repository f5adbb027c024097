"""The folder of exported views: origin, cameras, damaged files."""

import json

import numpy as np
import pytest

from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.labelling import export
from pnerf_jax.labelling.images import Image
from pnerf_jax.runs import render

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
  view = {'camera': 'a', 'frame': 1, 'width': 2, 'height': 2, 'world_from_cam': [[1]]}
  views = ('{', '[]', '{"views": 3}', '{"views": [{"camera": 1}]}', json.dumps({'views': [view]}))
  for content in views:
    (tmp_path / 'views.json').write_text(content)
    with pytest.raises(InputError, match=r'views.json: .*(damaged|not JSON).*Remove it'):
      export.read_views(tmp_path)


def test_overwrite_replaces_a_damaged_views_json(tmp_path):
  views = [_view(3)]
  _write_images(tmp_path, *views)
  (tmp_path / 'views.json').write_text('{')
  with pytest.raises(InputError, match='views.json: not JSON .*render all views with --overwrite'):
    export.claim_folder(tmp_path, _ORIGIN, views, overwrite=False)
  export.claim_folder(tmp_path, _ORIGIN, views, overwrite=True)
  assert export.read_views(tmp_path) == {**export.read_views(tmp_path), **_ORIGIN, 'views': {}}
  assert not list(tmp_path.rglob('*.png'))


def _cut(path):
  path.write_bytes(path.read_bytes()[:40])


def _write_unknown(path):
  image_io.write_instance(path, np.full((20, 40), 45000))


@pytest.mark.parametrize(
  'kind, damage, reason',
  [
    ('rgb', _cut, 'cannot be read as a PNG'),
    ('depth', lambda path: path.write_text('depth'), 'cannot be read as a PNG'),
    ('semantic', lambda path: image_io.write_label(path, np.zeros((5, 6))), 'size 6x5, expected'),
    ('confidence', lambda path: image_io.write_label(path, np.zeros((20, 40))), 'pixel type L'),
    ('instance', _write_unknown, 'instance value 45000'),
  ],
)
def test_damaged_images_are_not_taken_for_rendered(tmp_path, caplog, kind, damage, reason):
  paths = export.image_paths(tmp_path, _view(3))
  plane = np.zeros((20, 40), np.int32)
  image = Image(
    rgb=np.zeros((20, 40, 3), np.uint8),
    num_truncated=0,
    features=np.zeros((20, 40, 4)),
    **dict.fromkeys(('depth', 'semantic', 'fixed', 'instance', 'confidence', 'unsupported'), plane),
  )
  assert not render._is_rendered(paths, (40, 20))  # absent
  export.write_image(paths, image)
  assert render._is_rendered(paths, (40, 20)) and not caplog.text
  damage(paths[kind])
  assert not render._is_rendered(paths, (40, 20))
  assert f'rendering this view again: {paths[kind]}: {reason}' in caplog.text
