"""Panels: one picture per evaluated image, with rendering, input and ground truth side by side.

Pictures are arranged in two columns above a legend of the classes. Small images are enlarged
without smoothing.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pnerf_jax.data import labels, palettes
from pnerf_jax.data.files import atomic_write
from pnerf_jax.evaluation.frame_result import FrameResult

MARK = b'pnerf_jax'  # the software, near the start of the file; see files.check_output
_PANEL_WIDTH = 704  # pixels of one picture
_GAP = 8
_LINE_HEIGHT = 22
_LEGEND_COLUMNS = 8
_BACKGROUND = (250, 250, 250)
_INK = (30, 30, 30)
_WRONG = (225, 40, 40)
_NOT_SCORED = (60, 60, 110)


def error_rgb(prediction: np.ndarray, truth: np.ndarray, photo: np.ndarray) -> np.ndarray:
  """Return the grey photo [H, W, 3] uint8 with wrong pixels in red and void pixels in blue.

  Args:
    prediction: [H, W] uint8 id.
    truth: [H, W] uint8 id, 0 and 255 = void.
    photo: [H, W, 3] uint8.
  """
  grey = (0.25 * photo.mean(axis=-1, keepdims=True) + 150).astype(np.uint8)
  picture = np.repeat(grey, 3, axis=-1)
  void = np.isin(truth, labels.UNKNOWN)
  picture[(prediction != truth) & ~void] = _WRONG
  picture[void] = _NOT_SCORED
  return picture


def accuracy_caption(title: str, semantic: np.ndarray | None, truth: np.ndarray | None) -> str:
  """Return the title of a label map [H, W], with its accuracy if there is ground truth."""
  if semantic is None or truth is None:
    return title
  scored = ~np.isin(truth, labels.UNKNOWN)
  if not scored.any():
    return title
  return f'{title} (accuracy {100 * np.mean(semantic[scored] == truth[scored]):.1f} %)'


def panel(result: FrameResult) -> Image.Image:
  """Draw the pictures of one image, with captions and a legend."""
  maps = [result.semantic, result.truth_semantic, result.pseudo, result.fixed]
  class_ids = np.unique(np.concatenate([np.unique(m) for m in maps if m is not None]))
  return sheet(_pictures(result), result.semantic.shape, class_ids, num_photos=2)


def sheet(
  pictures: Sequence[tuple[str, np.ndarray | None]],
  shape: tuple[int, int],
  class_ids: Iterable[int],
  num_photos: int,
) -> Image.Image:
  """Arrange pictures in two columns.

  Args:
    pictures: caption and picture [H, W, 3] uint8, alternately left and right; without those that
      are None.
    shape: (H, W).
    class_ids: classes of the legend; void is ignored.
    num_photos: the first pictures, None included, are photos, the others label maps.
  """
  height, width = shape
  size = (_PANEL_WIDTH, max(1, round(_PANEL_WIDTH * height / width)))
  legend_ids = [int(i) for i in class_ids if 0 < i < labels.NUM_IDS]
  cell_height = _LINE_HEIGHT + size[1] + _GAP
  shown = [(i < num_photos, c, p) for i, (c, p) in enumerate(pictures) if p is not None]
  legend_top = -(-len(shown) // 2) * cell_height
  legend_height = -(-len(legend_ids) // _LEGEND_COLUMNS) * _LINE_HEIGHT
  page = Image.new('RGB', (2 * size[0] + 3 * _GAP, legend_top + legend_height + _GAP), _BACKGROUND)
  draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
  for i, (is_photo, caption, picture) in enumerate(shown):
    x, y = _GAP + (i % 2) * (size[0] + _GAP), (i // 2) * cell_height
    draw.text((x, y + 3), caption, _INK, font)
    # Photos shrink smoothly; label colours must not mix, and small images show their pixels.
    smooth = is_photo and width > size[0]
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    page.paste(Image.fromarray(picture).resize(size, method), (x, y + _LINE_HEIGHT))
  for i, class_id in enumerate(legend_ids):
    x = _GAP + (i % _LEGEND_COLUMNS) * (page.width // _LEGEND_COLUMNS)
    y = legend_top + (i // _LEGEND_COLUMNS) * _LINE_HEIGHT
    draw.rectangle((x, y + 4, x + 13, y + 17), fill=tuple(labels.COLORS[class_id].tolist()))
    draw.text((x + 19, y + 3), labels.BY_ID[class_id].name, _INK, font)
  return page


def save(path: Path, page: Image.Image) -> None:
  """Write a picture as PNG with MARK, atomically."""
  text = PngImagePlugin.PngInfo()
  text.add_text('Software', MARK.decode())
  with atomic_write(path) as file:
    page.save(file, format='PNG', pnginfo=text)


def _pictures(result: FrameResult) -> list[tuple[str, np.ndarray | None]]:
  """Return caption and picture [H, W, 3] uint8 of each panel, alternately left and right."""

  def colored(to_rgb: Callable[[np.ndarray], np.ndarray], values: np.ndarray | None):
    return None if values is None else to_rgb(values)

  truth, semantic_rgb = result.truth_semantic, palettes.semantic_rgb
  reference = result.pseudo if truth is None else truth
  no_lidar = result.lidar_uvz is None
  depth = _depth_of(result.stereo_uvz if no_lidar else result.lidar_uvz, result)
  errors = None if reference is None else error_rgb(result.semantic, reference, result.photo)
  return [
    ('photo', result.photo),
    ('rendered colour', result.rgb),
    ('true semantics', colored(semantic_rgb, truth)),
    (accuracy_caption('rendered semantics', result.semantic, truth), semantic_rgb(result.semantic)),
    ('true instances', colored(palettes.instance_rgb, result.truth_instance)),
    ('rendered instances', palettes.instance_rgb(result.instance)),
    (f'{"differences to pseudo-labels" if truth is None else "errors"} (red)', errors),
    ('confidence (white = 1)', colored(palettes.fraction_rgb, result.confidence)),
    (
      accuracy_caption('2D pseudo-labels', result.pseudo, truth),
      colored(semantic_rgb, result.pseudo),
    ),
    (
      accuracy_caption('fixed semantic field', result.fixed, truth),
      colored(semantic_rgb, result.fixed),
    ),
    ('stereo depth' if no_lidar else 'LiDAR depth', colored(palettes.depth_rgb, depth)),
    ('rendered depth (red 3 m to blue 100 m)', colored(palettes.depth_rgb, result.depth)),
  ]


def _depth_of(uvz: np.ndarray | None, result: FrameResult) -> np.ndarray | None:
  """Return planar depth [H, W] in metres of points [N, 3], 0 between them; None without any."""
  if uvz is None:
    return None
  column, row = np.rint(uvz[:, :2].T).astype(np.int64)
  depth = np.zeros(result.semantic.shape)
  depth[row, column] = uvz[:, 2]
  return depth
