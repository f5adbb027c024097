"""Training of a PSPNet: what is specific to it; training/trainer.py holds the loop.

Letters: N crops of a step, h and w the size of a crop, C classes.
"""

import logging
import pathlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pnerf_jax.contrib.segmentation import checkpoint, crops, pspnet
from pnerf_jax.contrib.segmentation.cityscapes import ID_FROM_TRAIN_ID, IGNORED
from pnerf_jax.contrib.segmentation.config import Config, parse_config
from pnerf_jax.contrib.segmentation.optimizer import make_poly_optimizer, poly_learning_rate
from pnerf_jax.data import image_io, palettes
from pnerf_jax.distributed import sharding
from pnerf_jax.distributed.program import Program
from pnerf_jax.errors import InputError
from pnerf_jax.training import train_state, trainer
from pnerf_jax.training.train_state import TrainState

_LOG = logging.getLogger(__name__)


def train(config: Config | Mapping[str, Any], workdir: pathlib.Path) -> None:
  """Train to `config.train.steps`, resuming from RUN's newest checkpoint.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """
  trainer.run(lambda: SegmentationTask(config), workdir)


class SegmentationTask:
  """Training of a PSPNet on labelled images; see trainer.Task."""

  steps_per_call = 1  # XLA runs convolutions inside a loop many times slower on a CPU

  def __init__(self, config: Config | Mapping[str, Any]):
    """Find the images and read the initial weights. Raises InputError for bad input."""
    self.mesh = sharding.make_mesh()
    self.config = parse_config(config)
    model = self.config.model
    self._images = crops.find_labelled_images(self.config.data)
    _LOG.info('%d labelled images', len(self._images))
    self._network = pspnet.PSPNet(model.width, model.blocks, model.stride)
    self._init_params = None
    if model.init_from:
      network, self._init_params = checkpoint.read(pathlib.Path(model.init_from))
      if network != self._network:
        raise InputError(
          f'{model.init_from}: has width {network.width}, blocks {network.blocks},'
          f' stride {network.stride}. Set config.model to these.'
        )
    self._optimizer = make_poly_optimizer(self.config.optim, self.config.train.steps)
    self._workdir: pathlib.Path | None = None

  def init_state(self) -> TrainState:
    """Return the initial state: parameters of config.model.init_from, or random ones."""
    if self._init_params is not None:
      params = jax.tree.map(jnp.asarray, self._init_params)
    else:
      params = pspnet.init_params(self._network, jax.random.key(self.config.train.seed))
    return train_state.init_state(params, self._optimizer, aux=None)

  def build_step(self, workdir: pathlib.Path) -> trainer.TrainStep:
    """Return the training step; a thread draws the crops of the next step meanwhile."""
    self._workdir = workdir
    settings = self.config.train
    random_crops = crops.RandomCrops(
      self._images,
      (settings.crop_height, settings.crop_width),
      (settings.scale_low, settings.scale_high),
      settings.seed,
    )
    update = Program(
      make_update(self._network, self._optimizer, self.config.loss.auxiliary, self.mesh),
      'the train step',
      '--config.train.batch_size',
    )
    executor = ThreadPoolExecutor(1)
    prefetched: dict[int, Future[tuple[np.ndarray, np.ndarray]]] = {}
    draw = lambda step: executor.submit(random_crops.batch, step, settings.batch_size)
    put = lambda x: sharding.replicate(x, self.mesh)

    def train_step(state: TrainState, step: int) -> tuple[TrainState, dict[str, jax.Array]]:
      """Make one optimiser step; return the state and the metrics."""
      batch = (prefetched.pop(step, None) or draw(step)).result()
      if step + 1 < settings.steps:
        prefetched[step + 1] = draw(step + 1)
      with jax.transfer_guard('allow'):  # intended transfers
        images, train_ids = map(put, batch)
      return update(state, images, train_ids)

    return train_step

  def metrics(self, means: dict[str, float], step: int, per_second: float) -> dict[str, float]:
    """Return the learning rate and the speed."""
    del means
    optim, settings = self.config.optim, self.config.train
    return {
      'learning_rate': float(poly_learning_rate(step, optim, settings.steps)),
      'crops_per_second': settings.batch_size * per_second,
    }

  def progress(self, scalars: dict[str, float]) -> str:
    """Return the task's part of the progress line."""
    return (
      f'{scalars["crops_per_second"]:.1f} crops/s  loss {scalars["loss"]:.4f}'
      f'  accuracy {scalars["accuracy"]:.3f}'
    )

  def write_preview(self, params: Any, folder: pathlib.Path) -> None:
    """Write RUN/pspnet.npz, and one image with its ground truth and prediction."""
    assert self._workdir is not None  # build_step comes first
    image = self._images[len(self._images) // 2]
    rgb, train_ids = crops.read(image)
    path = self._workdir / checkpoint.NAME
    checkpoint.write(path, self._network, jax.device_get(params))
    predicted, _ = checkpoint.load(path)(rgb[None])
    labels = [ID_FROM_TRAIN_ID[train_ids], predicted[0]]
    panel = np.concatenate([rgb, *map(palettes.semantic_rgb, labels)])
    image_io.write_rgb(folder / image.rgb.name, panel)


def loss_terms(logits: tuple[jax.Array, jax.Array], train_ids: jax.Array) -> dict[str, jax.Array]:
  """Return the mean cross-entropy of both heads and the accuracy, over pixels with a class.

  Args:
    logits: [N, h, w, C] of the main and of the auxiliary head.
    train_ids: [N, h, w] uint8, 255 = no class.
  """
  known = train_ids != IGNORED
  target = jnp.where(known, train_ids, 0).astype(jnp.int32)[..., None]
  count = jnp.maximum(known.sum(), 1)

  def cross_entropy(x):
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(x), target, axis=-1)[..., 0]
    return -jnp.sum(jnp.where(known, log_prob, 0.0)) / count

  correct = (jnp.argmax(logits[0], -1) == train_ids) & known
  return {
    'main': cross_entropy(logits[0]),
    'auxiliary': cross_entropy(logits[1]),
    'accuracy': correct.sum() / count,
  }


def make_update(
  network: pspnet.PSPNet,
  optimizer: optax.GradientTransformation,
  auxiliary_weight: float,
  mesh: jax.sharding.Mesh,
) -> Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
  """Return `update(state, images [N, h, w, 3], train_ids [N, h, w]) -> state, metrics`, jitted.

  Args:
    network: the network to train.
    optimizer: the optimiser of its state.
    auxiliary_weight: weight of the auxiliary head's loss.
    mesh: ('data',); the crops are divided over it.
  """

  @partial(jax.jit, out_shardings=sharding.replicated(mesh), donate_argnums=0)
  def update(state, images, train_ids):
    """Update on crops [N, h, w, 3] with train ids [N, h, w]; return the state and the terms."""
    images, train_ids = (
      jax.lax.with_sharding_constraint(x, sharding.by_ray(mesh)) for x in (images, train_ids)
    )

    def loss(params):
      terms = loss_terms(network.apply({'params': params}, images), train_ids)
      return terms['main'] + auxiliary_weight * terms['auxiliary'], terms

    (value, terms), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    return train_state.apply_gradients(state, grads, optimizer, None), {'loss': value, **terms}

  return update
