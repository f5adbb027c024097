"""A sample of the files of each kind: what they hold, and what is odd about it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.window import Window
from pnerf_jax.evaluation.ground_truth import READERS

_NUM_FILES = 3  # read of every kind and camera
_MIN_FRACTION = 0.01  # of the pixels, that is worth a line
_MIN_CONFIDENCE = 0.2  # of the most certain pixel
_MAX_SATURATED = 0.2  # of the depths, that are the largest one
_MAX_OBJECT = 30.0  # metres of a vehicle or a person
_DEPTHS = (1.0, 100.0)  # metres, of a plausible median
TRAIN_IDS = 'only 0 to 18 occur, i.e. train ids'
_VOID_NAMES = [labels.BY_ID[i].name for i in range(1, 7)]  # which no 2D network predicts


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileKind:
  """A kind of file of an image.

  Attributes:
    title: the kind in English.
    unknown: values that hold no information.
    describe: returns the content of known values [N] as text; '' = nothing worth a line.
    faults: returns what is odd about known values [N], with the likely cause.
    may_be_constant: all pixels may have one value.
  """

  title: str
  unknown: tuple[int, ...]
  describe: Callable[[np.ndarray], str]
  faults: Callable[[np.ndarray], list[str]]
  may_be_constant: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
  """The pixels of some files of a kind and camera.

  Attributes:
    kind: of the files.
    frames: frames that have such a file.
    read: frames whose files were read.
    values: [N], their pixels.
    known: [N] bool, pixels that hold information.
  """

  kind: FileKind
  frames: list[int]
  read: list[int]
  values: np.ndarray
  known: np.ndarray

  def description(self) -> str:
    """Return the content in English; '' = nothing worth a line."""
    text = self.kind.describe(self.values[self.known]) if self.known.any() else ''
    return f'{text}; {self.known.mean():.0%} known' if text else ''

  def faults(self) -> list[str]:
    """Return what is odd about the content, with the likely cause."""
    if not self.read:
      return []
    if not self.known.any():
      values = ' or '.join(f'{value:g}' for value in np.unique(self.values))
      return [f'every pixel is {values}, i.e. unknown']
    faults = self.kind.faults(self.values[self.known])
    constant = self.values.min() == self.values.max()
    if constant and not faults and not self.kind.may_be_constant:
      faults = [f'every pixel has the value {self.values[0]:g}']
    return faults


def draw(dataset: DatasetIndex, name: str, camera: str) -> Sample:
  """Read some files of a kind of a camera, evenly distributed over the window.

  Args:
    dataset: the window's files.
    name: a key of KINDS.
    camera: e.g. 'image_00'.

  Raises:
    InputError: a file is damaged.
  """
  kind = KINDS[name]
  paths = {frame: dataset.path_of(name, frame, camera) for frame in dataset.frames}
  present = {f: path for f, path in paths.items() if path is not None and path.exists()}
  frames = list(present)
  indices = np.unique(np.linspace(0, len(frames) - 1, _NUM_FILES).round().astype(int))
  chosen = [frames[i] for i in indices] if frames else []
  pixels = [READERS[name](present[f], dataset.size(f, camera)).ravel() for f in chosen]
  values = np.concatenate([np.zeros(0), *pixels])
  return Sample(
    kind=kind, frames=frames, read=chosen, values=values, known=~np.isin(values, kind.unknown)
  )


def window_faults(window: Window) -> list[str]:
  """Return what is odd about single images of a window, and about its primitives."""
  layers = {
    'images': window.rgb,
    'pseudo-labels': window.pseudo_label,
    'depth': window.pseudo_depth,
  }
  faults = []
  for name, layer in layers.items():
    for index, camera in enumerate(window.cameras if layer is not None else ()):
      views = np.flatnonzero(window.view_camera == index).tolist()
      pixels = {int(window.view_frame[view]): window.crop_to_image(layer, view) for view in views}
      constant = [
        frame
        for frame, values in pixels.items()
        # Pseudo-labels and depth are 0 where there is no file, which is said elsewhere.
        if values is not None and not np.ptp(values) and (name == 'images' or values.any())
      ]
      if 0 < len(constant) < len(views):
        frames = format_ranges(constant)
        faults.append(f'{name}, {camera}, frames {frames}: every pixel has the same value')
  return faults + _object_faults([p for p in window.primitives if p.timestamp < 0])


def _object_faults(primitives: list[PrimitiveRecord]) -> list[str]:
  """Return the classes of static things without instances, or with instances too large."""
  corners: dict[tuple[int, int], list[np.ndarray]] = {}
  for primitive in primitives:
    if labels.BY_ID[primitive.semantic].category in ('vehicle', 'human'):
      key = (primitive.semantic, primitive.instance)
      corners.setdefault(key, []).append(primitive.vertices)
  faults = []
  for (semantic, instance), parts in corners.items():
    name = labels.BY_ID[semantic].name
    if not instance and len(parts) > 1:
      faults.append(f'{len(parts)} primitives of {name} have instance 0 and are no objects')
    elif instance and np.ptp(np.concatenate(parts), axis=0).max() > _MAX_OBJECT:
      faults.append(
        f'{len(parts)} primitives of {name} share instance {instance} and are one object, of more'
        f' than {_MAX_OBJECT:g} m'
      )
  return faults


def _class_text(ids: np.ndarray) -> str:
  values, counts = np.unique(ids, return_counts=True)
  order = np.argsort(-counts)[:4]
  top = [f'{labels.BY_ID[int(values[i])].name} {counts[i] / len(ids):.0%}' for i in order]
  return f'{len(values)} classes ({", ".join(top)}{", ..." if len(values) > 4 else ""})'


def _instance_text(values: np.ndarray) -> str:
  ids = np.unique(values[values >= 1000]).astype(int)
  return f'{np.count_nonzero(labels.IS_THING[ids // 1000] & (ids % 1000 > 0))} objects'


def _quantiles_text(unit: str, values: np.ndarray) -> str:
  low, middle, high = np.quantile(values, (0.01, 0.5, 0.99))
  return f'median {middle:.3g}{unit} ({low:.3g} to {high:.3g})'


def _class_faults(unusual: Sequence[int], ids: np.ndarray) -> list[str]:
  """Return what is odd about class ids [N]; unusual: ids that should be absent."""
  counts = np.bincount(ids.astype(int), minlength=256)
  if labels.are_train_ids(counts):
    return [f'{TRAIN_IDS}. Write ids: 7 = road, not 0; 26 = car, not 13']
  fraction = counts[list(unusual)].sum() / len(ids)
  if fraction < _MIN_FRACTION:
    return []
  names = ', '.join(_VOID_NAMES)
  return [f'{fraction:.0%} of the pixels have ids 1 to 6 ({names}), which networks do not predict']


def _instance_faults(values: np.ndarray) -> list[str]:
  fraction = np.mean(values < 1000)
  if fraction < _MIN_FRACTION:
    return []
  return [
    f'{fraction:.0%} of the pixels are below 1000, e.g. {values[values < 1000][0]:g}, and count as'
    ' void. Write id * 1000 + instanceId (26003 = car 3)'
  ]


def _confidence_faults(values: np.ndarray) -> list[str]:
  if (largest := values.max()) >= _MIN_CONFIDENCE:
    return []
  return [
    f'the largest confidence is {largest:.2g} (value {round(largest * 65535)}), so the label losses'
    ' are weak. Write confidence * 65535'
  ]


def _depth_faults(values: np.ndarray) -> list[str]:
  median, largest = np.median(values), values.max()
  saturated = np.mean(values == largest)
  if _MAX_SATURATED < saturated < 1:
    return [
      f'{saturated:.0%} of the depths are {largest:.4g} m, the largest. Write 0 for unknown depth'
    ]
  if _DEPTHS[0] <= median <= _DEPTHS[1]:
    return []
  return [
    f'the median depth is {median:.3g} m. Check the unit: metres * 256, or'
    ' depth_unit_scale_factor of transforms.json'
  ]


_CLASSES: dict[str, Any] = {
  'unknown': labels.UNKNOWN,
  'describe': _class_text,
}
_CONFIDENCE: dict[str, Any] = {
  'unknown': (),
  'describe': functools.partial(_quantiles_text, ''),
  'faults': _confidence_faults,
  'may_be_constant': True,
}
_DEPTH: dict[str, Any] = {
  'unknown': (0,),
  'describe': functools.partial(_quantiles_text, ' m'),
  'faults': _depth_faults,
}
KINDS = {
  'rgb': FileKind(
    title='images',
    unknown=(),
    describe=lambda _: '',
    faults=lambda _: [],
  ),
  'pseudo_label': FileKind(
    title='pseudo-labels', faults=functools.partial(_class_faults, range(1, 7)), **_CLASSES
  ),
  'pseudo_confidence': FileKind(title='pseudo-label confidence', **_CONFIDENCE),
  'pseudo_depth': FileKind(title='stereo depth', **_DEPTH),
  'lidar_depth': FileKind(title='accumulated LiDAR depth', **_DEPTH),
  'true_semantic': FileKind(
    title='semantic ground truth', faults=functools.partial(_class_faults, ()), **_CLASSES
  ),
  'true_instance': FileKind(
    title='instance ground truth',
    unknown=(0,),
    describe=_instance_text,
    faults=_instance_faults,
    may_be_constant=True,
  ),
  'true_confidence': FileKind(title='confidence of the ground truth', **_CONFIDENCE),
}
