"""All cameras of one instant side by side: photos, boxes over them, exported semantics, instances.

    PYTHONPATH=. python launch/own_data_figure.py --run=RUN --labels=DIR --frame=3 \\
        --out=docs/figures/own_data.png [--cameras=CAM_FRONT_LEFT,CAM_FRONT] [--width=180]

DIR is what `python -m pnerf_jax.render` wrote of RUN at full size.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pnerf_jax.contrib.preparation import overlay
from pnerf_jax.data import image_io, kitti360, labels, palettes
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.trained_run import load_trained_run

_CAPTION, _GAP = 16, 3
_ROWS = ('photos', 'boxes of things', 'semantics', 'instances')


def boxes_over(scene, image: int, num_intervals: int) -> np.ndarray:
  """[H, W, 3] uint8, the boxes over the photo of a view; magenta where one moves."""
  view, window = dataset_camera(scene, image, full=False), scene.window
  intervals, moving, _ = view_intervals(
    scene.primitives,
    view.intrinsics,
    view.world_from_cam,
    view.width,
    view.height,
    window.near,
    float(window.far),
    num_intervals,
    view.frame,
  )
  semantic = np.asarray(scene.primitives.semantic)
  first = overlay.first_named(np.asarray(intervals.primitive), semantic)
  return overlay.primitives_over(
    window.of_view(window.rgb, image),
    first,
    np.where(first < 0, labels.VOID, semantic[first]),
    np.isfinite(np.asarray(moving)),
  )


def main() -> None:
  """Writes the figure of the flags."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--run', type=pathlib.Path, required=True)
  parser.add_argument('--labels', type=pathlib.Path, required=True)
  parser.add_argument('--frame', type=int, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--cameras', default='', help='in this order; all by default')
  parser.add_argument('--width', type=int, default=180, help='of one picture')
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
        window.of_view(window.rgb, image),
        boxes_over(run.scene, image, run.config.scene.max_intervals_per_ray),
        palettes.semantic_rgb(image_io.read_label(path('semantic'))),
        palettes.instance_rgb(image_io.read_instance(path('instance'))),
      )
    )
  height = max(round(options.width * photo.shape[0] / photo.shape[1]) for photo, *_ in columns)
  sheet = Image.new(
    'RGB',
    (len(columns) * (options.width + _GAP), _CAPTION + len(_ROWS) * (height + _CAPTION)),
    'white',
  )
  pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
  for x, (camera, column) in enumerate(zip(cameras, columns)):
    left = x * (options.width + _GAP)
    pen.text((left + 2, 1), camera, fill='black', font=font)
    for y, (name, pixels) in enumerate(zip(_ROWS, column)):
      top = _CAPTION + y * (height + _CAPTION)
      if x == 0:
        pen.text((2, top + 1), name, fill='grey', font=font)
      own = round(options.width * pixels.shape[0] / pixels.shape[1])
      # Labels are never blended: a mixed colour would be another class.
      smooth = Image.Resampling.LANCZOS if y < 2 else Image.Resampling.NEAREST
      sheet.paste(
        Image.fromarray(pixels).resize((options.width, own), smooth), (left, top + _CAPTION)
      )
  options.out.parent.mkdir(parents=True, exist_ok=True)
  sheet.quantize(192).save(options.out, optimize=True)


if __name__ == '__main__':
  main()
