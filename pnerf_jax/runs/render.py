"""Renders the recorded views of a run into a folder of PNGs (labelling/export.py)."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pnerf_jax.data import kitti360
from pnerf_jax.distributed import processes
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.config_file import to_json
from pnerf_jax.runs.progress import progress_bar
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run

_LOG = logging.getLogger(__name__)


def render(
  workdir: Path,
  out: Path,
  *,
  cameras: Sequence[str] = (),
  frames: str = '',
  size: str = 'full',
  step: int | None = None,
  overwrite: bool = False,
  overrides: Mapping[str, Any] | None = None,
) -> int:
  """Render recorded views; several processes share them.

  Args:
    workdir: RUN.
    out: DIR.
    cameras: names; empty = all of the run.
    frames: 'FIRST:END'; empty = all.
    size: 'full' or 'train'.
    step: of the checkpoint; None = the newest.
    overwrite: replace finished files, also those of another origin.
    overrides: other values of free config fields; see config_file.load_config.

  Returns:
    Number of rendered views; finished ones are skipped.

  Raises:
    InputError: bad options, no run, unreadable input, or DIR holds views of another origin.
  """
  out, frame_range = Path(out), _parse_frame_range(frames)
  export.earlier_views(out, overwrite)  # fail before anything is loaded
  trained = load_trained_run(Path(workdir), step, overrides=overrides)
  views = _select_views(trained, cameras, frame_range, size)
  origin = {'step': trained.step, 'size': size, 'weights': _digest(trained)}
  with processes.raise_together():
    if processes.is_first():
      export.claim_folder(out, origin, views, overwrite)
  own = processes.range_of(len(views))
  counts = _render_views(trained, views[own.start : own.stop], out, overwrite)
  num_rendered, num_truncated = (int(n) for n in processes.total(np.array(counts, np.int32)))
  if processes.is_first():
    export.add_views(out, origin, views, trained.run.scene.window.center)
  if num_truncated:
    _LOG.info(
      'intervals truncated by config.scene.max_intervals_per_ray: %d; the confidence of their rays'
      ' is halved',
      num_truncated,
    )
  _LOG.info('%d views rendered into %s', num_rendered, out)
  return num_rendered


def _select_views(
  trained: TrainedRun, cameras: Sequence[str], frames: range, size: str
) -> list[export.View]:
  """Return the recorded views of the given cameras (empty = all) and frames."""
  window = trained.run.scene.window
  unknown = sorted(set(cameras) - set(window.cameras))
  if unknown:
    raise InputError(
      f'--cameras: {unknown} are not among the cameras of the run '
      f'{window.cameras}. Choose among them.'
    )
  views = []
  for image, (camera, frame) in enumerate(zip(window.view_camera, window.view_frame)):
    name = window.cameras[int(camera)]
    if (not cameras or name in cameras) and int(frame) in frames:
      views.append((name, dataset_camera(trained.run.scene, image, full=size == 'full')))
  if not views:
    raise InputError(
      f'--frames={frames.start}:{frames.stop}: no view of the run is in this range. Use a range'
      f' within {window.frames[0]}:{window.frames[-1] + 1}.'
    )
  return views


def _render_views(
  trained: TrainedRun, views: list[export.View], out: Path, overwrite: bool
) -> tuple[int, int]:
  """Render unfinished views; return the numbers of rendered views and of truncated intervals."""
  num_rendered = num_truncated = 0
  # A view is written while the next one renders; no third one is started, to bound the memory.
  with futures.ThreadPoolExecutor(1) as writer:
    writing = None
    for view in progress_bar(views, 'render', 'image', disable=not processes.is_first()):
      paths = export.image_paths(out, view)
      if overwrite or not _is_rendered(paths, (view[1].width, view[1].height)):
        image = trained.renderer(trained.params, view[1])
        if writing is not None:
          writing.result()
        writing = writer.submit(export.write_image, paths, image)
        num_rendered, num_truncated = num_rendered + 1, num_truncated + image.num_truncated
    if writing is not None:
      writing.result()
  return num_rendered, num_truncated


def _is_rendered(paths: dict[str, Path], size: tuple[int, int]) -> bool:
  """Return whether the PNGs of a view are there and undamaged; a damaged one is logged."""
  if not all(path.exists() for path in paths.values()):
    return False
  try:
    export.check_images(paths, size)
  except InputError as e:
    _LOG.warning('rendering this view again: %s', e)
    return False
  return True


def _parse_frame_range(text: str) -> range:
  """Parse FIRST:END; '' selects all frames."""
  if not text:
    return range(kitti360.MAX_FRAME + 1)
  match = re.fullmatch('([0-9]{1,10}):([0-9]{1,10})', text)
  if not match or int(match[1]) >= int(match[2]):
    raise InputError(
      f'--frames={text}: not FIRST:END with FIRST < END. Write for example --frames=3353:3417.'
    )
  return range(int(match[1]), int(match[2]))


def _digest(trained: TrainedRun) -> str:
  """Return a digest of everything that determines a rendered view: parameters and options."""
  config = to_json(trained.run.config)
  digest = hashlib.blake2b(digest_size=8)
  labelling = {name: config['eval'][name] for name in ('label_field', 'confidence_coefficients')}
  for group in (config['scene'], config['model'], config['loss'], labelling):
    digest.update(json.dumps(group, sort_keys=True).encode())
  for leaf in jax.tree.leaves(trained.params):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()
