"""Packages of the wheel: pnerf_jax, and configs/ as pnerf_jax.configs. See pyproject.toml."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=['pnerf_jax*']), 'pnerf_jax.configs'],
  package_dir={'pnerf_jax.configs': 'configs'},
)
