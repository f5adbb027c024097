"""The folder of exported views: PNGs, and a views.json with their cameras and their origin.

    DIR/<camera>/<kind>/<frame>.png     kinds: KINDS, in the formats of KITTI-360
    DIR/views.json                      camera model, origin (step, size, digest), cameras of views

All views of a folder have the same origin.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.data.files import check_is_folder, folder_lock, read_json, write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.labelling.images import Image

_READERS = {
  'semantic': image_io.read_label,
  'semantic_rgb': image_io.read_rgb,
  'instance': image_io.read_instance,
  'confidence': image_io.read_confidence,
  'depth': image_io.read_depth,
  'rgb': image_io.read_rgb,
}
KINDS = tuple(_READERS)
_FILE = 'views.json'

View = tuple[str, Camera]  # folder name of the camera, such as 'image_00', and its camera


def image_paths(folder: Path, view: View) -> dict[str, Path]:
  """Return the paths of a view's PNGs by kind."""
  name, camera = view
  return {kind: folder / name / kind / f'{kitti360.frame_name(camera.frame)}.png' for kind in KINDS}


def write_image(paths: dict[str, Path], image: Image) -> None:
  """Write the PNGs of a view, each atomically."""
  image_io.write_rgb(paths['rgb'], image.rgb)
  image_io.write_depth(paths['depth'], image.depth)
  image_io.write_confidence(paths['confidence'], image.confidence)
  image_io.write_instance(paths['instance'], image.instance)
  image_io.write_rgb(paths['semantic_rgb'], labels.COLORS[image.semantic])
  image_io.write_label(paths['semantic'], image.semantic)


def check_images(paths: dict[str, Path], size: tuple[int, int]) -> None:
  """Raise InputError unless PNGs, by kind, can be decoded and have the type and (width, height)."""
  for kind, path in paths.items():
    _READERS[kind](path, size)


def claim_folder(
  folder: Path, origin: dict[str, Any], views: Sequence[View], overwrite: bool
) -> None:
  """Reserve a folder for views of one origin: one step of one run, in one size.

  Raises:
    InputError: it holds views of another origin that may not be replaced: without `overwrite`, or
      because they are not among `views`.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with folder_lock(folder):
    content = earlier_views(folder, overwrite)
    old_origin = {key: content.get(key, 'unknown') for key in origin}
    old_paths = {path for kind in KINDS for path in folder.glob(f'*/{kind}/*.png')}
    if old_paths and old_origin != origin:
      new_paths = {path for view in views for path in image_paths(folder, view).values()}
      if not overwrite or not old_paths <= new_paths:
        old, new = (', '.join(f'{k} {v}' for k, v in x.items()) for x in (old_origin, origin))
        raise InputError(
          f'--out={folder}: holds views of {old}, not of {new}. '
          'Use another --out, or --overwrite with all views of this folder.'
        )
      for path in old_paths:  # before views.json names the new origin
        path.unlink()
    if old_origin != origin:
      _write_views(folder, origin, {})


def add_views(
  folder: Path, origin: dict[str, Any], views: Sequence[View], center: np.ndarray
) -> None:
  """Add the cameras of views to views.json.

  Args:
    folder: DIR, claimed.
    origin: of all views of the folder.
    views: rendered views; poses are recentred.
    center: [3], of the window in the world of the exported poses, metres.
  """
  with folder_lock(folder):  # another process may add other views
    content = read_views(folder)
    assert content is not None  # claimed
    entries = content['views']
    for name, camera in views:
      pose = np.array(camera.world_from_cam, np.float64)
      pose[:3, 3] += center
      fx, fy, cx, cy = (float(x) for x in camera.intrinsics)
      entries[name, camera.frame] = {
        'camera': name,
        'frame': camera.frame,
        'width': camera.width,
        'height': camera.height,
        'fl_x': fx,
        'fl_y': fy,
        'cx': cx,
        'cy': cy,
        'world_from_cam': pose.tolist(),
      }
    _write_views(folder, origin, entries)


def earlier_views(folder: Path, overwrite: bool) -> dict[str, Any]:
  """Return views.json, {} if there is none, or if it is damaged and replaced by `overwrite`."""
  try:
    return read_views(folder) or {}
  except InputError:
    if not overwrite or not (folder / _FILE).is_file():
      raise
    return {}


def read_views(folder: Path) -> dict[str, Any] | None:
  """Read views.json, its views by camera and frame; None if there is none.

  Raises:
    InputError: the folder is a file, or views.json is damaged.
  """
  path = folder / _FILE
  hint = 'Remove it and render all views with --overwrite, or use another --out.'
  check_is_folder(folder, '--out')
  if not path.exists():
    return None
  content = read_json(path, hint=hint)
  try:
    views = {(str(view['camera']), int(view['frame'])): view for view in content['views']}
    for view in views.values():
      np.array(view['world_from_cam'], np.float64).reshape(4, 4)
      view['width'], view['height'] = int(view['width']), int(view['height'])
    return {**content, 'views': views}
  except (ValueError, KeyError, TypeError) as e:
    raise InputError(f'{path}: is damaged ({type(e).__name__}). {hint}') from None


def _write_views(folder: Path, origin: dict[str, Any], views: dict[tuple[str, int], dict]) -> None:
  content = {
    'camera_model': 'PINHOLE',
    'camera_axes': 'x right, y down, z forward',
    'pixel_centers': 'integer',
    **origin,
    'views': [views[key] for key in sorted(views)],
  }
  write_bytes(folder / _FILE, json.dumps(content, indent=1).encode())
