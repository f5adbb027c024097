"""A conditional random field over the pixels and the 3D points of one image, by mean field.

Similar to KITTI-360's transfer of its 3D labels into the images: nodes are the image's pixels and
its visible LiDAR points; pixels have unary terms from the pseudo-labels and the projected
primitives, points from the primitives that contain them. Pixels are connected by Gaussian kernels
in position and colour, points by Gaussian kernels in space, and each point to its pixel.

Differences: the kernels are truncated to the nearest neighbours in feature space, which makes them
sparse matrices, and pixels with stereo depth take part in the kernel in space.

Letters: N nodes, F features, L labels, Q [N, L] marginals.

References:
  Liao, Xie, Geiger, KITTI-360, arXiv 2109.13410, 2021, section 4 (the model).
  Kraehenbuehl, Koltun, Efficient Inference in Fully Connected CRFs, NIPS 2011 (mean field, Potts).
  Kraehenbuehl, Koltun, Parameter Learning and Convergent Inference, ICML 2013 (symmetric
    normalisation of the kernels).
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse, spatial


def gaussian_kernel(
  features: np.ndarray, num_neighbours: int, max_distance: float = 3.0
) -> sparse.csr_array:
  """Return the kernel exp(-|f_i - f_j|^2 / 2) between neighbours, symmetrically normalised.

  Args:
    features: [N, F], each divided by its standard deviation; a node with a non-finite feature has
      no neighbours.
    num_neighbours: pairs are kept where one node is among the nearest `num_neighbours` of the
      other.
    max_distance: of the kept pairs, in standard deviations.

  Returns:
    [N, N] symmetric, without diagonal: D^-1/2 K D^-1/2, where D is the diagonal of K's row sums.
  """
  num_nodes = len(features)
  finite = np.flatnonzero(np.isfinite(features).all(axis=1))
  if len(finite) < 2:
    return sparse.csr_array((num_nodes, num_nodes), dtype=np.float32)
  tree = spatial.cKDTree(features[finite])
  distance, other = tree.query(
    features[finite], num_neighbours + 1, distance_upper_bound=max_distance
  )
  own = np.broadcast_to(np.arange(len(finite))[:, None], other.shape)
  pair = np.isfinite(distance) & (other != own)
  weight = np.exp(-0.5 * distance[pair] ** 2).astype(np.float32)
  return _normalised_kernel(finite[own[pair]], finite[other[pair]], weight, num_nodes)


def link_kernel(first: np.ndarray, second: np.ndarray, num_nodes: int) -> sparse.csr_array:
  """Return a kernel of weight 1 between nodes first[i] and second[i], symmetrically normalised."""
  return _normalised_kernel(first, second, np.ones(len(first), np.float32), num_nodes)


def _normalised_kernel(
  first: np.ndarray, second: np.ndarray, weight: np.ndarray, num_nodes: int
) -> sparse.csr_array:
  directed = sparse.csr_array((weight, (first, second)), shape=(num_nodes, num_nodes))
  kernel = directed.maximum(directed.T)
  degree = np.asarray(kernel.sum(axis=1)).ravel()
  scale = sparse.diags_array((1 / np.sqrt(np.maximum(degree, 1e-12))).astype(np.float32))
  return (scale @ kernel @ scale).tocsr()


def mean_field(
  cost: np.ndarray, kernels: Sequence[tuple[float, sparse.csr_array]], num_iterations: int
) -> np.ndarray:
  """Return the marginals of a field with Potts terms.

  Iterates Q <- softmax(-cost + sum_m weight_m K_m Q) for all nodes in parallel, from
  Q = softmax(-cost).

  Args:
    cost: [N, L] float32, inf for excluded labels; finite for at least one label of each node.
    kernels: weight and [N, N] matrix of each.
    num_iterations: number of updates.

  Returns:
    [N, L] float32, rows sum to 1.
  """
  marginals = _softmax(-cost)
  for _ in range(num_iterations):
    message = sum(np.float32(weight) * (kernel @ marginals) for weight, kernel in kernels)
    marginals = _softmax(message - cost)
  return marginals


def _softmax(logits: np.ndarray) -> np.ndarray:
  exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
  return exponentials / exponentials.sum(axis=1, keepdims=True)
