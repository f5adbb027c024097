"""The label table against the official one, and compatible labels."""

import numpy as np
import pytest

from pnerf_jax.data import labels

_ROAD, _SIDEWALK, _PARKING, _BUILDING, _SKY, _CAR, _BOX = 7, 8, 9, 11, 23, 26, 41
_CLASS_IDS = (_ROAD, _SIDEWALK, _PARKING, _BUILDING, _CAR, _BOX, _SKY)


def test_table_matches_the_official_one():
  official = pytest.importorskip('kitti360scripts.helpers.labels')
  ours = {label.name: label for label in labels.LABELS}
  assert len(ours) == len(labels.LABELS) == len(official.labels)
  for row in official.labels:
    label = ours[row.name]
    assert (
      label.id,
      label.kitti_id,
      label.train_id,
      label.category,
      label.has_instances,
      label.ignore_in_eval,
      label.ignore_in_instance_eval,
      label.color,
    ) == (
      row.id,
      row.kittiId,
      row.trainId,
      row.category,
      row.hasInstances,
      row.ignoreInEval,
      row.ignoreInInst,
      row.color,
    )


def test_ids_are_unique():
  assert sorted(labels.BY_ID) == list(range(labels.NUM_IDS))
  assert sorted(labels.ID_FROM_KITTI_ID) == list(range(1, 38))
  assert len(set(labels.ID_FROM_KITTI_ID.values())) == 37


def test_pack_instance():
  packed = labels.pack_instance(np.array([[26, 26, 7, 11, 44]]), np.array([[5, 0, 9, 999, 3]]))
  assert packed.dtype == np.uint16
  np.testing.assert_array_equal(packed, [[26005, 26000, 7000, 11999, 44000]])


def test_colors_of_other_ids_are_black():
  assert labels.COLORS.shape == (256, 3) and not labels.COLORS[labels.NUM_IDS :].any()
  assert labels.COLORS[7].tolist() == [128, 64, 128]


@pytest.mark.parametrize(
  'name, expected',
  [
    ('parking', {'parking', 'road', 'sidewalk'}),
    ('garage', {'garage', 'building'}),
    ('gate', {'gate', 'fence'}),
    ('smallpole', {'smallpole', 'pole'}),
    ('lamp', {'lamp', 'pole'}),
    ('car', {'car'}),
    ('sky', {'sky'}),
    ('vegetation', {'vegetation'}),
  ],
)
def test_compatible_labels(name, expected):
  found = labels.compatible_labels(labels.BY_NAME[name].id)
  assert {labels.BY_ID[i].name for i in found} == expected and len(found) == len(expected)


def test_compatible_labels_of_a_class_without_counterpart_exclude_only_sky_and_void():
  found = labels.compatible_labels(labels.BY_NAME['trash bin'].id)
  assert labels.SKY not in found and 0 not in found and labels.BY_NAME['car'].id in found
  assert labels.BY_NAME['trash bin'].id in found


def test_compatible_labels_start_with_the_class():
  for i in range(labels.NUM_IDS):
    assert labels.compatible_labels(i)[0] == i and len(set(labels.compatible_labels(i))) == len(
      labels.compatible_labels(i)
    )


def test_compatibility_matrix_parking():
  row = labels.compatibility_matrix(_CLASS_IDS)[2]
  assert row.shape == (45,)
  np.testing.assert_array_equal(np.flatnonzero(row), [_ROAD, _SIDEWALK, _PARKING])


def test_compatibility_matrix_box():
  row = labels.compatibility_matrix(_CLASS_IDS)[5]
  np.testing.assert_array_equal(np.flatnonzero(~row), [0, _SKY])


def test_compatibility_matrix_cityscapes_classes():
  matrix = labels.compatibility_matrix(_CLASS_IDS)
  for row, class_id in enumerate(_CLASS_IDS):
    if class_id in (_ROAD, _SIDEWALK, _BUILDING, _CAR, _SKY):
      np.testing.assert_array_equal(np.flatnonzero(matrix[row]), [class_id])


def test_classes_are_merged_as_in_the_published_code():
  # 27-31 -> 26, 39 -> 41, 9 -> 8, 35 -> 13; all others -> themselves.
  expected = {27: 26, 28: 26, 29: 26, 30: 26, 31: 26, 39: 41, 9: 8, 35: 13}
  for class_id in range(45):
    assert labels.paper_merged_class(class_id) == expected.get(class_id, class_id)
