"""Contrast-sensitive Potts energy on the pixels of one image, minimised by alpha-expansion.

    E(l) = sum_p cost[p, l_p] + sum_{p, q neighbours} w_pq [l_p != l_q]

Letters: H, W image size, L labels, p and q pixels beside or above one another.
Sources: Boykov, Veksler, Zabih, Fast Approximate Energy Minimization via Graph Cuts, TPAMI 2001
(expansion moves); Kolmogorov, Zabih, What Energy Functions Can Be Minimized via Graph Cuts?, TPAMI
2004 (the graph of a move); Boykov, Jolly, Interactive Graph Cuts, ICCV 2001 (contrast).
"""

import importlib.util

import numpy as np

_MAX_SWEEPS = 5  # over all labels; the energy hardly falls after the second


def installed() -> bool:
  """Whether PyMaxflow is there. It is under the GPL, so it is no requirement of the package."""
  return importlib.util.find_spec('maxflow') is not None


def contrast_weights(photo: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
  """Weights between neighbours: `strength` where the colours agree, little across an edge.

  w = strength * exp(-|difference|^2 / (2 * mean |difference|^2)), so that what counts as an edge
  follows the image itself.

  Args:
    photo: [H, W, 3] uint8.
    strength: of the Potts term.

  Returns:
    right [H, W - 1], between a pixel and its right neighbour, and down [H - 1, W].
  """
  photo = photo.astype(np.float64)
  squared = [np.sum(np.diff(photo, axis=axis) ** 2, axis=-1) for axis in (1, 0)]
  mean = np.mean(np.concatenate([s.ravel() for s in squared])) or 1.0
  right, down = (strength * np.exp(-s / (2 * mean)) for s in squared)
  return right, down


def energy(label: np.ndarray, cost: np.ndarray, right: np.ndarray, down: np.ndarray) -> float:
  """E of a labelling [H, W]; cost [H, W, L]."""
  unary = np.take_along_axis(cost, label[..., None], axis=-1).sum(dtype=np.float64)
  return float(
    unary + right[label[:, 1:] != label[:, :-1]].sum() + down[label[1:] != label[:-1]].sum()
  )


def minimise(cost: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
  """Labels [H, W] of which no expansion move lowers the energy.

  Starts at the least costs. The energy is within a factor of two of the optimum, and at it for two
  labels.

  Args:
    cost: [H, W, L] >= 0, inf where a pixel may not take a label; each may take one.
    right, down: of contrast_weights.
  """
  label = np.argmin(cost, axis=-1)
  possible = np.isfinite(cost)
  some = np.flatnonzero(possible.any(axis=(0, 1)))
  lowest = energy(label, cost, right, down)
  for _ in range(_MAX_SWEEPS):
    for alpha in some:
      rows, columns = (np.flatnonzero(possible[..., alpha].any(axis=axis)) for axis in (1, 0))
      # Only pixels that may take alpha can move; those around them only hold their label.
      window = (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
      )
      height, width = label[window].shape
      top, left = window[0].start, window[1].start
      taken = _expansion(
        label[window],
        alpha,
        cost[window],
        right[top : top + height, left : left + width - 1],
        down[top : top + height - 1, left : left + width],
      )
      label[window][taken] = alpha
    found = energy(label, cost, right, down)
    if found >= lowest * (1 - 1e-9):
      break
    lowest = found
  return label


def _expansion(
  label: np.ndarray, alpha: int, cost: np.ndarray, right: np.ndarray, down: np.ndarray
) -> np.ndarray:
  """Which pixels [H, W] take alpha in the best move in which each keeps its label or takes it.

  With x = 1 for taking, a pair costs w [f_p != f_q] for x = 00, w [f_p != alpha] for 01,
  w [f_q != alpha] for 10 and 0 for 11. That is a sum of terms of one pixel and of
  (w01 + w10 - w00) (1 - x_p) x_q, which is never negative.
  """
  import maxflow  # here, since only who cuts graphs needs it

  keep = np.take_along_axis(cost, label[..., None], axis=-1)[..., 0].astype(np.float64)
  take = cost[..., alpha].astype(np.float64)
  may = np.isfinite(take)
  gain = np.where(may, take, 0) - keep  # cost of x = 1 less that of x = 0
  other = label != alpha
  node = np.arange(label.size).reshape(label.shape)
  graph = maxflow.GraphFloat(label.size, 2 * label.size)
  graph.add_grid_nodes(label.shape)
  for weight, (p, q) in ((right, (np.s_[:, :-1], np.s_[:, 1:])), (down, (np.s_[:-1], np.s_[1:]))):
    w00 = weight * (label[p] != label[q])
    w01, w10 = weight * other[p], weight * other[q]
    gain[p] += w10 - w00
    gain[q] -= w10
    both = w01 + w10 - w00
    # An edge p -> q is cut, and paid, where p stays with the source (x = 0) and q does not.
    graph.add_edges(node[p].ravel(), node[q].ravel(), both.ravel(), np.zeros(both.size))
  # A pixel on the sink's side takes alpha: its edge from the source is cut and costs the gain.
  bound = np.abs(gain).sum() + 1
  gain = np.where(may, gain, bound)
  graph.add_grid_tedges(node, np.maximum(gain, 0), np.maximum(-gain, 0))
  graph.maxflow()
  return graph.get_grid_segments(node) & other
