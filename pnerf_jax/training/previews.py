"""Pictures of a fixed view while training: rgb | depth | semantic | instance."""

import pathlib

import numpy as np

from pnerf_jax.data import image_io, kitti360, palettes
from pnerf_jax.data.window import Window
from pnerf_jax.labelling.images import Camera, Image


def write(folder: pathlib.Path, image: Image, window: Window, view: Camera) -> None:
  """Writes FOLDER/<camera>_<frame>.png: photo, rgb, depth, semantic, instance below each other."""
  folder.mkdir(parents=True, exist_ok=True)
  camera = window.cameras[int(window.view_camera[view.image])]
  panel = np.concatenate(
    [
      window.of_view(window.rgb, view.image),
      image.rgb,
      palettes.depth_rgb(image.depth),
      palettes.semantic_rgb(image.semantic),
      palettes.instance_rgb(image.instance),
    ],
    axis=0,
  )
  image_io.write_rgb(folder / f'{camera}_{kitti360.frame_name(view.frame)}.png', panel)
