"""Pinhole cameras and the rays through their pixels.

Letters: `u`, `v` pixel coordinates to the right and down, integers are pixel centres; `fx, fy, cx,
cy` intrinsics in pixels; camera axes x right, y down, z forward; `t` distance along a ray of unit
direction in metres; `H`, `W` image size.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
  """A pinhole camera and the image that it took.

  Attributes:
    intrinsics: [4], fx, fy, cx, cy in pixels.
    world_from_cam: [4, 4], rigid, metres.
    width: W, pixels; static.
    height: H, pixels; static.
    image: index of the source image, which selects the appearance code; -1 for none.
    frame: frame number, which selects the moving primitives; -1 for none.
  """

  intrinsics: jax.Array | np.ndarray
  world_from_cam: jax.Array | np.ndarray
  width: int = dataclasses.field(metadata={'static': True})
  height: int = dataclasses.field(metadata={'static': True})
  image: int = -1
  frame: int = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rays:
  """Rays in the recentred world.

  Attributes:
    origins: [..., 3], metres.
    directions: [..., 3], unit length.
    depth_per_t: [...], metres of planar depth along the camera's z axis per metre along the ray.
    image: [...], int32, index of the source image.
  """

  origins: jax.Array
  directions: jax.Array
  depth_per_t: jax.Array
  image: jax.Array


def pixel_grid(width: int, height: int) -> jax.Array:
  """Return the centres (u, v) of all pixels of an image: [H, W, 2], float32."""
  u, v = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
  return jnp.stack([u, v], axis=-1).astype(jnp.float32)


def pixel_rays(
  intrinsics: ArrayLike, world_from_cam: ArrayLike, pixels: ArrayLike, image: ArrayLike
) -> Rays:
  """Return the rays through pixels of one or more cameras; leading dimensions broadcast.

  Args:
    intrinsics: [..., 4], fx, fy, cx, cy in pixels.
    world_from_cam: [..., 4, 4], rigid, metres.
    pixels: [..., 2], (u, v); fractions are allowed.
    image: [...], int, index of the source image, copied to the rays.

  Returns:
    Rays of the broadcast shape [...].
  """
  intrinsics, world_from_cam, pixels, image = map(
    jnp.asarray, (intrinsics, world_from_cam, pixels, image)
  )
  shape = jnp.broadcast_shapes(
    intrinsics.shape[:-1], world_from_cam.shape[:-2], pixels.shape[:-1], image.shape
  )
  cam_xy = (pixels - intrinsics[..., 2:]) / intrinsics[..., :2]
  cam_directions = jnp.concatenate([cam_xy, jnp.ones_like(cam_xy[..., :1])], axis=-1)
  depth_per_t = 1.0 / jnp.linalg.norm(cam_directions, axis=-1)
  # A sum of products, not a matrix product: TPU and GPU matrix units round to fewer bits.
  directions = jnp.sum(
    world_from_cam[..., :3, :3] * (cam_directions * depth_per_t[..., None])[..., None, :], axis=-1
  )
  return Rays(
    origins=jnp.broadcast_to(world_from_cam[..., :3, 3], (*shape, 3)),
    directions=jnp.broadcast_to(directions, (*shape, 3)),
    depth_per_t=jnp.broadcast_to(depth_per_t, shape),
    image=jnp.broadcast_to(image.astype(jnp.int32), shape),
  )


def camera_rays(camera: Camera) -> Rays:
  """Return the rays through all pixel centres of a camera, [H, W]."""
  pixels = pixel_grid(camera.width, camera.height)
  return pixel_rays(camera.intrinsics, camera.world_from_cam, pixels, camera.image)


def t_per_depth(camera: Camera) -> np.ndarray:
  """Return metres along the ray per metre of planar depth, [H, W] numpy in float64."""
  fx, fy, cx, cy = np.asarray(camera.intrinsics, np.float64)
  u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
  return np.sqrt(1.0 + ((u - cx) / fx) ** 2 + ((v - cy) / fy) ** 2)
