"""Pinhole cameras and the rays through their pixels.

Letters: `u`, `v` pixel coordinates to the right and down, an integer is a pixel's centre;
`fx, fy, cx, cy` intrinsics in pixels; camera axes x right, y down, z forward; `t` the distance
along a ray of unit direction in metres, planar depth is `t * z_per_t`.
"""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rays:
  """Rays in the recentred world.

  Attributes:
    origins: [..., 3], metres.
    directions: [..., 3], unit length.
    z_per_t: [...], metres of planar depth along the camera's z axis per metre along the ray.
    image: [...], int32, index of the source image.
  """

  origins: jax.Array
  directions: jax.Array
  depth_per_t: jax.Array
  image: jax.Array


def pixel_grid(width: int, height: int) -> jax.Array:
  """Centres of all pixels of an image: [height, width, 2] float32, (u, v)."""
  u, v = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
  return jnp.stack([u, v], axis=-1).astype(jnp.float32)


def pixel_rays(
  intrinsics: jax.Array,
  world_from_cam: jax.Array,
  pixels: jax.Array,
  image: jax.Array,
) -> Rays:
  """Rays through pixels; all leading dimensions broadcast against each other.

  Args:
    intrinsics: [..., 4], fx, fy, cx, cy in pixels.
    world_from_cam: [..., 4, 4], rigid, metres.
    pixels: [..., 2], (u, v); integers are pixel centres, fractions are allowed.
    image: [...], int, index of the source image, carried along.

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
  # A sum of products rather than a matrix product: TPU and GPU matrix units round to fewer bits.
  directions = jnp.sum(
    world_from_cam[..., :3, :3] * (cam_directions * depth_per_t[..., None])[..., None, :], axis=-1
  )
  return Rays(
    origins=jnp.broadcast_to(world_from_cam[..., :3, 3], (*shape, 3)),
    directions=jnp.broadcast_to(directions, (*shape, 3)),
    depth_per_t=jnp.broadcast_to(depth_per_t, shape),
    image=jnp.broadcast_to(image.astype(jnp.int32), shape),
  )
