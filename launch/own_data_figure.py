"""Draw all cameras of one frame: images, boxes over them, exported semantics and instances.

    PYTHONPATH=. python launch/own_data_figure.py --run=RUN --labels=DIR --frame=3 \\
        --out=docs/figures/own_data.png [--cameras=CAM_FRONT_LEFT,CAM_FRONT] [--width=180]

DIR is an output folder of `python -m pnerf_jax.render` for RUN at full size.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pnerf_jax.contrib.preparation import overlay
from pnerf_jax.data import image_io, kitti360, labels, palettes
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene
from pnerf_jax.runs.trained_run import load_trained_run

_CAPTION_HEIGHT, _GAP = 16, 3  # pixels
_ROWS = ('image', 'boxes of things', 'semantic labels', 'instance labels')


def draw_boxes(scene: Scene, image: int, num_intervals: int) -> np.ndarray:
  """Return the boxes over an image, [H, W, 3] uint8; moving ones in magenta."""
  camera, window = dataset_camera(scene, image, full=False), scene.window
  intervals, moving, _ = view_intervals(
    scene.primitives, camera, window.near, float(window.far), num_intervals
  )
  semantic = np.asarray(scene.primitives.semantic)
  first = overlay.first_labelled(np.asarray(intervals.primitive), semantic)
  return overlay.overlay_primitives(
    window.crop_to_image(window.rgb, image),
    first,
    np.where(first < 0, labels.VOID, semantic[first]),
    np.isfinite(np.asarray(moving)),
  )


def main() -> None:
  """Draw the picture of the flags."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--run', type=pathlib.Path, required=True)
  parser.add_argument('--labels', type=pathlib.Path, required=True)
  parser.add_argument('--frame', type=int, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--cameras', default='', help='names in order; all by default')
  parser.add_argument('--width', type=int, default=180, help='pixels of one image')
  options = parser.parse_args()
  run = load_trained_run(options.run, None).run
  window = run.scene.window
  cameras = options.cameras.split(',') if options.cameras else list(window.cameras)
  columns = []
  for camera in cameras:
    image = window.frames.index(options.frame) * len(window.cameras) + window.cameras.index(camera)
    path = lambda kind: options.labels / camera / kind / f'{kitti360.frame_name(options.frame)}.png'
    columns.append(
      (
        window.crop_to_image(window.rgb, image),
        draw_boxes(run.scene, image, run.config.scene.max_intervals_per_ray),
        palettes.semantic_rgb(image_io.read_label(path('semantic'))),
        palettes.instance_rgb(image_io.read_instance(path('instance'))),
      )
    )
  height = max(round(options.width * rgb.shape[0] / rgb.shape[1]) for rgb, *_ in columns)
  sheet = Image.new(
    'RGB',
    (
      len(columns) * (options.width + _GAP),
      _CAPTION_HEIGHT + len(_ROWS) * (height + _CAPTION_HEIGHT),
    ),
    'white',
  )
  pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
  for x, (camera, column) in enumerate(zip(cameras, columns)):
    left = x * (options.width + _GAP)
    pen.text((left + 2, 1), camera, fill='black', font=font)
    for y, (name, pixels) in enumerate(zip(_ROWS, column)):
      top = _CAPTION_HEIGHT + y * (height + _CAPTION_HEIGHT)
      if x == 0:
        pen.text((2, top + 1), name, fill='grey', font=font)
      own = round(options.width * pixels.shape[0] / pixels.shape[1])
      # Labels are never interpolated: a mixed colour is another class.
      smooth = Image.Resampling.LANCZOS if y < 2 else Image.Resampling.NEAREST
      sheet.paste(
        Image.fromarray(pixels).resize((options.width, own), smooth), (left, top + _CAPTION_HEIGHT)
      )
  options.out.parent.mkdir(parents=True, exist_ok=True)
  sheet.quantize(192).save(options.out, optimize=True)


if __name__ == '__main__':
  main()
