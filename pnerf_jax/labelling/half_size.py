"""Images rendered at half the size of a source image and enlarged to it, as in the paper."""

import dataclasses
from typing import Any

import numpy as np

from pnerf_jax.data import kitti360
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.labelling.images import Image


def half_size_camera(camera: Camera, intrinsics: np.ndarray, pixel_origin: str) -> Camera:
  """Return the camera of a source image at half its size.

  Args:
    camera: of a source image, at its size.
    intrinsics: [4] float64, fx, fy, cx, cy of the source image in pixels.
    pixel_origin: config.data.pixel_origin.

  Raises:
    ValueError: the width or the height is odd.
  """
  if camera.width % 2 or camera.height % 2:
    raise ValueError(f'an image of {camera.width}x{camera.height} pixels cannot be halved.')
  width, height = camera.width // 2, camera.height // 2
  half = kitti360.resize_intrinsics(
    intrinsics, (camera.width, camera.height), (width, height), pixel_origin
  )
  return dataclasses.replace(camera, intrinsics=half.astype(np.float32), width=width, height=height)


def enlarge(image: Image) -> Image:
  """Return an image of twice the size; every pixel becomes a square of 2 x 2."""
  maps: dict[str, Any] = {
    name: value.repeat(2, axis=0).repeat(2, axis=1)
    for name, value in vars(image).items()
    if isinstance(value, np.ndarray)
  }
  return dataclasses.replace(image, **maps)
