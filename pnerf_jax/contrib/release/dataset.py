"""From the archive of the authors of Panoptic NeRF to a dataset in KITTI-360's layout.

What every file becomes: `authors`. A file that is in its place and can be read is kept, so an
interrupted conversion goes on where it stopped; a file appears under its name only when whole.
"""

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path

import tqdm

from pnerf_jax.contrib.release import archive as archives
from pnerf_jax.contrib.release import layout
from pnerf_jax.data import image_io
from pnerf_jax.data.dataset import ranges
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)

_SOURCE = "It belongs to KITTI-360: copy it from there into the archive's folder."
_ROOT_MARK = 'calibration/perspective.txt'


@dataclasses.dataclass(frozen=True)
class ConversionJob:
  """One file. name: in the archive.   target: here.   place: what the name tells."""

  kind: layout.ConversionRule
  name: str
  target: Path
  place: layout.FileId


def convert(source: Path, out: Path) -> dict[str, int]:
  """Converts the archive.

  Args:
    source: a folder, zip file or tar file.
    out: the dataset's root to be; its photos are links to the archive's where that is a folder on
      the same disk.

  Returns:
    {'written': files, 'kept': files that were there already}.

  Raises:
    InputError: what is missing or damaged in the archive, before or when its turn comes.
  """
  source, out = Path(source), Path(out)
  there = next(path for path in (out, *out.absolute().parents) if path.exists())
  if not there.is_dir():
    raise InputError(f'--out={out}: {there} is a file. Name a folder.')
  made = not out.exists()
  out.mkdir(parents=True, exist_ok=True)
  try:
    with archives.open_archive(source, out) as archive:
      _LOG.info('%s: %d files', source, len(archive.names))
      tasks = _plan(archive, out)
      return _convert(archive, tasks, out)
  finally:
    if made and not any(out.iterdir()):
      out.rmdir()


def _convert(archive: archives.Archive, tasks: list[ConversionJob], out: Path) -> dict[str, int]:
  basics = [task for task in tasks if task.kind in layout.BASICS]
  photos = [task for task in tasks if task.kind is layout.PHOTO]
  with archive.file(photos[0].name, layout.PHOTO.most) as photo:
    size = image_io.read_size(photo)
  count = {'written': 0, 'kept': 0}
  ordered = basics + [task for task in tasks if task.kind not in layout.BASICS]
  for task in tqdm.tqdm(ordered, 'released', unit='file', mininterval=1.0):
    if _is_whole(task, size):
      count['kept'] += 1
      continue
    with archive.file(task.name, task.kind.most) as path:
      task.kind.convert(path, task.target, size)
    count['written'] += 1
  for line in _summary(tasks):
    _LOG.info('%s', line)
  _LOG.info(
    '%s: %d files written, %d kept; photos of %d x %d', out, count['written'], count['kept'], *size
  )
  return count


def _is_whole(task: ConversionJob, size: tuple[int, int]) -> bool:
  if not task.target.exists():
    return False
  try:
    task.kind.read(task.target, size)
  except InputError as e:
    _LOG.warning('%s; written again', e)
    return False
  return True


def _plan(archive: archives.Archive, out: Path) -> list[ConversionJob]:
  """What becomes of every file; InputError where something is missing without which none trains."""
  marks = [name for name in archive.names if name.endswith(_ROOT_MARK)]
  prefixes = [name[: -len(_ROOT_MARK)] for name in marks]
  prefixes = [prefix for prefix in prefixes if not prefix or prefix.endswith('/')]
  if not prefixes:
    raise InputError(
      f'{archive.path}: holds no {_ROOT_MARK}. Name the folder, zip file or tar file'
      " of the authors' datasets/KITTI-360."
    )
  prefix = min(prefixes, key=len)
  found, unknown = [], []
  for name in archive.names:
    short = name[len(prefix) :]
    if name.startswith(prefix) and short.startswith(layout.NOT_NEEDED):
      continue
    match = _match(short) if name.startswith(prefix) else None
    (unknown if match is None else found).append((name, match))
  drives = {place.drive: place.sequence for _, (kind, place) in found if kind is layout.PHOTO}
  tasks = {}
  for name, (kind, place) in found:
    if place.drive is not None and place.drive not in drives:
      unknown.append((name, None))  # of a drive without photos
      continue
    place = dataclasses.replace(place, sequence=drives.get(place.drive))
    target = kind.target(out, place)
    tasks.setdefault(target, ConversionJob(kind, name, target, place))
  if unknown:
    _LOG.info(
      '%d files are not of the layout, or of no drive with photos, and stay behind: %s',
      len(unknown),
      ', '.join(name for name, _ in unknown[:3]),
    )
  _check_complete(archive, prefix, drives.values(), tasks)
  return list(tasks.values())


def _match(name: str) -> tuple[layout.ConversionRule, layout.FileId] | None:
  for kind in (*layout.BASICS, *layout.LAYERS):
    place = kind.match(name)
    if place is not None:
      return kind, place
  return None


def _check_complete(
  archive: archives.Archive, prefix: str, sequences: Iterable[str], tasks: dict[Path, ConversionJob]
) -> None:
  """InputError where what every window needs is missing."""
  sequences = sorted(sequences)
  if not sequences:
    raise InputError(
      f'{archive.path}: {prefix}<drive>/image_00/data_rect/<frame>.png: no such file'
      ' of any drive. Copy the photos of the archive, too.'
    )
  names = {task.name[len(prefix) :] for task in tasks.values()}
  needed = [
    (f'calibration/{name}',)
    for name in ('perspective.txt', 'calib_cam_to_pose.txt', 'calib_cam_to_velo.txt')
  ]
  for sequence in sequences:
    needed += [
      tuple(f'data_poses/{sequence}/{name}' for name in ('poses.txt', 'cam0_to_world.txt')),
      tuple(f'data_3d_bboxes/{split}/{sequence}.xml' for split in ('train', 'train_full')),
    ]
  for choices in needed:
    if not names.intersection(choices):
      raise InputError(f'{archive.path}: {prefix}{" or ".join(choices)}: no such file. {_SOURCE}')


def _summary(tasks: list[ConversionJob]) -> list[str]:
  """What there is of every drive, and which photos lack something."""
  lines = []
  for sequence in sorted({task.place.sequence for task in tasks if task.kind is layout.PHOTO}):
    frames = {}
    for task in tasks:
      if task.place.sequence == sequence and task.place.frame is not None:
        key = (task.kind.title, task.place.camera)
        frames.setdefault(key, set()).add(task.place.frame)
    photos = (
      frames[layout.PHOTO.title, 'image_00']
      if (layout.PHOTO.title, 'image_00') in frames
      else set()
    )
    lines += [
      f'{sequence}: {title}, {camera}: {ranges(there)}' for (title, camera), there in frames.items()
    ]
    for key in (
      (layout.PHOTO.title, 'image_01'),
      ('pseudo labels', 'image_00'),
      ('pseudo depth', 'image_00'),
    ):
      lacking = photos - frames.get(key, set())
      if lacking:
        lines.append(f'warning: {sequence}: no {" of ".join(key)} for frames {ranges(lacking)}')
  return lines
