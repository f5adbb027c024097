"""Exports labels, depth and colour of every view of a run as PNGs.

    python -m pnerf_jax.render --workdir=RUN --out=DIR [--cameras=image_00,image_01]
        [--frames=3353:3417] [--size=full|train] [--trajectory=recorded] [--step=N] [--overwrite]

Finished files are kept and skipped on a rerun. DIR/transforms.json tells of which weights they are;
others, or views of another size, do not come into the same DIR. Several processes (flags as of
train) render a share of the views each, on their own devices.
"""

import hashlib
import json
import logging
import re
from concurrent import futures
from pathlib import Path

import jax
import numpy as np
import tqdm
from absl import flags

from pnerf_jax import cli
from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.data.files import check_is_folder, folder_lock, read_bytes, write_bytes
from pnerf_jax.distributed import initialization, processes
from pnerf_jax.errors import InputError
from pnerf_jax.labelling.images import Camera, Image, dataset_camera
from pnerf_jax.runs.config_file import to_json
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run

_LOG = logging.getLogger(__name__)

_MAX_TRANSFORMS = 2**30  # bytes
KINDS = ('semantic', 'semantic_rgb', 'instance', 'confidence', 'depth', 'rgb')


def render(
  workdir: Path,
  out: Path,
  cameras: list[str] = (),
  frames: str = '',
  size: str = 'full',
  step: int | None = None,
  overwrite: bool = False,
) -> int:
  """Renders recorded views into DIR.

  Args:
    workdir: RUN.
    out: DIR.
    cameras: names; empty = all of the run.
    frames: 'FIRST:END'; empty = all.
    size: 'full' or 'train'.
    step: checkpoint; None = the newest.
    overwrite: replace finished files, also those of other weights.

  Returns:
    How many views were rendered (the others were finished already).

  Raises:
    InputError: bad options, no run, unreadable input, or DIR holds views of other weights.
  """
  out, chosen = Path(out), _frame_range(frames)
  _read_table(out)  # a damaged one is told before anything is read
  trained = load_trained_run(Path(workdir), step)
  scene, window = trained.run.scene, trained.run.scene.window
  unknown = sorted(set(cameras) - set(window.cameras))
  if unknown:
    raise InputError(
      f'--cameras: {unknown} are not among the cameras of the run '
      f'{window.cameras}. Choose among them.'
    )
  views = []
  for image in range(len(window.view_frame)):
    camera = window.cameras[int(window.view_camera[image])]
    if (not cameras or camera in cameras) and window.view_frame[image] in chosen:
      views.append((camera, dataset_camera(scene, image, full=size == 'full')))
  if not views:
    raise InputError(
      f'--frames={frames}: no view of the run lies in this range (it has '
      f'{window.frames[0]}:{window.frames[-1] + 1}). Widen it.'
    )
  source = {'step': trained.step, 'size': size, 'weights': _digest(trained)}
  with processes.raise_together():
    if processes.is_first():
      _claim(out, source, views, overwrite)
  mine = processes.process_shard().range_of(len(views))
  counts = _render_views(trained, views[mine.start : mine.stop], out, overwrite)
  done, dropped = (int(n) for n in processes.total(np.array(counts, np.int32)))
  if processes.is_first():
    with folder_lock(out):  # another call may render other views into DIR meanwhile
      known = _read_table(out)['views']
      _write_table(out, source, {**known, **_described(views, trained.run.scene.window.center)})
  if dropped:
    _LOG.info(
      "%d intervals found no room in the rays' tables (config.scene.max_intervals_per_ray); the rays "
      'have half their confidence',
      dropped,
    )
  return done


def _render_views(
  trained: TrainedRun, views: list[tuple[str, Camera]], out: Path, overwrite: bool
) -> tuple[int, int]:
  """Renders views that are not finished; returns how many, and how many intervals were dropped."""
  done = dropped = 0
  # A view is written while the next one renders; no third one waits in memory.
  with futures.ThreadPoolExecutor(1) as writer:
    writing = None
    for camera, view in tqdm.tqdm(
      views, desc='render', unit='image', disable=not processes.is_first()
    ):
      paths = {
        kind: out / camera / kind / f'{kitti360.frame_name(view.frame)}.png' for kind in KINDS
      }
      if overwrite or not all(path.exists() for path in paths.values()):
        image = trained.renderer(trained.params, view)
        if writing is not None:
          writing.result()
        writing = writer.submit(write_image, paths, image)
        done, dropped = done + 1, dropped + image.num_truncated
    if writing is not None:
      writing.result()
  return done, dropped


def _frame_range(text: str) -> range:
  """FIRST:END as numbers; '' is every frame."""
  if not text:
    return range(kitti360.MAX_FRAME + 1)
  found = re.fullmatch('([0-9]{1,10}):([0-9]{1,10})', text)
  if not found or int(found[1]) >= int(found[2]):
    raise InputError(
      f'--frames={text}: not FIRST:END with FIRST < END. Write for example --frames=3353:3417.'
    )
  return range(int(found[1]), int(found[2]))


def write_image(paths: dict[str, Path], image: Image) -> None:
  """Writes one view's PNGs (formats of KITTI-360), each under its name only when whole."""
  image_io.write_rgb(paths['rgb'], image.rgb)
  image_io.write_depth(paths['depth'], image.depth)
  image_io.write_confidence(paths['confidence'], image.confidence)
  image_io.write_instance(paths['instance'], image.instance)
  image_io.write_rgb(paths['semantic_rgb'], labels.COLORS[image.semantic])
  image_io.write_label(paths['semantic'], image.semantic)


def _digest(trained: TrainedRun) -> str:
  """A digest of all that decides what a view looks like: parameters, and how they are rendered."""
  config = to_json(trained.run.config)
  digest = hashlib.blake2b(digest_size=8)
  for group in ('scene', 'model', 'loss', 'eval'):
    digest.update(json.dumps(config[group], sort_keys=True).encode())
  for leaf in jax.tree.leaves(trained.params):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def _claim(out: Path, source: dict, views: list[tuple[str, Camera]], overwrite: bool) -> None:
  """Makes DIR one of views from `source`: of one step of one run, in one size.

  Raises:
    InputError: it holds others, which `overwrite` does not allow to replace or `views` lack.
  """
  out.mkdir(parents=True, exist_ok=True)
  with folder_lock(out):
    table = _read_table(out) or {}
    there = {name: table.get(name, 'unknown') for name in source}
    old = {path for kind in KINDS for path in out.glob(f'*/{kind}/*.png')}
    if old and there != source:
      remedy = 'Name another --out, or pass --overwrite for all views that are there.'
      which = lambda found: ', '.join(f'{name} {value}' for name, value in found.items())
      names = {(camera, f'{kitti360.frame_name(view.frame)}.png') for camera, view in views}
      if not overwrite or any((path.parts[-3], path.name) not in names for path in old):
        raise InputError(
          f'--out={out}: holds views of {which(there)}, not of {which(source)}. {remedy}'
        )
      for path in old:  # before the table says that what is there is of this source
        path.unlink()
    if there != source:
      _write_table(out, source, {})


def _read_table(out: Path) -> dict | None:
  """What DIR/transforms.json holds, its views by camera and frame; None where there is none."""
  path = out / 'transforms.json'
  check_is_folder(out, '--out')
  if not path.exists():
    return None
  remedy = 'Remove it, or choose another --out.'
  try:
    table = json.loads(read_bytes(path, _MAX_TRANSFORMS, remedy))
    views = {(str(view['camera']), int(view['frame'])): view for view in table['views']}
    return {**table, 'views': views}
  except (ValueError, KeyError, TypeError, RecursionError) as e:
    if isinstance(e, InputError):
      raise
    raise InputError(f'{path}: is damaged ({type(e).__name__}). {remedy}') from None


def _described(views: list[tuple[str, Camera]], center: np.ndarray) -> dict[tuple[str, int], dict]:
  """Intrinsics and world_from_cam of views, by camera and frame.

  Args:
    views: with their cameras.
    center: of the window in KITTI-360's world, which the poses are given in.
  """
  described = {}
  for camera, view in views:
    pose = view.world_from_cam.astype(float)
    pose[:3, 3] += center
    fx, fy, cx, cy = (float(x) for x in view.intrinsics)
    described[camera, view.frame] = {
      'camera': camera,
      'frame': view.frame,
      'width': view.width,
      'height': view.height,
      'fl_x': fx,
      'fl_y': fy,
      'cx': cx,
      'cy': cy,
      'world_from_cam': pose.tolist(),
    }
  return described


def _write_table(out: Path, source: dict, known: dict[tuple[str, int], dict]) -> None:
  """DIR/transforms.json: camera model, what the views were rendered from, and every known view."""
  text = json.dumps(
    {
      'camera_model': 'PINHOLE',
      'camera_axes': 'x right, y down, z forward',
      'pixel_centers': 'integer',
      **source,
      'views': [known[key] for key in sorted(known)],
    },
    indent=1,
  )
  write_bytes(out / 'transforms.json', text.encode())


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_string('out', None, 'DIR: where the images go.')
  flags.DEFINE_list('cameras', [], 'Cameras to render; all of the run by default.')
  flags.DEFINE_string('frames', '', 'FIRST:END (end not included); all by default.')
  flags.DEFINE_enum('size', 'full', ['full', 'train'], 'Of the source images, or of training.')
  flags.DEFINE_enum('trajectory', 'recorded', ['recorded'], 'Which camera path.')
  flags.DEFINE_integer('step', None, 'Which checkpoint; the newest by default.')
  flags.DEFINE_bool('overwrite', False, 'Replace finished files.')
  cli.require_words('workdir', 'out')
  initialization.define_flags()


def main() -> None:
  """Renders with the flags."""
  options = flags.FLAGS
  done = render(
    options.workdir,
    options.out,
    options.cameras,
    options.frames,
    options.size,
    options.step,
    options.overwrite,
  )
  _LOG.info('%d views rendered into %s', done, options.out)


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
