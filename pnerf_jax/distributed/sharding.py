"""Mesh over all devices of all processes: parameters are replicated, rays sharded along 'data'."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pnerf_jax.distributed import devices


def make_mesh(num_devices: int | None = None) -> jax.sharding.Mesh:
  """Return a ('data',) mesh over the first `num_devices` devices, by default all.

  Its axes are Auto, since explicit axes reject or slow down gathers, scatters and sorts.
  """
  devices.fix_options()
  return _mesh_over(jax.devices()[:num_devices])


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Return the sharding with the whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def by_ray(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Return the sharding that splits the leading axis over the devices."""
  return NamedSharding(mesh, PartitionSpec('data'))


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Put arrays that are equal in all processes on every device of the mesh."""
  sharding = replicated(mesh)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
  )


def local_mesh(mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
  """Return the part of a ('data',) mesh that belongs to this process."""
  own = mesh.local_devices
  return mesh if len(own) == mesh.devices.size else _mesh_over(own)


def local(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Return arrays replicated over the mesh as arrays replicated over its local_mesh."""
  if replicated(mesh).is_fully_addressable:
    return tree
  sharding = replicated(local_mesh(mesh))
  return jax.tree.map(lambda x: jax.device_put(x.addressable_data(0), sharding), tree)


def _mesh_over(selected: Any) -> jax.sharding.Mesh:
  return jax.make_mesh((len(selected),), ('data',), axis_types=(AxisType.Auto,), devices=selected)
