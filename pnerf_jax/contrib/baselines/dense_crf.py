"""A conditional random field over the pixels and the 3D points of one image, by mean field.

In the spirit of KITTI-360's own transfer of its 3D labels into the images (Liao, Xie, Geiger,
KITTI-360, 2021, arXiv 2109.13410, section 4): nodes are the image's pixels and the LiDAR points
that it sees; pixels have unaries from the pseudo labels and from the projected primitives, points
from the primitives that contain them; pairs of pixels are tied by Gaussians in position and
colour, pairs of points by Gaussians in space, and a point to the pixels it falls on.

Deviation: the dense Gaussians are cut off to each node's nearest neighbours in feature space, which
makes them sparse matrices; and pixels with stereo depth join the Gaussians in space.

Letters: N nodes, F features, L labels, Q [N, L] marginals.
Source of the inference: Kraehenbuehl, Koltun, Efficient Inference in Fully Connected CRFs, NIPS
2011 (mean field, Potts), and Parameter Learning and Convergent Inference, ICML 2013 (the symmetric
normalisation of the kernels).
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse, spatial


def affinity(features: np.ndarray, neighbours: int, reach: float = 3.0) -> sparse.csr_array:
  """Gaussian kernel exp(-|f_i - f_j|^2 / 2) between near nodes, normalised on both sides.

  Args:
    features: [N, F], each divided by its own standard deviation; a node with a feature that is not
      finite is tied to none.
    neighbours: pairs (i, j) count where one is among the other's nearest `neighbours`.
    reach: in standard deviations; pairs farther apart do not count.

  Returns:
    [N, N] symmetric, without diagonal: D^-1/2 K D^-1/2, where D is the diagonal of K's row sums.
  """
  count = len(features)
  known = np.flatnonzero(np.isfinite(features).all(axis=1))
  if len(known) < 2:
    return sparse.csr_array((count, count), dtype=np.float32)
  tree = spatial.cKDTree(features[known])
  distance, other = tree.query(features[known], neighbours + 1, distance_upper_bound=reach)
  own = np.broadcast_to(np.arange(len(known))[:, None], other.shape)
  pair = np.isfinite(distance) & (other != own)
  weight = np.exp(-0.5 * distance[pair] ** 2).astype(np.float32)
  half = sparse.csr_array((weight, (known[own[pair]], known[other[pair]])), shape=(count, count))
  return _normalised(half.maximum(half.T))


def links(first: np.ndarray, second: np.ndarray, count: int) -> sparse.csr_array:
  """Ties of weight 1 between nodes first[i] and second[i], normalised like `affinity`."""
  ones = np.ones(len(first), np.float32)
  half = sparse.csr_array((ones, (first, second)), shape=(count, count))
  return _normalised(half.maximum(half.T))


def _normalised(kernel: sparse.csr_array) -> sparse.csr_array:
  degree = np.asarray(kernel.sum(axis=1)).ravel()
  scale = sparse.diags_array((1 / np.sqrt(np.maximum(degree, 1e-12))).astype(np.float32))
  return (scale @ kernel @ scale).tocsr()


def mean_field(
  cost: np.ndarray, kernels: Sequence[tuple[float, sparse.csr_array]], iterations: int
) -> np.ndarray:
  """Marginals of a field with Potts terms.

  Q <- softmax(-cost + sum_m weight_m K_m Q), all nodes at once, from Q = softmax(-cost).

  Args:
    cost: [N, L] float32, inf where a node may not take a label; each may take one.
    kernels: weight and [N, N] matrix of each.
    iterations: how often all nodes are updated.

  Returns:
    [N, L] float32, rows sum to 1.
  """
  marginal = _softmax(-cost)
  for _ in range(iterations):
    message = sum(np.float32(weight) * (kernel @ marginal) for weight, kernel in kernels)
    marginal = _softmax(message - cost)
  return marginal


def _softmax(logits: np.ndarray) -> np.ndarray:
  exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
  return exponentials / exponentials.sum(axis=1, keepdims=True)
