"""TFDS dataset of a window: views with their images, and the 3D primitives.

`kitti360_window/views` has one example per view, `kitti360_window/primitives` one per annotated
primitive. Images are stored as the encoded bytes of their files (PNG, or JPEG for rgb), so no
TensorFlow is needed. Arrays are float64 where they are read from the source in float64.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pnerf_jax.data import files, image_io, kitti360
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.files import ReadableFile
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.tfds import reader

_MAX_FILE = 2**28  # bytes, that of image_io and of kitti360


def _float64(*shape: int | None) -> tfds.features.Tensor:
  # Without an encoding, tf.train.Example would round to float32.
  return tfds.features.Tensor(shape=shape, dtype=np.float64, encoding='zlib')


_FEATURES = {
  reader.VIEWS: {
    'frame': np.int64,
    'camera': tfds.features.Text(),
    'size': tfds.features.Tensor(shape=(2,), dtype=np.int64),  # width, height in pixels
    'intrinsics': _float64(4),  # fx, fy, cx, cy in pixels
    'world_from_cam': _float64(4, 4),
    'world_from_pose': _float64(4, 4),  # of the vehicle
    # File contents, empty where the view has none. lidar: float32 [N, 4], of the first camera only.
    **{kind: tfds.features.Text() for kind in reader.ENCODED_KINDS},
  },
  reader.PRIMITIVES: {
    'split': tfds.features.Text(),  # config.data.primitives
    'label': tfds.features.Text(),
    **dict.fromkeys(reader.INTEGER_FIELDS, np.int64),
    'vertices': _float64(None, 3),  # metres, world
    'faces': tfds.features.Tensor(shape=(None, 3), dtype=np.int32, encoding='zlib'),
  },
}


class _DatasetInfo(tfds.core.DatasetInfo):
  def initialize_from_bucket(self) -> None:
    """Do nothing: there is nothing on TFDS's server, and it leaves a temporary folder."""


class Kitti360Window(tfds.core.GeneratorBasedBuilder):
  """A window of KITTI-360, or of any dataset that a transforms.json describes."""

  name = reader.NAME
  VERSION = tfds.core.Version(reader.VERSION)
  RELEASE_NOTES = {reader.VERSION: 'One example per view and per primitive.'}
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in _FEATURES]

  def __init__(
    self,
    *,
    dataset: DatasetIndex,
    primitives: dict[str, list[PrimitiveRecord]],
    metadata: dict[str, Any],
    **kwargs: Any,
  ):
    """Binds the source of the examples.

    Args:
      dataset: the window.
      primitives: by config.data.primitives.
      metadata: JSON values, stored in metadata.json.
      **kwargs: of tfds.core.GeneratorBasedBuilder.
    """
    self._dataset, self._primitives, self._metadata = dataset, primitives, metadata
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return _DatasetInfo(
      builder=self,
      description=self.__doc__,
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(_FEATURES[self.builder_config.name]),
      metadata=tfds.core.MetadataDict(self._metadata),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    del dl_manager
    examples = self._views() if self.builder_config.name == reader.VIEWS else self._records()
    return {reader.SPLIT: enumerate(examples)}

  def _generate_examples(self) -> None:
    raise NotImplementedError  # abstract in TFDS; _split_generators does not need it

  def _views(self) -> Iterator[dict[str, Any]]:
    dataset = self._dataset
    for i, (frame, camera) in enumerate(dataset.views()):
      yield {
        'frame': frame,
        'camera': camera,
        'size': dataset.sizes[i],
        'intrinsics': dataset.intrinsics[i],
        'world_from_cam': dataset.world_from_cam[i],
        'world_from_pose': dataset.world_from_pose[i // len(dataset.cameras)],
        **{
          kind: _read(path, kind) if path else b''
          for kind, path in source_files(dataset, frame, camera).items()
        },
      }

  def _records(self) -> Iterator[dict[str, Any]]:
    for split, records in self._primitives.items():
      for record in records:
        yield {'split': split, **vars(record)}


def _read(path: ReadableFile, kind: str) -> bytes:
  """Read a file of a view. A link in the dataset may lead to any file: its content is checked."""
  content = files.read_bytes(path, _MAX_FILE, 'It cannot be packed.')
  read = kitti360.read_velodyne if kind == 'lidar' else image_io.read_size
  read(reader.EncodedFile(str(path), len(content), lambda: content))
  return content


def source_files(dataset: DatasetIndex, frame: int, camera: str) -> dict[str, ReadableFile | None]:
  """Return the existing file of each of reader.ENCODED_KINDS of a view, else None."""
  paths = {kind: dataset.path_of(kind, frame, camera) for kind in reader.ENCODED_KINDS[:-1]}
  paths['lidar'] = dataset.scan_path(frame) if camera == dataset.cameras[0] else None
  return {kind: path if path and path.exists() else None for kind, path in paths.items()}
