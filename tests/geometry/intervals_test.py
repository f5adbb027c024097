"""The nearest intervals of rays against a sorted list."""

import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry import intervals


def test_add_interval_keeps_the_nearest_and_counts_the_rest():
  rng = np.random.default_rng(0)
  enter = rng.integers(1, 8, (12, 40)).astype(np.float32)  # several begin together
  enter[rng.random(enter.shape) < 0.4] = np.inf
  leave = enter + rng.uniform(0.5, 2, enter.shape).astype(np.float32)
  filled = intervals.empty_intervals(5, 40)
  for m in range(12):
    filled = intervals.add_interval(
      filled, jnp.asarray(enter[m]), jnp.asarray(leave[m]), jnp.int32(m)
    )
  for ray in range(40):
    there = [(enter[m, ray], m, leave[m, ray]) for m in range(12) if np.isfinite(enter[m, ray])]
    kept = sorted(there)[:5] + [(np.inf, -1, np.inf)] * max(0, 5 - len(there))
    found = zip(filled.enter[:, ray], filled.primitive[:, ray], filled.exit[:, ray])
    assert [tuple(map(float, x)) for x in found] == [tuple(map(float, x)) for x in kept]
    assert filled.num_truncated[ray] == max(0, len(there) - 5)
