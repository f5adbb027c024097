"""One mesh over all devices: parameters replicated, rays split along 'data'."""
import jax
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
