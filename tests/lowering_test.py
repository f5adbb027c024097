"""The compiled programs of every variant, as lowered for accelerators that are not at hand.

A program is what one call of distributed.program.Program would compile: the train step of a stage,
or the renderer of an image of the street. It is traced and lowered, but neither compiled nor run.
"""

import collections
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from configs import kitti360
from pnerf_jax.distributed.program import Program
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.runs.trained_run import make_renderer
from pnerf_jax.training.field_task import FieldTask
from pnerf_jax.training.stages import refinement_start

pytestmark = pytest.mark.slow

_PLATFORMS = ('cuda', 'rocm', 'tpu')
_VARIANTS = ('default', 'cpu', 'paper', 'tiny')
# Primitives that move or convert elements; all others that return bfloat16 would compute in it.
_MOVING = {'convert_element_type', 'transpose', 'reshape', 'broadcast_in_dim', 'squeeze', 'copy'}


class _Lowered(NamedTuple):
  """A program of a variant: its name, the traced function, and the text of the lowered module."""

  name: str
  jaxpr: Any
  module: str


class _CalledError(Exception):
  """Carries the jitted function of a program and its arguments instead of a result."""


def _capture(call, *args) -> tuple[Any, tuple]:
  """Return the jitted function that a call would compile first, and its arguments."""

  def raise_called(self, *program_args):
    raise _CalledError(self._function, program_args)

  with pytest.MonkeyPatch.context() as patch, pytest.raises(_CalledError) as called:
    patch.setattr(Program, '__call__', raise_called)
    call(*args)
  return called.value.args


def _calls(run, workdir) -> Iterator[tuple[str, Any]]:
  """Yield the name, jitted function and arguments of every program of a run."""
  task = FieldTask(run)
  state = jax.eval_shape(task.init_state)
  workdir.mkdir(parents=True, exist_ok=True)
  train_step = task.build_step(workdir)
  yield 'first train step', *_capture(train_step, state, 0)
  start = refinement_start(run.config.train)
  if start < run.config.train.steps:
    yield 'refinement train step', *_capture(train_step, state, start)
  camera = dataset_camera(run.scene, 0, full=False)
  yield 'renderer', *_capture(make_renderer(run), state.params, camera)


@pytest.fixture(scope='module', params=_VARIANTS)
def lowered(request, street, tmp_path_factory) -> list[_Lowered]:
  """Return the programs of a variant on the tiny street."""
  config = kitti360.get_config(request.param)
  config.data.root = str(street)
  config.train.batch_rays = 64  # an image of the street has 840 pixels
  config.model.grid_levels = 2  # a dense and a hashed one; more repeat the same operations
  run = build_experiment(config)
  # Variants with images of one size share the cache of intervals.
  workdir = tmp_path_factory.getbasetemp() / f'lowered_{config.data.image_scale}'
  return [
    _Lowered(
      name,
      function.trace(*args).jaxpr,
      jax.export.export(function, platforms=_PLATFORMS)(*args).mlir_module(),
    )
    for name, function, args in _calls(run, workdir)
  ]


def _equations(jaxpr) -> Iterator[Any]:
  """Yield the equations of a jaxpr and of all functions that it calls."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jaxprs_in_params(equation.params):
      yield from _equations(inner)


def test_programs_lower_for_every_accelerator(lowered):
  for name, _, module in lowered:
    assert not re.search(r'\bf64|xf64|complex<', module), name
    assert set(re.findall(r'custom_call\s+@?"?([\w.$]+)', module)) == set(), name
    assert not re.search(r'stablehlo\.(send|recv|infeed|outfeed)\b', module), name


def test_products_of_float32_operands_are_float32(lowered):
  for name, jaxpr, module in lowered:
    products = [
      equation
      for equation in _equations(jaxpr)
      if equation.primitive.name in ('dot_general', 'conv_general_dilated')
    ]
    assert len(products) > 10, name
    rounded = 0
    for equation in products:
      types = [operand.aval.dtype for operand in equation.invars]
      if jnp.bfloat16 in types:
        rounded += 1
      else:
        assert equation.params['precision'] == (jax.lax.Precision.HIGHEST,) * 2, (name, equation)
    if not rounded:
      dots = re.findall(r'stablehlo\.dot_general.*', module)
      assert len(dots) >= len(products)
      assert all('precision = [HIGHEST, HIGHEST]' in dot for dot in dots), name


def test_nothing_is_summed_in_bfloat16(lowered):
  for name, jaxpr, _ in lowered:
    found = collections.Counter(
      equation.primitive.name
      for equation in _equations(jaxpr)
      if not list(jaxprs_in_params(equation.params))
      and any(getattr(out.aval, 'dtype', None) == jnp.bfloat16 for out in equation.outvars)
    )
    assert set(found) <= _MOVING, (name, found)
