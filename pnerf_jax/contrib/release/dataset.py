"""Conversion of the released archive to a dataset in KITTI-360's layout.

The rules are in layout.py. Existing files that can be read are kept, so an interrupted conversion
resumes; every file is written atomically.
"""

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path

from pnerf_jax.contrib.preparation import outputs
from pnerf_jax.contrib.release import layout
from pnerf_jax.contrib.release.archive import Archive, open_archive
from pnerf_jax.data import files, image_io
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError
from pnerf_jax.runs.progress import progress_bar

_LOG = logging.getLogger(__name__)

_HINT = "It belongs to KITTI-360: copy it from there into the archive's folder."
_ROOT_FILE = 'calibration/perspective.txt'  # marks the root of the dataset inside the archive


@dataclasses.dataclass(frozen=True)
class ConversionJob:
  """The conversion of one file.

  Attributes:
    rule: how it is converted.
    name: name in the archive.
    target: path of the converted file.
    file: parts of the name.
  """

  rule: layout.ConversionRule
  name: str
  target: Path
  file: layout.FileId


def convert(source: Path, out: Path) -> dict[str, int]:
  """Convert the archive.

  Args:
    source: a folder, zip file or tar file.
    out: root of the dataset to write; its images are hard links to those of a source folder on the
      same disk.

  Returns:
    {'written': files, 'kept': files}.

  Raises:
    InputError: a file of the archive is missing or damaged.
  """
  source, out = Path(source), Path(out)
  files.check_is_folder(out, '--out')
  is_new = not out.exists()
  out.mkdir(parents=True, exist_ok=True)
  try:
    with open_archive(source, out) as archive:
      _LOG.info('%s: %d files', source, len(archive.sizes))
      return _convert(archive, _plan(archive, out), out)
  finally:
    if is_new and not any(out.iterdir()):
      out.rmdir()


def _convert(archive: Archive, jobs: list[ConversionJob], out: Path) -> dict[str, int]:
  """Run the jobs, those of the calibration, poses and primitives first."""
  first_image = next(job for job in jobs if job.rule is layout.IMAGES)
  with archive.file(first_image.name, layout.IMAGES.max_bytes) as image:
    size = image_io.read_size(image)
  count = {'written': 0, 'kept': 0}
  jobs = sorted(jobs, key=lambda job: job.rule not in layout.BASICS)
  for job in progress_bar(jobs, 'import', 'file'):
    if outputs.is_complete(job.target, job.rule.read, size):
      count['kept'] += 1
      continue
    with archive.file(job.name, job.rule.max_bytes) as path:
      job.rule.convert(path, job.target, size)
    count['written'] += 1
  for line in _summary(jobs):
    _LOG.info('%s', line)
  _LOG.info(
    '%s: %d files written, %d kept; images of %d x %d', out, count['written'], count['kept'], *size
  )
  return count


def _plan(archive: Archive, out: Path) -> list[ConversionJob]:
  """Return the jobs of all files. Raises InputError if required files are missing."""
  prefix = _find_root(archive)
  matches, ignored = [], []
  for name in archive.sizes:
    inside = name.removeprefix(prefix)
    if name.startswith(prefix) and inside.startswith(layout.IGNORED):
      continue
    match = _match(inside) if name.startswith(prefix) else None
    if match is None:
      ignored.append(name)
    else:
      matches.append((name, *match))
  sequences = {file.drive: file.sequence for _, rule, file in matches if rule is layout.IMAGES}
  jobs: dict[Path, ConversionJob] = {}
  for name, rule, file in matches:
    if file.drive and file.drive not in sequences:
      ignored.append(name)
      continue
    file = dataclasses.replace(file, sequence=sequences.get(file.drive, ''))
    target = rule.target(out, file)
    jobs.setdefault(target, ConversionJob(rule, name, target, file))
  if ignored:
    _LOG.info(
      'ignoring %d files outside the layout or of sequences without images: %s',
      len(ignored),
      ', '.join(ignored[:3]),
    )
  names = {job.name.removeprefix(prefix) for job in jobs.values()}
  _check_complete(f'{archive.path}: {prefix}', names, sequences.values())
  return list(jobs.values())


def _find_root(archive: Archive) -> str:
  """Return the prefix of the names of the dataset inside the archive."""
  prefixes = [name.removesuffix(_ROOT_FILE) for name in archive.sizes if name.endswith(_ROOT_FILE)]
  prefixes = [prefix for prefix in prefixes if not prefix or prefix.endswith('/')]
  if not prefixes:
    raise InputError(
      f'{archive.path}: contains no {_ROOT_FILE}. Use the folder, zip file or tar file of the'
      " authors' datasets/KITTI-360."
    )
  return min(prefixes, key=len)


def _match(name: str) -> tuple[layout.ConversionRule, layout.FileId] | None:
  """Return the rule of a file and the parts of its name; None for unknown files."""
  for rule in (*layout.BASICS, *layout.LAYERS):
    file = rule.match(name)
    if file is not None:
      return rule, file
  return None


def _check_complete(root: str, names: set[str], sequences: Iterable[str]) -> None:
  """Raise InputError if files that every window needs are missing.

  Args:
    root: root of the dataset in the archive, for the message.
    names: names of the files to convert, below the root.
    sequences: sequences with images.
  """
  sequences = sorted(sequences)
  if not sequences:
    raise InputError(
      f'{root}<sequence>/image_00/data_rect/<frame>.png: no such file of any sequence. Copy the'
      ' images of the archive as well.'
    )
  required: list[tuple[str, ...]] = [
    (f'calibration/{name}',)
    for name in ('perspective.txt', 'calib_cam_to_pose.txt', 'calib_cam_to_velo.txt')
  ]
  for sequence in sequences:
    required += [
      tuple(f'data_poses/{sequence}/{name}' for name in ('poses.txt', 'cam0_to_world.txt')),
      tuple(f'data_3d_bboxes/{split}/{sequence}.xml' for split in ('train', 'train_full')),
    ]
  for alternatives in required:
    if not names.intersection(alternatives):
      raise InputError(f'{root}{" or ".join(alternatives)}: no such file. {_HINT}')


def _summary(jobs: list[ConversionJob]) -> list[str]:
  """Return lines with the frames per kind of file, and the images that lack supervision."""
  lines = []
  for sequence in sorted({job.file.sequence for job in jobs if job.rule is layout.IMAGES}):
    frames: dict[tuple[str, str], set[int]] = {}
    for job in jobs:
      if job.file.sequence == sequence and job.file.frame is not None:
        frames.setdefault((job.rule.title, job.file.camera), set()).add(job.file.frame)
    lines += [
      f'{sequence}: {title}, {camera}: {format_ranges(existing)}'
      for (title, camera), existing in frames.items()
    ]
    images = frames.get((layout.IMAGES.title, 'image_00'), set())
    for title, camera in (
      (layout.IMAGES.title, 'image_01'),
      ('pseudo-labels', 'image_00'),
      ('stereo depth', 'image_00'),
    ):
      missing = images - frames.get((title, camera), set())
      if missing:
        lines.append(
          f'warning: {sequence}: no {title} of {camera} for frames {format_ranges(missing)}'
        )
  return lines
