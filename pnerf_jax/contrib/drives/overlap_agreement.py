"""Agreement of two windows in the images that both label.

Letters: H, W size of an image.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels


@dataclasses.dataclass(frozen=True)
class OverlapAgreement:
  """Pixel counts, accumulated over images.

  Attributes:
    pixels: all pixels.
    same_class: pixels with the same class in both windows.
    thing_pixels: pixels with a thing class in at least one window.
    same_instance: thing pixels with the same class and instance in both windows.
    images: number of images compared.
  """

  pixels: int = 0
  same_class: int = 0
  thing_pixels: int = 0
  same_instance: int = 0
  images: int = 0

  def merge(self, other: 'OverlapAgreement') -> 'OverlapAgreement':
    """Return the sums of the counts of two accumulators."""
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
    return OverlapAgreement(*(a + b for a, b in pairs))

  def counts(self) -> dict[str, int]:
    """Return the counts by name."""
    return dataclasses.asdict(self)

  def compute(self) -> dict[str, float | int | None]:
    """Return the agreement as fractions in [0, 1], None without pixels, and the image count."""
    return {
      'images': self.images,
      'semantic': self.same_class / self.pixels if self.pixels else None,
      'instance': self.same_instance / self.thing_pixels if self.thing_pixels else None,
    }


def compare(
  semantic: tuple[np.ndarray, np.ndarray], instance: tuple[np.ndarray, np.ndarray]
) -> OverlapAgreement:
  """Count the agreement of two label maps of one image.

  Args:
    semantic: [H, W] class ids, one map per window.
    instance: [H, W] id * 1000 + instanceId, one map per window.
  """
  is_thing = labels.IS_THING[semantic[0]] | labels.IS_THING[semantic[1]]
  same_class = semantic[0] == semantic[1]
  return OverlapAgreement(
    pixels=same_class.size,
    same_class=int(same_class.sum()),
    thing_pixels=int(is_thing.sum()),
    same_instance=int((is_thing & same_class & (instance[0] == instance[1])).sum()),
    images=1,
  )
