"""Whole images: semantic, instance and panoptic labels with confidence."""
