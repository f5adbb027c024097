"""The recipe with one part taken out at a time; names are those of the terms in the papers.

    bash launch/ablate.sh STREET OUT [STEPS]     trains and scores all of them, writes OUT/table.md
    python -m pnerf_jax.train --config=configs/ablations.py:no_fixed --workdir=RUN \\
        --config.data.root=STREET                trains one

Each is configs/kitti360.py:cpu but for the fields named here.

    full           nothing taken out
    no_fixed       without L_fix: labels do not shape the geometry through the primitives
    no_2d          without L_2D: the learned field sees no pseudo label
    no_reach       L_2D without u(r): also where the label names no class that the ray meets
    no_posterior   L_2D without what one label and the sizes of the primitives say by Bayes' rule
    no_3d          without L_3D: the learned field is not tied to the primitives
    no_depth       without stereo depth
    fixed_only     no learned semantics: labels are those of the fixed field
    no_primitives  no primitive: density and the learned field are free everywhere
    paper          the paper's network and its optimiser instead of the hash grid

`paper` makes the same number of steps, of the same rays and samples, as all others, which takes
it some 15 times as long on a CPU (8 layers of 256 instead of a table and 2 of 64), and learns less in
each (docs/results.md).
"""

import ml_collections

from configs import kitti360


def _no_fixed(config: ml_collections.ConfigDict) -> None:
  config.loss.semantic_2d_fixed = 0.0


def _no_2d(config: ml_collections.ConfigDict) -> None:
  config.loss.semantic_2d = 0.0


def _no_reach(config: ml_collections.ConfigDict) -> None:
  config.loss.mask_unsupported_labels = False


def _no_posterior(config: ml_collections.ConfigDict) -> None:
  config.loss.posterior_weight_warmup = config.loss.posterior_weight = 0.0


def _no_3d(config: ml_collections.ConfigDict) -> None:
  config.loss.semantic_3d = 0.0


def _no_depth(config: ml_collections.ConfigDict) -> None:
  config.loss.depth = 0.0


def _fixed_only(config: ml_collections.ConfigDict) -> None:
  config.loss.semantic_2d = 0.0
  config.loss.semantic_3d = 0.0
  config.eval.label_field = 'fixed'


def _no_primitives(config: ml_collections.ConfigDict) -> None:
  config.data.primitives = 'none'
  config.scene.unannotated_space = 'void'


def _paper(config: ml_collections.ConfigDict) -> None:
  theirs = kitti360.get_config('paper')
  config.model.field = theirs.model.field
  for field in ('learning_rate', 'final_lr_fraction', 'adam_eps'):
    config.optim[field] = theirs.optim[field]


VARIANTS = {
  'full': lambda config: None,
  'no_fixed': _no_fixed,
  'no_2d': _no_2d,
  'no_reach': _no_reach,
  'no_posterior': _no_posterior,
  'no_3d': _no_3d,
  'no_depth': _no_depth,
  'fixed_only': _fixed_only,
  'no_primitives': _no_primitives,
  'paper': _paper,
}


def get_config(variant: str = 'full') -> ml_collections.ConfigDict:
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(
      f'configs/ablations.py:{variant}: no such variant. Use one of {sorted(VARIANTS)}.'
    )
  config = kitti360.get_config('cpu')
  VARIANTS[variant](config)
  return config
