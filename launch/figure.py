"""Draw one exported view as a column of panels with captions.

    PYTHONPATH=. python launch/figure.py --labels=DIR/image_00 --out=docs/figures/kitti360.png \\
        --image=DATA/data_2d_raw/SEQ/image_00/data_rect/0000000702.png \\
        [--pseudo_labels=DATA/data_2d_pseudo_semantics/train/SEQ/image_00/semantic] \\
        [--panels=image,pseudo_labels,semantics,instances] [--width=640] [--credit="KITTI-360, ..."]

The frame is that of the image; DIR is an output folder of `python -m pnerf_jax.render`. The credit
is written into the picture and into the metadata of the file.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pnerf_jax.data import image_io, palettes

_CAPTION_HEIGHT = 20  # pixels
_GAP = 4
_CAPTIONS = {
  'image': 'image',
  'pseudo_labels': 'pseudo-labels of the 2D network',
  'rgb': 'rendered image',
  'depth': 'depth',
  'semantics': 'semantic labels',
  'instances': 'instance labels',
}
_SMOOTH = ('image', 'rgb')  # labels are never interpolated: a mixed colour is another class


def read_panel(
  panel: str, image: pathlib.Path, labels: pathlib.Path, pseudo_labels: pathlib.Path | None
) -> np.ndarray:
  """Return a panel, [H, W, 3] uint8.

  Args:
    panel: a key of the captions.
    image: file of the image; its name is that of the frame.
    labels: exported folder of one camera.
    pseudo_labels: folder of the pseudo-labels, or None.
  """
  if panel == 'image':
    return image_io.read_rgb(image)
  if panel == 'pseudo_labels':
    return palettes.semantic_rgb(image_io.read_label(pseudo_labels / image.name))
  if panel == 'rgb':
    return image_io.read_rgb(labels / 'rgb' / image.name)
  if panel == 'depth':
    return palettes.depth_rgb(image_io.read_depth(labels / 'depth' / image.name))
  if panel == 'semantics':
    return palettes.semantic_rgb(image_io.read_label(labels / 'semantic' / image.name))
  return palettes.instance_rgb(image_io.read_instance(labels / 'instance' / image.name))


def draw(panels: dict[str, np.ndarray], width: int, credit: str) -> Image.Image:
  """Return the panels below each other, each `width` pixels wide, with captions and credit."""
  first = next(iter(panels.values()))
  height = round(width * first.shape[0] / first.shape[1])
  cell = _CAPTION_HEIGHT + height + _GAP
  sheet = Image.new('RGB', (width, len(panels) * cell + bool(credit) * _CAPTION_HEIGHT), 'white')
  pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
  for i, (panel, pixels) in enumerate(panels.items()):
    pen.text((2, i * cell + 2), _CAPTIONS[panel], fill='black', font=font)
    resample = Image.Resampling.LANCZOS if panel in _SMOOTH else Image.Resampling.NEAREST
    sheet.paste(
      Image.fromarray(pixels).resize((width, height), resample), (0, i * cell + _CAPTION_HEIGHT)
    )
  pen.text((2, len(panels) * cell + 2), credit, fill='black', font=font)
  return sheet


def main() -> None:
  """Draw the picture of the flags."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--image', type=pathlib.Path, required=True)
  parser.add_argument('--labels', type=pathlib.Path, required=True)
  parser.add_argument('--pseudo_labels', type=pathlib.Path)
  parser.add_argument('--panels', default='image,rgb,depth,semantics,instances')
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--width', type=int, default=640)
  parser.add_argument('--credit', default='')
  options = parser.parse_args()
  names = options.panels.split(',')
  unknown = sorted(set(names) - set(_CAPTIONS))
  if unknown:
    parser.error(f'--panels: no panel {unknown[0]}. Choose among {", ".join(_CAPTIONS)}.')
  if 'pseudo_labels' in names and options.pseudo_labels is None:
    parser.error('--pseudo_labels is missing. Name the folder of the pseudo-labels.')
  information = PngImagePlugin.PngInfo()
  if options.credit:
    information.add_text('Copyright', options.credit)
  options.out.parent.mkdir(parents=True, exist_ok=True)
  panels = {
    name: read_panel(name, options.image, options.labels, options.pseudo_labels) for name in names
  }
  draw(panels, options.width, options.credit).save(options.out, pnginfo=information, optimize=True)


if __name__ == '__main__':
  main()
