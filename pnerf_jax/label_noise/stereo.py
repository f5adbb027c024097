"""The error model of stereo depth."""

import jax
import numpy as np


def depth_tolerance(depth: jax.Array | np.ndarray, sigma: float) -> jax.Array | np.ndarray:
  """Return the standard deviation of stereo depth, sigma * (0.3 + (depth / 10)^2).

  A constant error in disparity is an error in depth that grows with its square.

  Args:
    depth: [...], metres.
    sigma: config.loss.depth_sigma, metres.
  """
  return sigma * (0.3 + (depth / 10.0) ** 2)
