"""Small datasets, in KITTI-360's layout and as transforms.json, in which every number is known."""

import json
import pathlib
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from configs import transforms as configs
from pnerf_jax.config.schema import DataConfig, SceneConfig
from pnerf_jax.data import image_io, transforms
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError

SEQUENCE = '2013_05_28_drive_0007_sync'
CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
# Vertex indices of CORNERS, with any winding.
_FACES = '013 032 457 476 015 054 237 276 026 064 137 175'
CUBE_FACES = np.array([[int(vertex) for vertex in face] for face in _FACES.split()])


def _matrix(tag, values, dt='f'):
  values = np.asarray(values)
  data = ' '.join(f'{x:.9g}' for x in values.ravel())
  return (
    f'<{tag} type_id="opencv-matrix"><rows>{values.shape[0]}</rows>'
    f'<cols>{values.shape[1]}</cols><dt>{dt}</dt><data>\n{data} </data></{tag}>'
  )


def cube_xml(
  center=(10.0, 0.0, 0.0),
  size=(2.0, 2.0, 2.0),
  number=1,
  vertices=CORNERS,
  faces=CUBE_FACES,
  **tags,
):
  """Return one <object> of a primitive; tags of None are omitted."""
  transform = np.eye(4)
  transform[:3, :3] = np.diag(size)
  transform[:3, 3] = center
  tags = {
    'index': number,
    'label': 'car',
    'semanticId': 13,
    'instanceId': number,
    'timestamp': -1,
    'dynamic': 0,
    'start_frame': 1,
    'end_frame': 240,
  } | tags
  text = ''.join(f'<{k}>{v}</{k}>' for k, v in tags.items() if v is not None)
  text += (
    _matrix('transform', transform) + _matrix('vertices', vertices) + _matrix('faces', faces, 'u')
  )
  return f'<object{number}>{text}</object{number}>'


def boxes_xml(*objects):
  """Return an XML file."""
  return (
    '<?xml version="1.0"?>\n<opencv_storage>\n<version>1</version>\n'
    + '\n'.join(objects)
    + '\n</opencv_storage>\n'
  )


def write_root(root: pathlib.Path) -> pathlib.Path:
  """Write frames 0..5 of 64x24 at (1000 + frame, 2000, 100), looking along +x; frame 3 has no pose.

  The rectified cameras look along the vehicle's x axis, 0.5 m apart; a car stands 10 m ahead of
  frame 0.
  """
  calibration = root / 'calibration'
  calibration.mkdir(parents=True)
  lines = ['calib_time: now', 'corner_dist: 0.1']
  for camera, shift in (('00', 0.0), ('01', -25.0)):
    lines += [
      f'S_{camera}: 64.0 24.0',
      f'K_{camera}: 50 0 31.5 0 50 11.5 0 0 0',
      f'D_{camera}: 0 0 0 0 0',
      f'R_{camera}: 1 0 0 0 1 0 0 0 1',
      f'T_{camera}: 0 0 0',
      f'S_rect_{camera}: 64.000000 24.000000',
      f'R_rect_{camera}: 1 0 0 0 1 0 0 0 1',
      f'P_rect_{camera}: 50 0 31.5 {shift} 0 50 11.5 0 0 0 1 0',
    ]
  (calibration / 'perspective.txt').write_text('\n'.join(lines) + '\n')
  pose_from_cam = '0 0 1 0  -1 0 0 {}  0 -1 0 0'
  (calibration / 'calib_cam_to_pose.txt').write_text(
    ''.join(f'image_0{i}: {pose_from_cam.format(y)} \n' for i, y in enumerate((0, -0.5, 0, 0)))
  )
  (calibration / 'calib_cam_to_velo.txt').write_text('0 0 1 0 -1 0 0 0 0 -1 0 0\n')
  poses = root / 'data_poses' / SEQUENCE / 'poses.txt'
  poses.parent.mkdir(parents=True)
  poses.write_text(
    ''.join(f'{f} 1 0 0 {1000 + f} 0 1 0 2000 0 0 1 100 \n' for f in range(6) if f != 3)
  )
  rng = np.random.default_rng(0)
  for camera in ('image_00', 'image_01'):
    folder = root / 'data_2d_raw' / SEQUENCE / camera / 'data_rect'
    folder.mkdir(parents=True)
    for f in range(6):
      pixels = rng.integers(0, 256, (24, 64, 3), np.uint8)
      Image.fromarray(pixels).save(folder / f'{f:010d}.png')
  primitives = root / 'data_3d_bboxes' / 'train' / f'{SEQUENCE}.xml'
  primitives.parent.mkdir(parents=True)
  primitives.write_text(boxes_xml(cube_xml(center=(1010.0, 2000.0, 100.0))))
  return root


@pytest.fixture
def tiny(tmp_path):
  """Return the root, the writers above, and configs that read it."""
  root = write_root(tmp_path / 'root')
  return SimpleNamespace(
    root=root,
    sequence=SEQUENCE,
    cube_xml=cube_xml,
    boxes_xml=boxes_xml,
    primitives_path=root / 'data_3d_bboxes' / 'train' / f'{SEQUENCE}.xml',
    data=DataConfig(root=str(root)),
    scene=SceneConfig(),
  )


# OpenGL axes of a camera that looks along +x of a world with z up.
FORWARD = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 1]], float)


class OwnDataset:
  """A transforms.json of 16 x 12 images, one object per name, 1 m apart along x."""

  def __init__(self, root: pathlib.Path):
    self.root = root
    self.config = configs.get_config('tiny')
    self.config.data.root = str(root)
    self.config.data.primitives, self.config.scene.unannotated_space = 'none', 'void'
    self.common = {'w': 16, 'h': 12, 'fl_x': 10, 'fl_y': 11, 'cx': 8, 'cy': 6}
    self.frames: list[dict] = []

  def add(self, *names, **keys):
    """Add images."""
    for name in names:
      image_io.write_rgb(self.root / name, np.zeros((12, 16, 3)))
      matrix = FORWARD.copy()
      matrix[0, 3] = len(self.frames)
      self.frames.append({'file_path': name, 'transform_matrix': matrix.tolist(), **keys})
    return self

  def open(self, **common):
    """Write transforms.json with some more common keys and open the dataset."""
    self.root.mkdir(exist_ok=True)
    content = {**self.common, **common, 'frames': self.frames}
    (self.root / transforms.NAME).write_text(json.dumps(content))
    return open_dataset(self.config.data)

  def error(self, **common) -> str:
    """Return the error line of opening the dataset."""
    with pytest.raises(InputError) as error:
      self.open(**common)
    assert str(self.root) in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


@pytest.fixture
def own(tmp_path):
  return OwnDataset(tmp_path / 'own')


@pytest.fixture(scope='session')
def result_or_input_error():
  """Call a reader; an InputError must have one line of bounded length."""

  def call(read, *args):
    try:
      return read(*args)
    except InputError as error:
      assert '\n' not in str(error) and len(str(error)) < 1500
      return None

  return call


@pytest.fixture(scope='session')
def write():
  """Write a text or bytes to a path; return the path."""

  def call(path, content):
    if isinstance(content, str):
      content = content.encode('utf-8', 'surrogatepass')
    path.write_bytes(content)
    return path

  return call


@pytest.fixture(scope='session')
def chunk():
  """Return a chunk of a PNG with a valid checksum."""

  def call(kind, content):
    body = kind + content
    return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))

  return call
