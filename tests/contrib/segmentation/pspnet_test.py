"""Parts of PSPNet against slow loops, and its predictions against softmax on its own logits."""

import io
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.contrib.segmentation import checkpoint, cityscapes, networks, pspnet
from pnerf_jax.data import labels
from pnerf_jax.errors import InputError

TINY = pspnet.PSPNet(width=4, blocks=1, stride=8)


def random_params(network: pspnet.PSPNet, bias_scale: float = 0.0) -> dict:
  """Return parameters distributed as by `init_params`, without compiling it."""
  shapes = jax.eval_shape(lambda: pspnet.init_params(network, jax.random.key(0)))
  rng = np.random.default_rng(0)

  def draw(x):
    scale = (2 / np.prod(x.shape[:-1])) ** 0.5 if x.ndim > 1 else bias_scale
    return jnp.asarray(rng.normal(0, scale, x.shape), x.dtype)

  return jax.tree.map(draw, shapes)


def test_class_tables_follow_cityscapes_train_ids():
  # In the order of Cityscapes' train ids.
  names = [
    'road',
    'sidewalk',
    'building',
    'wall',
    'fence',
    'pole',
    'traffic light',
    'traffic sign',
    'vegetation',
    'terrain',
    'sky',
    'person',
    'rider',
    'car',
    'truck',
    'bus',
    'train',
    'motorcycle',
    'bicycle',
  ]
  assert [labels.BY_ID[i].name for i in cityscapes.ID_FROM_TRAIN_ID[:19]] == names
  assert not cityscapes.ID_FROM_TRAIN_ID[19:].any()
  for train_id, name in enumerate(names):
    assert cityscapes.TRAIN_ID_FROM_ID[labels.BY_NAME[name].id] == train_id
  annotated_as = {'garage': 'building', 'gate': 'fence', 'smallpole': 'pole', 'lamp': 'pole'}
  for name, expected in annotated_as.items():
    assert names[cityscapes.TRAIN_ID_FROM_ID[labels.BY_NAME[name].id]] == expected
  for name in ('unlabeled', 'parking', 'trash bin', 'box', 'caravan', 'guard rail', 'static'):
    assert cityscapes.TRAIN_ID_FROM_ID[labels.BY_NAME[name].id] == 255
  assert (cityscapes.TRAIN_ID_FROM_ID[45:] == 255).all()


@pytest.mark.parametrize('bins', pspnet.BINS)
@pytest.mark.parametrize('size', [(6, 12), (7, 11), (3, 5)])
def test_bin_means_match_a_loop(bins, size):
  x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
  means = np.asarray(pspnet.bin_means(jnp.asarray(x), bins))
  for i, j in np.ndindex(bins, bins):
    rows = slice(int(np.floor(i * size[0] / bins)), int(np.ceil((i + 1) * size[0] / bins)))
    columns = slice(int(np.floor(j * size[1] / bins)), int(np.ceil((j + 1) * size[1] / bins)))
    np.testing.assert_allclose(means[:, i, j], x[:, rows, columns].mean((1, 2)), atol=1e-5)


def test_bin_means_match_adaptive_pooling_of_torch():
  torch = pytest.importorskip('torch')
  x = np.random.default_rng(0).normal(size=(2, 13, 29, 3)).astype(np.float32)
  for bins in pspnet.BINS:
    expected = torch.nn.functional.adaptive_avg_pool2d(
      torch.from_numpy(x).permute(0, 3, 1, 2), bins
    ).permute(0, 2, 3, 1)
    np.testing.assert_allclose(pspnet.bin_means(jnp.asarray(x), bins), expected, atol=1e-5)


@pytest.mark.parametrize('stride', [4, 8])
def test_images_of_a_batch_are_independent(stride):
  network = pspnet.PSPNet(width=4, blocks=1, stride=stride)
  params = random_params(network)
  image = np.random.default_rng(0).integers(0, 256, (1, 40, 200, 3)).astype(np.uint8)
  run = jax.jit(lambda x: network.apply({'params': params}, x))
  before = run(image)
  assert before[0].shape == before[1].shape == (1, 40, 200, 19)
  np.testing.assert_allclose(
    run(np.concatenate([image, image[:, ::-1]]))[0][:1], before[0], atol=1e-4
  )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Write a network with random weights."""
  params = random_params(TINY, bias_scale=0.5)  # several classes win
  path = tmp_path_factory.mktemp('net') / 'net.npz'
  checkpoint.write(path, TINY, params)
  return path, params


def test_read_returns_the_written_network_in_half_precision(trained, tmp_path):
  path, params = trained
  network, read = checkpoint.read(path)
  assert network == TINY
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), read, params)
  checkpoint.write(tmp_path / 'again.npz', network, read)
  assert (tmp_path / 'again.npz').read_bytes() == path.read_bytes()


def test_prediction_is_the_most_likely_class_and_its_probability(trained):
  path, _ = trained
  network, params = checkpoint.read(path)
  images = np.random.default_rng(3).integers(0, 256, (2, 33, 50, 3)).astype(np.uint8)
  ids, confidence = networks.load(f'pspnet:{path}')(images)
  logits = np.asarray(jax.jit(network.apply)({'params': params}, images)[0], np.float64)
  probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  assert ids.dtype == np.uint8 and ids.shape == confidence.shape == (2, 33, 50)
  assert len(np.unique(ids)) > 2
  ordered = np.sort(probability, -1)
  clear = ordered[..., -1] - ordered[..., -2] > 1e-4
  np.testing.assert_array_equal(
    ids[clear], cityscapes.ID_FROM_TRAIN_ID[probability.argmax(-1)][clear]
  )
  np.testing.assert_allclose(confidence, probability.max(-1), atol=1e-4)


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: content[:100],
    lambda content: b'',
    lambda content: b'PK' + content[5:],
    lambda content: content.replace(b'"width": 4', b'"width": 8'),
  ],
)
def test_load_names_damaged_files(trained, tmp_path, damage):
  path = tmp_path / 'pspnet.npz'
  path.write_bytes(damage(trained[0].read_bytes()))
  for location in (path, tmp_path):  # the file, and a run folder with it
    with pytest.raises(InputError, match='pspnet.npz: .*run of python -m pnerf_jax.pspnet'):
      networks.load(f'pspnet:{location}')


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'width': 4, 'blocks': 10**6, 'stride': 8}, 'blocks is 1000000, not an integer from 1 to 64'),
    ({'width': 10**9, 'blocks': 1, 'stride': 8}, 'width is 1000000000, not an integer from 1 to'),
    ({'width': 4, 'blocks': 1, 'stride': 5}, 'stride is 5, not one of (4, 8)'),
    ({'width': '4', 'blocks': 1, 'stride': 8}, "width is '4', not an integer"),
    ({'width': 4, 'blocks': 1}, "its settings are {'width': 4, 'blocks': 1}"),
    ({'width': 4, 'blocks': 1, 'stride': 8, 'name': 'x'}, 'its settings are'),
    ([4, 1, 8], 'its settings are [4, 1, 8]'),
    ({'width': 4096, 'blocks': 64, 'stride': 8}, '1 arrays for 64 blocks'),
  ],
)
def test_read_limits_the_settings(tmp_path, settings, message):
  path = tmp_path / 'x.npz'
  np.savez(path, settings=np.frombuffer(json.dumps(settings).encode(), np.uint8))
  with pytest.raises(InputError) as error:
    checkpoint.read(path)
  assert str(error.value).startswith(f'{path}: is not a trained PSPNet ({message}')


def test_read_allocates_no_more_than_the_file_holds(trained, tmp_path):
  path, name = tmp_path / 'x.npz', 'Conv_0/kernel.npy'
  with zipfile.ZipFile(trained[0]) as archive:
    members = {member: archive.read(member) for member in archive.namelist()}

  def write(content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
      for member, old in members.items():
        archive.writestr(member, content if member == name else old)

  def array(shape, dtype='<f2', order=False):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
      header, {'descr': dtype, 'fortran_order': order, 'shape': shape}
    )
    return header.getvalue() + bytes(64)

  for content, message in (
    (array((10**12,)), 'cannot reshape array of size 32 into shape (1000000000000,)'),
    (array((1 << 70,)), ''),
    (array((16,), '<f4'), 'Conv_0/kernel is float32, expected float16'),
    (array((16,), '|O'), 'Conv_0/kernel is object, expected float16'),
    (array((32,), order=True), 'Conv_0/kernel is stored column by column'),
    (b'\x93NUMPY\2\0' + bytes(64), 'Conv_0/kernel: unknown version'),
  ):
    write(content)
    with pytest.raises(InputError) as error:
      checkpoint.read(path)
    assert str(error.value).startswith(f'{path}: is not a trained PSPNet ({message}')
  write(array((32,)))
  with pytest.raises(
    InputError, match=r'x.npz: Conv_0/kernel is \(32,\), expected finite \(1, 1, '
  ):
    checkpoint.read(path)
  write(bytes(10**6), zipfile.ZIP_DEFLATED)
  with pytest.raises(InputError, match='settings.npy: .*expected uncompressed and at most'):
    checkpoint.read(path)


def test_read_rejects_pickles(tmp_path):
  np.savez(tmp_path / 'x.npz', settings=np.array([{'width': 4}], object))
  with pytest.raises(InputError, match='not a trained PSPNet'):
    checkpoint.read(tmp_path / 'x.npz')
  with pytest.raises(InputError, match='no such file'):
    checkpoint.read(tmp_path / 'y.npz')
