"""One picture per evaluated image: what was rendered beside what there is to compare.

Two columns of panels under one another, so that the same street is easy to compare across, with
the classes of the image named below. Small images are enlarged without smoothing.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pnerf_jax.data import labels, palettes
from pnerf_jax.evaluation.frame_result import FrameResult

_PANEL_WIDTH = 704  # pixels, of one panel in the picture
_GAP = 8
_CAPTION = 22  # height of a line of text
_LEGEND_COLUMNS = 8
_BACKGROUND = (250, 250, 250)
_INK = (30, 30, 30)
_FAINT = (150, 150, 150)
_WRONG = (225, 40, 40)
_NOT_SCORED = (60, 60, 110)


def error_rgb(prediction: np.ndarray, truth: np.ndarray, photo: np.ndarray) -> np.ndarray:
  """Wrong pixels red over a dimmed grey photo, pixels of void truth blue.

  Args:
    prediction: [H, W] uint8 id.
    truth: [H, W] uint8 id, 0 and 255 = void.
    photo: [H, W, 3] uint8.

  Returns:
    [H, W, 3] uint8.
  """
  grey = (0.25 * photo.mean(axis=-1, keepdims=True) + 150).astype(np.uint8)
  picture = np.repeat(grey, 3, axis=-1)
  void = np.isin(truth, labels.UNKNOWN)
  picture[(prediction != truth) & ~void] = _WRONG
  picture[void] = _NOT_SCORED
  return picture


def scored_caption(title: str, semantic: np.ndarray | None, truth: np.ndarray | None) -> str:
  """Title of a map of labels [H, W], with the share of right pixels where there is truth."""
  if semantic is None or truth is None:
    return title
  scored = ~np.isin(truth, labels.UNKNOWN)
  if not scored.any():
    return title
  return f'{title} ({100 * np.mean(semantic[scored] == truth[scored]):.1f} % right)'


def panel(result: FrameResult) -> Image.Image:
  """Panels of one image, with captions and a legend."""
  return sheet(_pictures(result), result.semantic.shape, _legend_classes(result), photos=2)


def sheet(
  pictures: Sequence[tuple[str, np.ndarray | None]],
  shape: tuple[int, int],
  names: Sequence[int],
  photos: int,
) -> Image.Image:
  """Pictures in two columns.

  Args:
    pictures: caption and picture [H, W, 3] uint8, left and right in turn; None is an empty frame.
    shape: (H, W).
    names: ids of the classes in the legend; void is left out.
    photos: how many of the first pictures are photos, the others being maps of labels.
  """
  height, width = shape
  size = (_PANEL_WIDTH, max(1, round(_PANEL_WIDTH * height / width)))
  names = [int(i) for i in names if 0 < i < labels.NUM_IDS]
  cell_height = _CAPTION + size[1] + _GAP
  legend_top = -(-len(pictures) // 2) * cell_height
  legend_height = -(-len(names) // _LEGEND_COLUMNS) * _CAPTION
  page = Image.new('RGB', (2 * size[0] + 3 * _GAP, legend_top + legend_height + _GAP), _BACKGROUND)
  draw = ImageDraw.Draw(page)
  for i, (caption, picture) in enumerate(pictures):
    x, y = _GAP + (i % 2) * (size[0] + _GAP), (i // 2) * cell_height
    draw.text((x, y + 3), caption, _FAINT if picture is None else _INK, _font())
    if picture is None:
      draw.rectangle((x, y + _CAPTION, x + size[0] - 1, y + _CAPTION + size[1] - 1), outline=_FAINT)
    else:
      # Photos shrink smoothly; label colours must not mix, and small images show their pixels.
      smooth = i < photos and width > size[0]
      method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
      page.paste(Image.fromarray(picture).resize(size, method), (x, y + _CAPTION))
  for i, class_id in enumerate(names):
    x = _GAP + (i % _LEGEND_COLUMNS) * (page.width // _LEGEND_COLUMNS)
    y = legend_top + (i // _LEGEND_COLUMNS) * _CAPTION
    draw.rectangle((x, y + 4, x + 13, y + 17), fill=tuple(labels.COLORS[class_id].tolist()))
    draw.text((x + 19, y + 3), labels.BY_ID[class_id].name, _INK, _font())
  return page


def _pictures(result: FrameResult) -> list[tuple[str, np.ndarray | None]]:
  """Caption and picture [H, W, 3] uint8 of each panel, left and right in turn."""
  truth = result.truth_semantic
  return [
    ('photo', result.photo),
    ('rendered colour', result.rgb),
    ('semantic truth', _colored(palettes.semantic_rgb, truth)),
    (
      scored_caption('rendered semantics', result.semantic, truth),
      palettes.semantic_rgb(result.semantic),
    ),
    ('instance truth', _colored(palettes.instance_rgb, result.truth_instance)),
    ('rendered instances', palettes.instance_rgb(result.instance)),
    (
      _error_caption(result),
      None if truth is None else error_rgb(result.semantic, truth, result.photo),
    ),
    ('confidence (white = 1)', _colored(palettes.share_rgb, result.confidence)),
    (
      scored_caption('2D pseudo labels', result.pseudo, truth),
      _colored(palettes.semantic_rgb, result.pseudo),
    ),
    (
      scored_caption('fixed semantic field', result.fixed, truth),
      _colored(palettes.semantic_rgb, result.fixed),
    ),
    ('LiDAR depth', _colored(palettes.depth_rgb, _lidar_depth(result))),
    ('rendered depth (red 3 m to blue 100 m)', _colored(palettes.depth_rgb, result.depth)),
  ]


def _colored(
  rgb: Callable[[np.ndarray], np.ndarray], values: np.ndarray | None
) -> np.ndarray | None:
  return None if values is None else rgb(values)


def _lidar_depth(result: FrameResult) -> np.ndarray | None:
  """[H, W] metres, 0 between the points; None without LiDAR."""
  if result.lidar_uvz is None:
    return None
  column, row = np.rint(result.lidar_uvz[:, :2].T).astype(np.int64)
  depth = np.zeros(result.semantic.shape)
  depth[row, column] = result.lidar_uvz[:, 2]
  return depth


def write_panel(path: Path, result: FrameResult) -> None:
  """Writes `panel` as PNG."""
  _save(path, panel(result))


def write_sheet(
  path: Path,
  pictures: Sequence[tuple[str, np.ndarray | None]],
  shape: tuple[int, int],
  names: Sequence[int],
  photos: int,
) -> None:
  """Writes `sheet` as PNG."""
  _save(path, sheet(pictures, shape, names, photos))


def _save(path: Path, page: Image.Image) -> None:
  """The file appears under its name only when it is whole."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'.{path.name}.partial')
  page.save(partial, format='PNG')
  os.replace(partial, path)


def _error_caption(result: FrameResult) -> str:
  if result.truth_semantic is None:
    return 'errors'
  scored = ~np.isin(result.truth_semantic, labels.UNKNOWN)
  wrong = (result.semantic != result.truth_semantic)[scored]
  share = 100 * wrong.mean() if wrong.size else 0.0
  return f'errors (red, {share:.1f} % of the scored pixels)'


def _legend_classes(result: FrameResult) -> np.ndarray:
  maps = [result.semantic, result.truth_semantic, result.pseudo, result.fixed]
  return np.unique(np.concatenate([np.unique(m) for m in maps if m is not None]))


def _font() -> ImageFont.FreeTypeFont:
  return ImageFont.load_default(size=14)
