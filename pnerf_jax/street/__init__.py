"""A synthetic street in KITTI-360's layout, with ground truth."""
