"""Contrast-sensitive Potts energy on the pixels of one image, minimised by alpha-expansion.

    E(l) = sum_p cost[p, l_p] + sum_{p, q neighbours} w_pq [l_p != l_q]

Letters: H, W image size, L labels, p and q horizontal or vertical neighbours.

References:
  Boykov, Veksler, Zabih, Fast Approximate Energy Minimization via Graph Cuts, TPAMI 2001 (expansion
    moves).
  Kolmogorov, Zabih, What Energy Functions Can Be Minimized via Graph Cuts?, TPAMI 2004 (the graph
    of a move).
  Boykov, Jolly, Interactive Graph Cuts, ICCV 2001 (contrast).
"""

import importlib.util

import numpy as np

_MAX_SWEEPS = 5  # over all labels; the energy hardly decreases after the second


def is_installed() -> bool:
  """Return whether PyMaxflow is installed; it is optional because it is under the GPL."""
  return importlib.util.find_spec('maxflow') is not None


def contrast_weights(image: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
  """Return the Potts weights strength * exp(-|difference|^2 / (2 * mean |difference|^2)).

  Args:
    image: [H, W, 3] uint8.
    strength: weight between pixels of equal colour.

  Returns:
    right [H, W - 1], between a pixel and its right neighbour, and down [H - 1, W].
  """
  image = image.astype(np.float64)
  squared = [np.sum(np.diff(image, axis=axis) ** 2, axis=-1) for axis in (1, 0)]
  mean = np.mean(np.concatenate([s.ravel() for s in squared])) or 1.0
  right, down = (strength * np.exp(-s / (2 * mean)) for s in squared)
  return right, down


def energy(label: np.ndarray, cost: np.ndarray, right: np.ndarray, down: np.ndarray) -> float:
  """Return E of a labelling [H, W]; cost: [H, W, L]."""
  unary = np.take_along_axis(cost, label[..., None], axis=-1).sum(dtype=np.float64)
  return float(
    unary + right[label[:, 1:] != label[:, :-1]].sum() + down[label[1:] != label[:-1]].sum()
  )


def alpha_expansion(cost: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
  """Minimise E from the labels of least cost, until no expansion move lowers it.

  The energy is within a factor of two of the optimum, and optimal for two labels.

  Args:
    cost: [H, W, L], at least 0, inf for excluded labels; finite for at least one label of each
      pixel.
    right: [H, W - 1], of contrast_weights.
    down: [H - 1, W], of contrast_weights.

  Returns:
    Labels [H, W].
  """
  label = np.argmin(cost, axis=-1)
  possible = np.isfinite(cost)
  lowest = energy(label, cost, right, down)
  for _ in range(_MAX_SWEEPS):
    for alpha in np.flatnonzero(possible.any(axis=(0, 1))).tolist():
      rows, columns = (np.flatnonzero(possible[..., alpha].any(axis=axis)) for axis in (1, 0))
      # Only pixels that may take alpha can change; one pixel around them keeps its label.
      window = (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
      )
      height, width = label[window].shape
      top, left = window[0].start, window[1].start
      expanded = _expand(
        label[window],
        alpha,
        cost[window],
        right[top : top + height, left : left + width - 1],
        down[top : top + height - 1, left : left + width],
      )
      label[window][expanded] = alpha
    current = energy(label, cost, right, down)
    if current >= lowest * (1 - 1e-9):
      break
    lowest = current
  return label


def _expand(
  label: np.ndarray, alpha: int, cost: np.ndarray, right: np.ndarray, down: np.ndarray
) -> np.ndarray:
  """Return the pixels [H, W] that take alpha in the best expansion move.

  With x = 1 for taking alpha, a pair costs w [l_p != l_q] for x = 00, w [l_p != alpha] for 01,
  w [l_q != alpha] for 10 and 0 for 11. That is a sum of unary terms and of
  (w01 + w10 - w00) (1 - x_p) x_q, which is never negative.
  """
  import maxflow  # optional dependency

  keep = np.take_along_axis(cost, label[..., None], axis=-1)[..., 0].astype(np.float64)
  take = cost[..., alpha].astype(np.float64)
  possible = np.isfinite(take)
  gain = np.where(possible, take, 0) - keep  # cost of x = 1 minus that of x = 0
  changes = label != alpha
  node = np.arange(label.size).reshape(label.shape)
  graph = maxflow.GraphFloat(label.size, 2 * label.size)
  graph.add_grid_nodes(label.shape)
  for weight, (p, q) in ((right, (np.s_[:, :-1], np.s_[:, 1:])), (down, (np.s_[:-1], np.s_[1:]))):
    w00 = weight * (label[p] != label[q])
    w01, w10 = weight * changes[p], weight * changes[q]
    gain[p] += w10 - w00
    gain[q] -= w10
    pairwise = w01 + w10 - w00
    # An edge p -> q is cut where p is on the source's side (x = 0) and q is not.
    graph.add_edges(node[p].ravel(), node[q].ravel(), pairwise.ravel(), np.zeros(pairwise.size))
  # A pixel on the sink's side takes alpha: its edge from the source is cut and costs the gain.
  gain = np.where(possible, gain, np.abs(gain).sum() + 1)
  graph.add_grid_tedges(node, np.maximum(gain, 0), np.maximum(-gain, 0))
  graph.maxflow()
  return graph.get_grid_segments(node) & changes
