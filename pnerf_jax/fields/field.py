"""What every field answers."""

import dataclasses

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FieldOutput:
  """The field at points.

  sigma: [...] density in 1/m, not negative.
  rgb: [..., 3] colour in [0, 1].
  semantic_logits: [..., C] over the classes present in the window, before the softmax.
  """

  sigma: jax.Array
  rgb: jax.Array
  semantic_logits: jax.Array
