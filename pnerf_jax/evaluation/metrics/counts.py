"""Sums over images, from which a metric is computed."""

import dataclasses
from typing import Self


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
  """Base of the sums of one metric; every field is a number or an array."""

  def merge(self, other: Self) -> Self:
    """Return the sums over the images of both."""
    sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
    return dataclasses.replace(self, **sums)
