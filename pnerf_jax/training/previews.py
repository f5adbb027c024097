"""Pictures of a fixed view while training: rgb | depth | semantic | instance."""
import pathlib

import numpy as np

from pnerf_jax.data import colors, kitti360, png
from pnerf_jax.data.window import Window
from pnerf_jax.rendering.images import Image, View


def write(folder: pathlib.Path, image: Image, window: Window, view: View) -> None:
  """Writes FOLDER/<camera>_<frame>.png: photo, rgb, depth, semantic, instance below each other."""
  folder.mkdir(parents=True, exist_ok=True)
  camera = window.cameras[int(window.view_camera[view.image])]
  panel = np.concatenate([
      window.of_view(window.rgb, view.image), image.rgb, colors.depth_rgb(image.depth),
      colors.semantic_rgb(image.semantic), colors.instance_rgb(image.instance)], axis=0)
  png.write_rgb(folder / f'{camera}_{kitti360.frame_name(view.frame)}.png', panel)
