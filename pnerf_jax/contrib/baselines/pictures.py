"""One picture a frame: photo, truth, and what every method makes of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.data import palettes
from pnerf_jax.evaluation.report import panels


def write_comparison(
  path: Path, photo: np.ndarray, truth: np.ndarray | None, methods: Sequence[tuple[str, np.ndarray]]
) -> None:
  """Writes the semantics of all methods with their names; the file appears when it is whole.

  Args:
    path: of the PNG.
    photo: [H, W, 3] uint8.
    truth: [H, W] uint8 ids, or None.
    methods: title and semantic [H, W] uint8 of each.
  """
  maps = [semantic for _, semantic in methods] + ([] if truth is None else [truth])
  present = np.unique(np.concatenate([np.unique(m) for m in maps]))
  pictures = [('photo', photo), ('truth', None if truth is None else palettes.semantic_rgb(truth))]
  pictures += [
    (panels.scored_caption(title, semantic, truth), palettes.semantic_rgb(semantic))
    for title, semantic in methods
  ]
  panels.write_sheet(path, pictures, photo.shape[:2], present, photos=1)
