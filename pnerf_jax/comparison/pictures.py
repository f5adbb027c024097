"""One picture a frame: photo, truth, and what every method makes of it."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.data import colors, labels
from pnerf_jax.evaluation import panels


def write_comparison(path: Path, photo: np.ndarray, truth: np.ndarray | None,
                     methods: Sequence[tuple[str, np.ndarray]]) -> None:
  """Writes the semantics of all methods with their names; the file appears when it is whole.

  Args:
    path: of the PNG.
    photo: [H, W, 3] uint8.
    truth: [H, W] uint8 ids, or None.
    methods: title and semantic [H, W] uint8 of each.
  """
  maps = [semantic for _, semantic in methods] + ([] if truth is None else [truth])
  present = np.unique(np.concatenate([np.unique(m) for m in maps]))
  pictures = [('photo', photo),
              ('truth', None if truth is None else colors.semantic_rgb(truth))]
  for title, semantic in methods:
    scored = None if truth is None else ~np.isin(truth, labels.UNKNOWN)
    if scored is not None and scored.any():
      title += f' ({100 * np.mean(semantic[scored] == truth[scored]):.1f} % right)'
    pictures.append((title, colors.semantic_rgb(semantic)))
  panels.write_sheet(path, pictures, photo.shape[:2], present, photos=1)
