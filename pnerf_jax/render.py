"""Exports labels, depth and colour of every view of a run as PNGs.

    python -m pnerf_jax.render --workdir=RUN --out=DIR [--cameras=image_00,image_01]
        [--frames=3353:3417] [--size=full|train] [--trajectory=recorded] [--step=N] [--overwrite]

Finished files are kept and skipped on a rerun. Several processes (flags as of train) render a share
of the views each, on their own devices.
"""
from concurrent import futures
import json
import logging
from pathlib import Path
import re

from absl import flags
import numpy as np
import tqdm

from pnerf_jax import cli
from pnerf_jax import job
from pnerf_jax.data import kitti360, labels, png
from pnerf_jax.data.files import read_bytes, refuse_file, taking_turns, write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.rendering.images import Image, View, recorded_view
from pnerf_jax.training import processes
from pnerf_jax.training.trained import Trained, load_trained

_LOG = logging.getLogger(__name__)

_MAX_TRANSFORMS = 2**30  # bytes
KINDS = ('semantic', 'semantic_rgb', 'instance', 'confidence', 'depth', 'rgb')


def render(workdir: Path, out: Path, cameras: list[str] = (), frames: str = '',
           size: str = 'full', step: int | None = None, overwrite: bool = False) -> int:
  """Renders recorded views into DIR.

  Args:
    workdir: RUN.
    out: DIR.
    cameras: names; empty = all of the run.
    frames: 'FIRST:END'; empty = all.
    size: 'full' or 'train'.
    step: checkpoint; None = the newest.
    overwrite: replace finished files.

  Returns:
    How many views were rendered (the others were finished already).

  Raises:
    InputError: bad options, no run, unreadable input.
  """
  out, chosen = Path(out), _frame_range(frames)
  _known_views(out)  # a damaged table is told before anything is rendered
  trained = load_trained(Path(workdir), step)
  scene, window = trained.run.scene, trained.run.scene.window
  unknown = sorted(set(cameras) - set(window.cameras))
  if unknown:
    raise InputError(f'--cameras: {unknown} are not among the cameras of the run '
                     f'{window.cameras}. Choose among them.')
  views = []
  for image in range(len(window.view_frame)):
    camera = window.cameras[int(window.view_camera[image])]
    if (not cameras or camera in cameras) and window.view_frame[image] in chosen:
      views.append((camera, recorded_view(scene, image, full=size == 'full')))
  if not views:
    raise InputError(f'--frames={frames}: no view of the run lies in this range (it has '
                     f'{window.frames[0]}:{window.frames[-1] + 1}). Widen it.')
  mine = processes.share().of(len(views))
  counts = _render_views(trained, views[mine.start:mine.stop], out, overwrite)
  done, dropped = (int(n) for n in processes.total(np.array(counts, np.int32)))
  if processes.is_first():
    with taking_turns(out):  # another call may render other views into DIR meanwhile
      _write_transforms(out, _known_views(out), views, trained)
  if dropped:
    _LOG.info('%d intervals found no room in the rays\' tables (config.scene.intervals); the rays '
              'have half their confidence', dropped)
  return done


def _render_views(trained: Trained, views: list[tuple[str, View]], out: Path, overwrite: bool
                  ) -> tuple[int, int]:
  """Renders views that are not finished; returns how many, and how many intervals were dropped."""
  done = dropped = 0
  # A view is written while the next one renders; no third one waits in memory.
  with futures.ThreadPoolExecutor(1) as writer:
    writing = None
    for camera, view in tqdm.tqdm(views, desc='render', unit='image',
                                  disable=not processes.is_first()):
      paths = {kind: out / camera / kind / f'{kitti360.frame_name(view.frame)}.png'
               for kind in KINDS}
      if overwrite or not all(path.exists() for path in paths.values()):
        image = trained.renderer(trained.params, view)
        if writing is not None:
          writing.result()
        writing = writer.submit(write_image, paths, image)
        done, dropped = done + 1, dropped + image.dropped
    if writing is not None:
      writing.result()
  return done, dropped


def _frame_range(text: str) -> range:
  """FIRST:END as numbers; '' is every frame."""
  if not text:
    return range(kitti360.MAX_FRAME + 1)
  found = re.fullmatch('([0-9]{1,10}):([0-9]{1,10})', text)
  if not found or int(found[1]) >= int(found[2]):
    raise InputError(f'--frames={text}: not FIRST:END with FIRST < END. '
                     'Write for example --frames=3353:3417.')
  return range(int(found[1]), int(found[2]))


def write_image(paths: dict[str, Path], image: Image) -> None:
  """Writes one view's PNGs (formats of KITTI-360), each under its name only when whole."""
  png.write_rgb(paths['rgb'], image.rgb)
  png.write_depth(paths['depth'], image.depth)
  png.write_confidence(paths['confidence'], image.confidence)
  png.write_instance(paths['instance'], image.instance)
  png.write_rgb(paths['semantic_rgb'], labels.COLORS[image.semantic])
  png.write_label(paths['semantic'], image.semantic)


def _known_views(out: Path) -> dict[tuple[str, int], dict]:
  """The views that DIR/transforms.json holds from earlier calls, by camera and frame."""
  path = out / 'transforms.json'
  refuse_file(out, '--out')
  if not path.exists():
    return {}
  remedy = 'Remove it, or choose another --out.'
  try:
    views = json.loads(read_bytes(path, _MAX_TRANSFORMS, remedy))['views']
    return {(str(view['camera']), int(view['frame'])): view for view in views}
  except (ValueError, KeyError, TypeError, RecursionError) as e:
    if isinstance(e, InputError):
      raise
    raise InputError(f'{path}: is damaged ({type(e).__name__}). {remedy}') from None


def _write_transforms(out: Path, known: dict[tuple[str, int], dict],
                      views: list[tuple[str, View]], trained: Trained) -> None:
  """DIR/transforms.json: camera model, intrinsics and world_from_cam of every rendered view.

  Poses are in KITTI-360's world; the `known` views of earlier calls are kept.
  """
  center = trained.run.scene.window.center
  for camera, view in views:
    pose = view.world_from_cam.astype(float)
    pose[:3, 3] += center
    fx, fy, cx, cy = (float(x) for x in view.intrinsics)
    known[camera, view.frame] = {
        'camera': camera, 'frame': view.frame, 'width': view.width, 'height': view.height,
        'fl_x': fx, 'fl_y': fy, 'cx': cx, 'cy': cy, 'world_from_cam': pose.tolist()}
  text = json.dumps({
      'camera_model': 'PINHOLE', 'camera_axes': 'x right, y down, z forward',
      'pixel_centers': 'integer', 'step': trained.step,
      'views': [known[key] for key in sorted(known)]}, indent=1)
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
  job.define_flags()


def main() -> None:
  """Renders with the flags."""
  options = flags.FLAGS
  done = render(options.workdir, options.out, options.cameras, options.frames, options.size,
                options.step, options.overwrite)
  _LOG.info('%d views rendered into %s', done, options.out)


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
