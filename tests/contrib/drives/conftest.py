"""Windows of a drive whose labels are known."""

import json
import pathlib

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.drives import manifest, merging
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.runs.config_file import SCHEMA, to_json


class Drive:
  """Two windows of four frames, 0-3 and 2-5, with equal labels unless a test changes them."""

  CAR, ROAD = 26, 7
  SHAPE = (10, 20)

  def __init__(self, path, sequence='2013_05_28_drive_0000_sync'):
    self.sequence = sequence
    self.path, self.runs, self.out = path, path / 'runs', path / 'labels'
    self.manifest = path / 'windows.txt'
    self.windows = (
      WindowSpec(0, sequence, 0, 4, 4, 9, 0),
      WindowSpec(1, sequence, 2, 6, 4, 9, 0),
    )
    self.flags = (
      f'--config={pathlib.Path(configs.__file__).absolute()}:tiny',
      f'--config.data.root={path / "data"}',
    )
    self.write_manifest(self.windows)
    for window in self.windows:
      self.write_config(window.index, 'train', 'steps', 4)
      for frame in range(window.start, window.end):
        for camera in ('image_00', 'image_01'):
          self.write_labels(window.index, camera, frame)
      self.write_views(window.index)
      self.folder(window.index).write_done([])

  def write_manifest(self, windows, *flags):
    self.manifest.write_text(manifest.to_text(WindowManifest((*self.flags, *flags), windows), []))

  def folder(self, index):
    return WindowFolder(self.runs / self.windows[index].name)

  def write_config(self, index, group, field, value):
    config = configs.get_config('tiny')
    window = self.windows[index]
    config.data.update(root='moved since', sequence=self.sequence, start=window.start, frames=4)
    content = {'schema': SCHEMA, **to_json(parse_config(config))}
    content[group][field] = value
    self.folder(index).run.mkdir(parents=True, exist_ok=True)
    (self.folder(index).run / 'config.json').write_text(json.dumps(content))

  def write_labels(self, index, camera, frame, confidence=0.5, cars=3, instance=1, shape=SHAPE):
    """Write labels of one image: road, and `cars` rows of one car."""
    semantic = np.full(shape, self.ROAD, np.uint8)
    semantic[:cars] = self.CAR
    path = lambda kind: self.folder(index).labels / camera / kind / f'{frame:010d}.png'
    image_io.write_label(path('semantic'), semantic)
    image_io.write_rgb(path('semantic_rgb'), labels.COLORS[semantic])
    image_io.write_instance(path('instance'), semantic * 1000.0 + (semantic == self.CAR) * instance)
    image_io.write_confidence(path('confidence'), np.full(shape, confidence))
    image_io.write_rgb(path('rgb'), np.full((*shape, 3), 90, np.uint8))
    image_io.write_depth(path('depth'), np.full(shape, 9.0))

  def write_views(self, index, shape=SHAPE):
    """Write views.json: the left camera drives east, one metre a frame."""
    pose = lambda frame: [[1, 0, 0, 100.0 + frame], [0, 1, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]]
    window = self.windows[index]
    views = [
      {'camera': camera, 'frame': frame, 'height': shape[0], 'width': shape[1]}
      | {'world_from_cam': pose(frame)}
      for frame in range(window.start, window.end)
      for camera in ('image_00', 'image_01')
    ]
    (self.folder(index).labels / 'views.json').write_text(json.dumps({'views': views}))

  def merge(self, **options):
    return merging.merge(self.manifest, self.runs, self.out, **options)

  def read(self, reader, kind, frame, camera='image_00'):
    folder = kitti360.truth_folder(self.out, self.sequence, camera, 'semantic').with_name(kind)
    return reader(folder / f'{frame:010d}.png')


@pytest.fixture
def make_drive():
  """Return the constructor of a drive in a folder."""
  return Drive


@pytest.fixture
def drive(tmp_path):
  return Drive(tmp_path)
