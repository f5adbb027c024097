"""Where two windows label the same images: how far they agree.

Letters: H, W size of an image.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels


@dataclasses.dataclass(frozen=True)
class OverlapAgreement:
  """Counts over images, to be divided once.

  Attributes:
    pixels, same: all pixels; those with one class in both windows.
    things, same_things: pixels that either window calls a thing; those of them with one class and
      one instance in both.
    images: how many images were compared.
  """

  pixels: int = 0
  same: int = 0
  things: int = 0
  same_things: int = 0
  images: int = 0

  def merge(self, other: 'OverlapAgreement') -> 'OverlapAgreement':
    """The counts of both."""
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
    return OverlapAgreement(*(ours + theirs for ours, theirs in pairs))

  def compute(self) -> dict[str, float | int | None]:
    """Shares in [0, 1], None where there is nothing to compare, and the number of images."""
    return {
      'images': self.images,
      'semantic': self.same / self.pixels if self.pixels else None,
      'instance': self.same_things / self.things if self.things else None,
    }


def compare(
  semantic: tuple[np.ndarray, np.ndarray], instance: tuple[np.ndarray, np.ndarray]
) -> OverlapAgreement:
  """Counts of one image.

  Args:
    semantic: [H, W] class ids of both windows.
    instance: [H, W] id * 1000 + instanceId of both windows.
  """
  thing = labels.IS_THING[semantic[0]] | labels.IS_THING[semantic[1]]
  same = semantic[0] == semantic[1]
  return OverlapAgreement(
    pixels=same.size,
    same=int(same.sum()),
    things=int(thing.sum()),
    same_things=int((thing & same & (instance[0] == instance[1])).sum()),
    images=1,
  )
