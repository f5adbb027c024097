"""The labels that the pixels of an image may take, from the primitives along their rays.

A label of an image is a pair of class and instanceId: an object is one label, regardless of its
number of primitives, and a stuff class is one label. Free space (a primitive of class 0 around a
partial annotation) may hold any class of the window.

Letters: H, W image size, K intervals of a ray, L labels of the image (the sky last), M primitives,
C classes of the window.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals

FREE_SPACE = -2
NONE = -1  # unused interval


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RayLabels:
  """Labels along the rays of one image.

  Attributes:
    enter: [H, W, K] float32, metres along the ray, ascending; inf in unused intervals.
    label: [H, W, K] int32, index of the interval's label, or FREE_SPACE or NONE.
    semantic: [L] class ids.
    instance: [L] instanceIds, 0 for stuff.
    label_of_primitive: [M] int32, NONE for a primitive on no ray.
  """

  enter: np.ndarray
  label: np.ndarray
  semantic: np.ndarray
  instance: np.ndarray
  label_of_primitive: np.ndarray

  @property
  def sky(self) -> int:
    """Index of the sky's label."""
    return len(self.semantic) - 1


def ray_labels(
  intervals: Intervals,
  moving: tuple[np.ndarray, np.ndarray],
  semantic: np.ndarray,
  instance: np.ndarray,
  class_ids: tuple[int, ...],
) -> RayLabels:
  """Collect the labels of an image.

  Args:
    intervals: [H, W, K - 1] of the static primitives.
    moving: entry [H, W] into the nearest moving primitive, metres along the ray (inf for none), and
      its index [H, W] (-1 for none).
    semantic: [M] class ids of the primitives.
    instance: [M] instanceIds of the primitives.
    class_ids: the C classes of the window.
  """
  enter, primitive = (
    np.concatenate([np.asarray(static), np.asarray(nearest)[..., None]], -1)
    for static, nearest in zip((intervals.enter, intervals.primitive), moving)
  )
  order = np.argsort(enter, axis=-1, kind='stable')
  enter, primitive = (np.take_along_axis(x, order, axis=-1) for x in (enter, primitive))
  semantic, instance = np.asarray(semantic, np.int64), np.asarray(instance, np.int64)
  present = np.unique(primitive[primitive >= 0])
  free_space = present[semantic[present] == labels.VOID]
  objects = present[semantic[present] != labels.VOID]
  codes = labels.pack_instance(semantic[objects], instance[objects])
  stuff = np.array(class_ids if free_space.size else (), np.int64) * 1000
  sky = labels.SKY * 1000
  candidates = np.setdiff1d(np.concatenate([codes, stuff]), [sky])
  label_of_primitive = np.full(len(semantic) + 1, NONE, np.int32)  # the last entry: index -1
  label_of_primitive[objects] = np.searchsorted(candidates, codes)
  label_of_primitive[free_space] = FREE_SPACE
  candidates = np.append(candidates, sky).astype(np.int64)
  return RayLabels(
    enter=enter,
    label=label_of_primitive[primitive],
    semantic=candidates // 1000,
    instance=candidates % 1000,
    label_of_primitive=label_of_primitive[:-1],
  )


def nearest_label(rays: RayLabels, depth_per_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the label of every ray's first interval outside free space, or the sky.

  Args:
    rays: labels along the rays.
    depth_per_t: [H, W], metres of planar depth per metre along the ray.

  Returns:
    Label index [H, W], and planar depth of entry [H, W] float32 in metres, 0 for the sky and the
    near bound for a camera inside a primitive.
  """
  first = np.argmax(rays.label >= 0, axis=-1)[..., None]
  label = np.take_along_axis(rays.label, first, axis=-1)[..., 0]
  hit = label >= 0
  enter = np.take_along_axis(rays.enter, first, axis=-1)[..., 0]
  depth = np.where(hit, np.where(hit, enter, 0) * depth_per_t, 0).astype(np.float32)
  return np.where(hit, label, rays.sky), depth


def label_prior(rays: RayLabels, pass_through_prob: float) -> np.ndarray:
  """Return the probability of each label from the order of the ray's intervals: [H, W, L] float32.

  A ray that reaches an interval ends in it with probability 1 - pass_through_prob, regardless of
  its length (primitives are coarse, so a ray may miss the object that they bound); a ray that ends
  in none ends in the sky. Free space does not occlude: each class, including the sky, is as
  probable in it as a label that begins after one more interval, so that annotated objects are
  preferred.

  Args:
    rays: labels along the rays.
    pass_through_prob: in (0, 1]; 1 makes all labels on a ray equally probable.
  """
  height, width = rays.label.shape[:2]
  rows, columns = np.indices((height, width), sparse=True)
  mass = np.zeros((height, width, len(rays.semantic)), np.float32)
  transmittance = np.ones((height, width), np.float32)
  is_stuff = rays.instance == 0  # free space may hold classes, but no annotated object
  passes = np.float32(pass_through_prob)
  for k in range(rays.label.shape[-1]):
    label = rays.label[..., k]
    mass[rows, columns, np.maximum(label, 0)] += np.where(label >= 0, transmittance, 0)
    mass += ((label == FREE_SPACE) * transmittance * passes)[..., None] * is_stuff
    transmittance = np.where(label >= 0, transmittance * passes, transmittance)
  mass[..., rays.sky] += np.where((rays.label == FREE_SPACE).any(axis=-1), 0, transmittance)
  return mass / mass.sum(axis=-1, keepdims=True)


def label_likelihood(rays: RayLabels, pseudo_label: np.ndarray, floor: float) -> np.ndarray:
  """Return the likelihood of the pseudo-labels given each label, 1 for unknown: [H, W, L] float32.

  Args:
    rays: labels along the rays.
    pseudo_label: [H, W] uint8 ids.
    floor: likelihood of a pseudo-label that is incompatible with the class.
  """
  compatible = labels.compatibility_matrix(tuple(rays.semantic.tolist()))
  likelihood = np.where(compatible, 1, floor).astype(np.float32)
  known = ~np.isin(pseudo_label, labels.UNKNOWN)
  return np.where(known[..., None], likelihood.T[np.where(known, pseudo_label, 0)], np.float32(1))
