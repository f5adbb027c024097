"""The two stages of a field's training: geometry and labels first, then refinement.

Pseudo-labels and stereo depth, both dilated at edges, place the objects in the first stage. In the
refinement stage they are down-weighted, semantic losses no longer back-propagate to the density,
and pixels are supersampled, so that the images decide where edges are.
"""

from pnerf_jax.config.schema import LOSS_TERMS, Config, ModelConfig, TrainConfig
from pnerf_jax.rendering.paper_rendering import PaperOptions
from pnerf_jax.rendering.rays import RenderOptions
from pnerf_jax.training.step import StepOptions


def refinement_start(train: TrainConfig) -> int:
  """Return the step at which the refinement stage begins, a multiple of steps_per_call."""
  calls = train.steps // train.steps_per_call
  return (calls - round(train.refine_fraction * calls)) * train.steps_per_call


def stage_options(
  config: Config, class_ids: tuple[int, ...], *, far: float, refinement: bool
) -> StepOptions:
  """Return the settings of a stage.

  Args:
    config: of the run.
    class_ids: ids of the C classes present in the window.
    far: far bound of the window, metres.
    refinement: whether it is the refinement stage.
  """
  loss, train = config.loss, config.train
  weights = {name: float(getattr(loss, name)) for name in LOSS_TERMS}
  if refinement:
    weights['depth'] *= loss.refine_depth_scale
    weights['semantic_2d'] *= loss.refine_semantic_2d_scale
  columns = tuple(column for column, i in enumerate(class_ids) if i in loss.depth_classes)
  return StepOptions(
    render=_render_options(config.model, refinement),
    paper=None
    if loss.form == 'default'
    else PaperOptions(num_samples=config.model.num_samples, far=far),
    loss=loss,
    weights=tuple(weights.items()),
    depth_columns=columns if loss.depth_classes else None,
    batch_rays=train.batch_rays,
    supersampling=train.refine_supersampling if refinement else 1,
    importance_fraction=train.importance_fraction,
    one_image=train.rays_from == 'image',
  )


def _render_options(model: ModelConfig, refinement: bool) -> RenderOptions:
  """Return the options of rendering in a stage of training."""
  return RenderOptions(
    num_samples=model.num_samples,
    num_coarse_samples=model.num_coarse_samples,
    uniform_fraction=model.uniform_fraction,
    per_interval_fraction=model.per_interval_fraction,
    mask_semantics=model.mask_semantics,
    semantics_grad_to_density=not refinement,
  )
