"""One picture per frame: image, ground truth, and the labels of every method."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.report import panels
from pnerf_jax.data import palettes


def write_comparison(
  path: Path, image: np.ndarray, truth: np.ndarray | None, methods: Sequence[tuple[str, np.ndarray]]
) -> None:
  """Write the semantic maps of all methods with their titles as PNG, atomically.

  Args:
    path: of the PNG.
    image: [H, W, 3] uint8.
    truth: [H, W] uint8 ids, or None.
    methods: title and semantic [H, W] uint8 of each.
  """
  maps = [semantic for _, semantic in methods] + ([] if truth is None else [truth])
  class_ids = np.unique(np.concatenate([np.unique(m) for m in maps]))
  pictures = [('image', image), ('truth', None if truth is None else palettes.semantic_rgb(truth))]
  pictures += [
    (panels.accuracy_caption(title, semantic, truth), palettes.semantic_rgb(semantic))
    for title, semantic in methods
  ]
  panels.save(path, panels.sheet(pictures, image.shape[:2], class_ids, num_photos=1))
