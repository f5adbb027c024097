"""Config file of the default values, for commands that take the config of a run."""

from pnerf_jax.config.schema import default_config as get_config

__all__ = ['get_config']
