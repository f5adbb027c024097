"""The synthetic street with ground truth."""
