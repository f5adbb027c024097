"""Ablations: the `cpu` variant of configs/kitti360.py with one component removed.

Train and evaluate all of them and write OUT/table.md, or train one (a few minutes on 2 cores):

    bash launch/ablate.sh STREET OUT [STEPS]
    python -m pnerf_jax.train --config=configs/ablations.py:no_fixed --workdir=RUN \\
        --config.data.root=STREET

Variants, named after the loss terms of the paper:

    full           no change
    no_fixed       without L_fix, the loss of the rendered fixed semantics
    no_2d          without L_2D: the learned semantics are not trained on pseudo-labels
    no_reach       L_2D without u(r), i.e. also for labels that no primitive on the ray supports
    no_posterior   L_2D without the posterior cross-entropy of single labels
    no_3d          without L_3D: the learned semantics are not tied to the primitives
    no_depth       without stereo depth
    fixed_only     without learned semantics: the labels are those of the fixed field
    no_primitives  without primitives: density and semantics are unconstrained everywhere
    paper          the paper's network and optimiser instead of the hash grid

`paper` uses the same number of steps, rays and samples as the others. On a CPU its network (8
layers of 256 units) takes about 15 times as long and learns less per step (docs/results.md).
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
  paper = kitti360.get_config('paper')
  config.model.field = paper.model.field
  for field in ('learning_rate', 'final_lr_fraction', 'adam_eps'):
    config.optim[field] = paper.optim[field]


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
  """Return the config of a variant, one of VARIANTS."""
  if variant not in VARIANTS:
    raise ValueError(
      f'configs/ablations.py:{variant}: no such variant. Use one of {sorted(VARIANTS)}.'
    )
  config = kitti360.get_config('cpu')
  VARIANTS[variant](config)
  return config
