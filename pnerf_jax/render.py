"""Exports labels, depth and colour of every view of a run as PNGs.

    python -m pnerf_jax.render --workdir=RUN --out=DIR [--cameras=image_00,image_01]
        [--frames=3353:3417] [--size=full|train] [--trajectory=recorded] [--step=N] [--overwrite]

Finished files are kept and skipped on a rerun.
"""
import json
import logging
from pathlib import Path

from absl import flags
import tqdm

from pnerf_jax import cli
from pnerf_jax.data import kitti360, labels, png
from pnerf_jax.data.files import write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.rendering.images import Image, View, recorded_view
from pnerf_jax.training.trained import Trained, load_trained

_LOG = logging.getLogger(__name__)

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
  trained = load_trained(Path(workdir), step)
  scene, window = trained.run.scene, trained.run.scene.window
  unknown = sorted(set(cameras) - set(window.cameras))
  if unknown:
    raise InputError(f'--cameras: {unknown} are not among the cameras of the run '
                     f'{window.cameras}. Choose among them.')
  first, end = _frame_range(frames, window.frames)
  views = []
  for image in range(len(window.view_frame)):
    camera = window.cameras[int(window.view_camera[image])]
    if (not cameras or camera in cameras) and first <= window.view_frame[image] < end:
      views.append((camera, recorded_view(scene, image, full=size == 'full')))
  if not views:
    raise InputError(f'--frames={frames}: no view of the run lies in this range (it has '
                     f'{window.frames[0]}:{window.frames[-1] + 1}). Widen it.')
  out = Path(out)
  done = dropped = 0
  for camera, view in tqdm.tqdm(views, desc='render', unit='image'):
    paths = {kind: out / camera / kind / f'{kitti360.frame_name(view.frame)}.png'
             for kind in KINDS}
    if overwrite or not all(path.exists() for path in paths.values()):
      image = trained.renderer(trained.params, view)
      write_image(paths, image)
      done, dropped = done + 1, dropped + image.dropped
  _write_transforms(out, views, trained)
  if dropped:
    _LOG.info('%d intervals found no room in the rays\' tables (config.scene.intervals); the rays '
              'have half their confidence', dropped)
  return done


def _frame_range(text: str, frames: tuple[int, ...]) -> tuple[int, int]:
  """FIRST:END as numbers."""
  if not text:
    return frames[0], frames[-1] + 1
  first, colon, end = text.partition(':')
  if not (colon and first.isdigit() and end.isdigit() and int(first) < int(end)):
    raise InputError(f'--frames={text}: not FIRST:END with FIRST < END. '
                     f'Write for example --frames={frames[0]}:{frames[-1] + 1}.')
  return int(first), int(end)


def write_image(paths: dict[str, Path], image: Image) -> None:
  """Writes one view's PNGs (formats of KITTI-360), each under its name only when whole."""
  png.write_rgb(paths['rgb'], image.rgb)
  png.write_depth(paths['depth'], image.depth)
  png.write_confidence(paths['confidence'], image.confidence)
  png.write_instance(paths['instance'], image.instance)
  png.write_rgb(paths['semantic_rgb'], labels.COLORS[image.semantic])
  png.write_label(paths['semantic'], image.semantic)


def _write_transforms(out: Path, views: list[tuple[str, View]], trained: Trained) -> None:
  """DIR/transforms.json: camera model, intrinsics and world_from_cam of every rendered view.

  Poses are in KITTI-360's world; views of earlier calls are kept.
  """
  path = out / 'transforms.json'
  known = {}
  if path.exists():
    known = {(v['camera'], v['frame']): v for v in json.loads(path.read_text())['views']}
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
  write_bytes(path, text.encode())


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_string('out', None, 'DIR: where the images go.')
  flags.DEFINE_list('cameras', [], 'Cameras to render; all of the run by default.')
  flags.DEFINE_string('frames', '', 'FIRST:END (end not included); all by default.')
  flags.DEFINE_enum('size', 'full', ['full', 'train'], 'Of the source images, or of training.')
  flags.DEFINE_enum('trajectory', 'recorded', ['recorded'], 'Which camera path.')
  flags.DEFINE_integer('step', None, 'Which checkpoint; the newest by default.')
  flags.DEFINE_bool('overwrite', False, 'Replace finished files.')
  flags.mark_flags_as_required(['workdir', 'out'])


def main() -> None:
  """Renders with the flags."""
  options = flags.FLAGS
  done = render(options.workdir, options.out, options.cameras, options.frames, options.size,
                options.step, options.overwrite)
  _LOG.info('%d views rendered into %s', done, options.out)


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
