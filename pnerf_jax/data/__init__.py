"""Files of KITTI-360 to one window in memory."""
