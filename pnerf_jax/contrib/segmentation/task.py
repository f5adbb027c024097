"""What training does with a PSPNet; the machinery around it is trainer.py's.

Letters: N crops of a step, h and w a crop's size, C classes.
"""

import functools
import logging
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from pnerf_jax.contrib.segmentation import checkpoint, crops, pspnet
from pnerf_jax.contrib.segmentation.cityscapes import IDS, IGNORED
from pnerf_jax.contrib.segmentation.config import parse_config
from pnerf_jax.data import image_io, palettes
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.training import train_state as states
from pnerf_jax.training import trainer

_LOG = logging.getLogger(__name__)


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains to `config.train.steps`, resuming from RUN's newest checkpoint.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """
  trainer.run(lambda: SegmenterTask(config), workdir)


class SegmenterTask:
  """Trains a PSPNet on labelled photos; see trainer.Task."""

  steps_per_call = 1  # convolutions in a loop of XLA's run many times slower on a CPU

  def __init__(self, config: ml_collections.ConfigDict):
    """Finds the photos, and the weights to start from. Raises InputError for bad input."""
    self.mesh = sharding.make_mesh()
    self.config = config = parse_config(config, self.mesh.devices.size)
    model, train_, optim = config.model, config.train, config.optim
    self._photos = crops.find_photos(config.data)
    _LOG.info('%d labelled photos', len(self._photos))
    self._network = pspnet.PSPNet(model.width, model.blocks, model.stride)
    self._start = None
    if model.init_from:
      network, self._start = checkpoint.read(pathlib.Path(model.init_from))
      if network != self._network:
        raise InputError(
          f'{model.init_from}: is of width {network.width}, blocks {network.blocks},'
          f' stride {network.stride}. Set config.model to these.'
        )
    self._schedule = functools.partial(
      states.poly_rate,
      rate=optim.learning_rate,
      power=optim.poly_power,
      steps=train_.steps,
      warmup=optim.warmup_steps,
    )
    self._optimizer = states.make_poly_optimizer(
      optim.learning_rate, optim.poly_power, train_.steps, optim.warmup_steps, optim.weight_decay
    )
    self._workdir = None

  def fresh_state(self) -> states.TrainState:
    """Parameters from config.model.init_from, or from the seed."""
    if self._start is not None:
      params = jax.tree.map(jnp.asarray, self._start)
    else:
      params = pspnet.init_params(self._network, jax.random.key(self.config.train.seed))
    return states.init_state(params, self._optimizer, None)

  def prepare(self, workdir: pathlib.Path) -> trainer.Dispatch:
    """The compiled step; crops of the next one are drawn while the devices work."""
    self._workdir = workdir
    settings = self.config.train
    drawn = crops.Crops(
      self._photos,
      (settings.crop_height, settings.crop_width),
      (settings.scale_low, settings.scale_high),
      settings.seed,
    )
    one_step = make_step(self._network, self._optimizer, self.config.loss.auxiliary, self.mesh)
    artist, coming = ThreadPoolExecutor(1), {}

    def dispatch(state, step):
      """One step: the state after it and the metrics; `step` is the state's."""
      batch = (
        coming.pop(step, None) or artist.submit(drawn.batch, step, settings.batch_size)
      ).result()
      if step + 1 < settings.steps:
        coming[step + 1] = artist.submit(drawn.batch, step + 1, settings.batch_size)
      place = lambda x: jax.make_array_from_callback(
        x.shape, sharding.by_ray(self.mesh), x.__getitem__
      )
      with jax.transfer_guard('allow'):  # these transfers are meant
        images, train_ = map(place, batch)
      return one_step(state, images, train_)

    return dispatch

  def scalars(self, metrics: dict[str, float], step: int, per_second: float) -> dict[str, float]:
    """Rate and speed."""
    del metrics
    return {
      'learning_rate': float(self._schedule(step)),
      'crops_per_second': self.config.train.batch_size * per_second,
    }

  def preview(self, params: Any, folder: pathlib.Path) -> None:
    """Photo, truth and answer of the photo in the middle; and RUN/pspnet.npz."""
    photo = self._photos[len(self._photos) // 2]
    rgb, truth = crops.read(photo)
    path = self._workdir / checkpoint.NAME
    checkpoint.write(path, self._network, jax.device_get(params))
    ids, _ = checkpoint.load(path)(rgb[None])
    known = np.append(IDS, np.zeros(256 - len(IDS), np.uint8))[truth]
    panel = np.concatenate([rgb, palettes.semantic_rgb(known), palettes.semantic_rgb(ids[0])])
    image_io.write_rgb(folder / photo.rgb.name, panel)


def loss_terms(logits: tuple[jax.Array, jax.Array], train_: jax.Array) -> dict[str, jax.Array]:
  """Mean cross-entropy of both heads over the pixels with a class, and the share named right.

  Args:
    logits: [N, h, w, C] of the main and of the auxiliary head.
    train_: [N, h, w] uint8, 255 = no class.
  """
  known = train_ != IGNORED
  target = jnp.where(known, train_, 0).astype(jnp.int32)[..., None]
  count = jnp.maximum(known.sum(), 1)

  def entropy(x):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(x), target, axis=-1)[..., 0]
    return -jnp.sum(jnp.where(known, chosen, 0.0)) / count

  right = (jnp.argmax(logits[0], -1) == train_) & known
  return {
    'main': entropy(logits[0]),
    'auxiliary': entropy(logits[1]),
    'accuracy': right.sum() / count,
  }


def make_step(
  network: pspnet.PSPNet, optimizer: states.Optimizer, auxiliary: float, mesh: jax.sharding.Mesh
):
  """`step(state, images [N, h, w, 3], train [N, h, w]) -> state, metrics`, jitted.

  Args:
    network: to be trained.
    optimizer: of make_poly_optimizer.
    auxiliary: weight of the auxiliary head's loss.
    mesh: ('data',); the crops are split over it.
  """

  @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh), donate_argnums=0)
  def step(state, images, train_):
    def total(params):
      terms = loss_terms(network.apply({'params': params}, images), train_)
      return terms['main'] + auxiliary * terms['auxiliary'], terms

    (value, terms), grads = jax.value_and_grad(total, has_aux=True)(state.params)
    return states.apply_gradients(state, grads, optimizer, None), {'loss': value, **terms}

  return step
