"""Panoptic NeRF in JAX: 3D-to-2D label transfer for urban driving scenes."""

import importlib.metadata
import pathlib
import tomllib

_PYPROJECT = pathlib.Path(__file__).parents[1] / 'pyproject.toml'  # only in a checkout

__version__ = (
  tomllib.loads(_PYPROJECT.read_text())['project']['version']
  if _PYPROJECT.is_file()
  else importlib.metadata.version('pnerf_jax')
)
