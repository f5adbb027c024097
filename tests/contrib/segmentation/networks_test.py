"""Names of networks on the command line, and a kind whose packages are absent."""

import sys

import pytest

from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.errors import InputError


@pytest.mark.parametrize('name', ['', 'segformer', 'transformers:', 'pspnet:', 'psp:x'])
def test_unknown_networks_are_refused(name):
  with pytest.raises(InputError, match=f'^--network={name}: no such network. Use transformers:'):
    networks.load(name)


def test_a_missing_package_is_told_with_its_remedy(tmp_path, monkeypatch):
  (tmp_path / 'config.json').write_text('{}')
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(InputError, match='package torch is not installed.*requirements-extra.txt'):
    networks.load(f'transformers:{tmp_path}')
  with pytest.raises(InputError, match=f'{tmp_path}/none: .*no config.json'):
    networks.load(f'transformers:{tmp_path}/none')
