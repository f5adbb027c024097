"""The authors' archive and released weights of Panoptic NeRF."""
