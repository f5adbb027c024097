"""Generator of synthetic streets with ground truth, in KITTI-360's layout."""
