"""Names of networks on the command line, and missing packages."""

import sys

import pytest

from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.errors import InputError


@pytest.mark.parametrize('name', ['', 'segformer', 'transformers:', 'pspnet:', 'psp:x'])
def test_load_rejects_unknown_networks(name):
  with pytest.raises(InputError, match=f'^--network={name}: unknown network. Use transformers:'):
    networks.load(name)


def test_load_names_a_missing_package_and_its_remedy(tmp_path, monkeypatch):
  (tmp_path / 'config.json').write_text('{}')
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(InputError, match='package torch is not installed.*requirements-extra.txt'):
    networks.load(f'transformers:{tmp_path}')
  with pytest.raises(InputError, match=f'{tmp_path}/none: .*no config.json'):
    networks.load(f'transformers:{tmp_path}/none')
