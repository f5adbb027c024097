"""Preparation of a window: stereo depth, labels of a 2D network, checks, exports."""
