"""Import of the data and weights that were released with Panoptic NeRF (Fu et al., 3DV 2022)."""
