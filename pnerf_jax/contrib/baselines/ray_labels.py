"""What the rays of one image meet, as the labels that its pixels may take.

A label of an image is a pair of class and instanceId: an object is one label, however many
primitives it has, and all of a stuff class is one label. Void space (a primitive of class 0 around
a partial annotation) may be any class of the window.

Letters: H, W image size, K intervals of a ray, L labels of the image (the sky last), M primitives,
C classes of the window.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals

VOID = -2  # a slot of void space
NONE = -1  # an empty slot


@dataclasses.dataclass(frozen=True, eq=False)
class RayLabels:
  """Labels along the rays of one image.

  Attributes:
    enter: [H, W, K] float32, metres along the ray, ascending; inf where there is no interval.
    label: [H, W, K] int32, index of the interval's label, or VOID or NONE.
    semantic: [L] class ids, the sky last.
    instance: [L] instanceIds, 0 for stuff.
    of_primitive: [M] int32, label of each primitive, NONE of one that no ray meets.
  """

  enter: np.ndarray
  label: np.ndarray
  semantic: np.ndarray
  instance: np.ndarray
  of_primitive: np.ndarray

  @property
  def sky(self) -> int:
    """Index of the sky's label."""
    return len(self.semantic) - 1


def ray_labels(
  intervals: Intervals,
  moving_enter: np.ndarray,
  moving_primitive: np.ndarray,
  semantic: np.ndarray,
  instance: np.ndarray,
  class_ids: tuple[int, ...],
) -> RayLabels:
  """Collects the labels of an image.

  Args:
    intervals: [H, W, K - 1] of the static primitives.
    moving_enter, moving_primitive: [H, W] of the nearest primitive that moves past in this frame:
      metres along the ray (inf for none) and index (-1 for none).
    semantic, instance: [M] of the primitives.
    class_ids: the C classes of the window; void space may be any of them.
  """
  enter = np.concatenate([np.asarray(intervals.enter), np.asarray(moving_enter)[..., None]], -1)
  primitive = np.concatenate(
    [np.asarray(intervals.primitive), np.asarray(moving_primitive)[..., None]], -1
  )
  order = np.argsort(enter, axis=-1, kind='stable')
  enter, primitive = (np.take_along_axis(x, order, axis=-1) for x in (enter, primitive))
  semantic, instance = np.asarray(semantic, np.int64), np.asarray(instance, np.int64)
  seen = np.unique(primitive[primitive >= 0])
  in_void = seen[semantic[seen] == labels.VOID]
  seen = seen[semantic[seen] != labels.VOID]
  codes = labels.pack_instance(semantic[seen], instance[seen])
  words = np.array(class_ids if in_void.size else (), np.int64) * 1000
  known = np.setdiff1d(np.concatenate([codes, words]), [labels.SKY * 1000])
  of_primitive = np.full(len(semantic) + 1, NONE, np.int32)  # the last entry is that of index -1
  of_primitive[seen] = np.searchsorted(known, codes)
  of_primitive[in_void] = VOID
  known = np.append(known, labels.SKY * 1000).astype(np.int64)
  return RayLabels(enter, of_primitive[primitive], known // 1000, known % 1000, of_primitive[:-1])


def prior(met: RayLabels, passing: float) -> np.ndarray:
  """Probability of each label from the order of the ray's intervals alone.

  A ray that reaches an interval ends in it with probability 1 - passing, whatever its length (the
  primitives are coarse, a ray may pass beside what they bound), and in the sky if it passes all.
  Void space may hold anything and hides nothing: each class, the sky among them, is as likely in it
  as what begins after one more interval, so that what is annotated goes first.

  Args:
    met: of an image.
    passing: in (0, 1]; 1 makes all that a ray meets equally likely.

  Returns:
    [H, W, L] float32, sums to 1.
  """
  shape = met.label.shape[:2]
  rows, columns = np.indices(shape, sparse=True)
  mass = np.zeros((*shape, len(met.semantic)), np.float32)
  reached = np.ones(shape, np.float32)
  anywhere = met.instance == 0  # what void space may be: classes, but no annotated object
  for k in range(met.label.shape[-1]):
    label = met.label[..., k]
    held = np.where(label >= 0, reached, 0)
    mass[rows, columns, np.maximum(label, 0)] += held
    mass += ((label == VOID) * reached * np.float32(passing))[..., None] * anywhere
    reached = np.where(label >= 0, reached * np.float32(passing), reached)
  mass[..., met.sky] += np.where((met.label == VOID).any(axis=-1), 0, reached)
  return mass / mass.sum(axis=-1, keepdims=True)


def label_likelihood(met: RayLabels, word: np.ndarray, floor: float) -> np.ndarray:
  """How plausibly a pixel of each label is called by its pseudo label; 1 where there is none.

  Args:
    met: of an image.
    word: [H, W] uint8 pseudo labels.
    floor: plausibility of a word outside of the class's label set: the 2D network's plain errors.

  Returns:
    [H, W, L] float32.
  """
  sets = labels.compatibility_matrix(tuple(met.semantic.tolist()), merged=False)
  plausible = np.where(sets, 1, floor).astype(np.float32)
  known = ~np.isin(word, labels.UNKNOWN)
  return np.where(known[..., None], plausible.T[np.where(known, word, 0)], np.float32(1))
