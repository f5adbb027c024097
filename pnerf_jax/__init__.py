"""Panoptic NeRF in JAX: 3D-to-2D label transfer for urban driving scenes."""
