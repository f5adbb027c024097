"""Programs: compiled once, visibly, within the memory, and outside the training clock."""

import time

import jax
import pytest

from pnerf_jax.distributed import devices, program
from pnerf_jax.errors import InputError
from pnerf_jax.training import trainer


def test_a_program_is_compiled_on_its_first_call_which_is_logged(caplog):
  double = program.Program(jax.jit(lambda x: 2 * x), 'doubling', '--size')
  with caplog.at_level('INFO', 'pnerf_jax'):
    assert [float(double(x)) for x in (3.0, 4.0)] == [6.0, 8.0]
  assert [record.getMessage() for record in caplog.records] == [
    'compiling doubling; this may take a minute'
  ]


def test_compilation_is_outside_the_training_clock():
  class Slow:
    def lower(self, *_):
      time.sleep(0.3)
      return jax.jit(lambda x: x).lower(1.0)

  before, start = trainer._training_clock(), time.perf_counter()
  program.Program(Slow(), 'a program', '--size')(1.0)
  assert time.perf_counter() - start > 0.3 > 0.2 > trainer._training_clock() - before


def test_a_program_that_does_not_fit_is_refused_in_one_line(monkeypatch):
  monkeypatch.setattr(devices, 'free_memory', lambda _: 1000)
  large = program.Program(jax.jit(lambda x: (x @ x) @ (x @ x + 1)), 'the step', '--config.a.b')
  with pytest.raises(
    InputError, match=r'^the step: needs .* 0.0 GB are free. Lower --config.a.b.$'
  ):
    large(jax.numpy.ones((100, 100)))


@pytest.mark.parametrize('free, fits', [(999, False), (1000, True), (None, True), (-5, False)])
def test_check_memory_compares_with_the_free_memory(monkeypatch, free, fits):
  monkeypatch.setattr(devices, 'free_memory', lambda _: free)
  if fits:
    program.check_memory(1000, 'x', '--y')
  else:
    with pytest.raises(InputError, match='^x: needs 0.0 GB on each device, where 0.0 GB are free'):
      program.check_memory(1000, 'x', '--y')
