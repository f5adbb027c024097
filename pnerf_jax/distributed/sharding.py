"""One mesh over all devices of all processes: parameters replicated, rays split along 'data'."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def make_mesh(num_devices: int | None = None) -> jax.sharding.Mesh:
  """A ('data',) mesh over the first `num_devices` devices, all by default.

  Auto axes: gathers, scatters and sorts are refused or slow under explicit ones.
  """
  devices = jax.devices()[:num_devices]
  return jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def by_ray(mesh: jax.sharding.Mesh) -> NamedSharding:
  """The leading axis is split over the devices."""
  return NamedSharding(mesh, PartitionSpec('data'))


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Puts arrays that are the same in all processes on every device of the mesh."""
  sharding = replicated(mesh)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
  )


def local_mesh(mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
  """The part of a ('data',) mesh that belongs to this process; the mesh itself if all does."""
  devices = mesh.local_devices
  if len(devices) == mesh.devices.size:
    return mesh
  return jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices)


def local(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Arrays replicated over the mesh, as this process alone can use them: over its local_mesh."""
  if replicated(mesh).is_fully_addressable:
    return tree
  own = replicated(local_mesh(mesh))
  return jax.tree.map(lambda x: jax.device_put(x.addressable_data(0), own), tree)
