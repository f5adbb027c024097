"""2D semantic segmentation networks that make pseudo-labels."""
