"""The export of a window copies files of the dataset only."""

import shutil

import pytest

from configs import kitti360 as configs
from pnerf_jax.contrib.preparation.export_transforms import export_transforms
from pnerf_jax.errors import InputError

_SECRET = '<settings><password>root:x</password></settings>'


@pytest.mark.parametrize(
  'pattern, message',
  [
    ('data_2d_raw/*/image_01/data_rect/*.png', 'cannot be read as a PNG'),
    ('data_2d_pseudo_semantics/train/*/image_00/semantic/*.png', 'cannot be read as a PNG'),
    ('data_2d_pseudo_depth/*/image_00/*.png', 'cannot be read as a PNG'),
    ('data_2d_semantics/train/*/image_00/instance/*.png', 'cannot be read as a PNG'),
    ('data_3d_bboxes/train_full/*.xml', 'has no primitive'),
  ],
)
def test_links_to_other_files_are_refused(street, tmp_path, pattern, message):
  secret = tmp_path / 'secret'
  secret.write_text(_SECRET)
  root = shutil.copytree(street, tmp_path / 'street')
  path = sorted(root.glob(pattern))[0]
  path.unlink()
  path.symlink_to(secret)
  config = configs.get_config('tiny')
  config.data.root = str(root)
  with pytest.raises(InputError, match=f'{path.name}: {message}'):
    export_transforms(config.data, tmp_path / 'out')
  copied = [file for file in (tmp_path / 'out').rglob('*') if file.is_file()]
  assert _SECRET not in [file.read_bytes().decode(errors='replace') for file in copied]
  assert secret.stat().st_nlink == 1
