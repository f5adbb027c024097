"""A figure of one exported view: photo, rendered colour, depth, semantics, instances.

    PYTHONPATH=. python launch/figure.py --photo=DATA/data_2d_raw/SEQ/image_00/data_rect/0000000702.png \\
        --labels=DIR/image_00 --out=docs/figures/real.png [--width=640] [--credit="KITTI-360, ..."]

The frame is that of the photo; DIR is what `python -m pnerf_jax.render` wrote. The credit is
written into the figure and into the file's metadata.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pnerf_jax.data import image_io, palettes

_CAPTION = 20
_GAP = 4


def panels(photo: pathlib.Path, labels: pathlib.Path) -> list[tuple[str, np.ndarray]]:
  """Caption and [H, W, 3] uint8 of each panel."""
  read = lambda kind, reader: reader(labels / kind / photo.name)
  return [
    ('photo', image_io.read_rgb(photo)),
    ('rendered colour', read('rgb', image_io.read_rgb)),
    ('depth', palettes.depth_rgb(read('depth', image_io.read_depth))),
    ('semantics', palettes.semantic_rgb(read('semantic', image_io.read_label))),
    ('instances', palettes.instance_rgb(read('instance', image_io.read_instance))),
  ]


def draw(pictures: list[tuple[str, np.ndarray]], width: int, credit: str) -> Image.Image:
  """The panels below each other, `width` pixels wide, each with its caption."""
  height = round(width * pictures[0][1].shape[0] / pictures[0][1].shape[1])
  cell = _CAPTION + height + _GAP
  sheet = Image.new('RGB', (width, len(pictures) * cell + (_CAPTION if credit else 0)), 'white')
  pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
  for i, (caption, pixels) in enumerate(pictures):
    pen.text((2, i * cell + 2), caption, fill='black', font=font)
    # Labels are never blended: a mixed colour would be another class.
    smooth = caption in ('photo', 'rendered colour')
    resample = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    sheet.paste(Image.fromarray(pixels).resize((width, height), resample), (0, i * cell + _CAPTION))
  pen.text((2, len(pictures) * cell + 2), credit, fill='black', font=font)
  return sheet


def main() -> None:
  """Writes the figure of the flags."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--photo', type=pathlib.Path, required=True)
  parser.add_argument('--labels', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--width', type=int, default=640)
  parser.add_argument('--credit', default='')
  options = parser.parse_args()
  information = PngImagePlugin.PngInfo()
  if options.credit:
    information.add_text('Copyright', options.credit)
  options.out.parent.mkdir(parents=True, exist_ok=True)
  draw(panels(options.photo, options.labels), options.width, options.credit).save(
    options.out, pnginfo=information, optimize=True
  )


if __name__ == '__main__':
  main()
