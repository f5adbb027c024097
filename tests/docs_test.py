"""README.md and docs/ against the project: everything that they name exists."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from configs import kitti360
from pnerf_jax.config import schema, spec
from pnerf_jax.config.files import read_config
from pnerf_jax.contrib.report import run_report
from pnerf_jax.contrib.segmentation import config as segmentation

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PAGES = {
  str(path.relative_to(_ROOT)): path.read_text()
  for path in (_ROOT / 'README.md', _ROOT / 'CONTRIBUTING.md', *sorted(_ROOT.glob('docs/*.md')))
}
_FIELDS = {
  name for config in (schema.Config, segmentation.Config) for name, _ in spec.fields(config)
}
_GROUPS = set(spec.groups(schema.Config))
_METRICS = {key for rows in run_report.METRICS.values() for key, _, _ in rows}
_PACKAGES = {path.parent.name for path in _ROOT.glob('pnerf_jax/*/__init__.py')} - {'config'}
_PLACEHOLDERS = ('config.GROUP.FIELD', 'config.data....')


def _joined(text: str) -> str:
  """Return the text with continued command lines as one line."""
  return re.sub(r'\s*\\\n\s*', ' ', text)


def _sections() -> dict[str, str]:
  """Return the sections of docs/commands.md by binary."""
  parts = re.split(r'^## .*`python -m pnerf_jax\.(\w+)`$', _PAGES['docs/commands.md'], flags=re.M)
  return dict(zip(parts[1::2], parts[2::2], strict=True))


def _anchors(text: str) -> set[str]:
  """Return the anchors of a page's headings, as GitHub makes them."""
  headings = re.findall(r'^#+ (.*)$', text, re.M)
  return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_readme_is_short():
  assert len(_PAGES['README.md'].splitlines()) <= 200


def test_generated_pages_are_current():
  done = subprocess.run(
    [sys.executable, 'launch/make_docs.py', '--check'],
    cwd=_ROOT,
    env={**os.environ, 'PYTHONPATH': '.'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr


def test_links_exist():
  broken = []
  for page, text in {**_PAGES, 'CHANGELOG.md': (_ROOT / 'CHANGELOG.md').read_text()}.items():
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
      if link.startswith('http'):
        continue
      name, _, anchor = link.partition('#')
      target = (_ROOT / page).parent / name if name else _ROOT / page
      if not target.exists() or (anchor and anchor not in _anchors(target.read_text())):
        broken.append(f'{page}: {link}')
  assert not broken


def test_pages_are_linked_from_readme():
  linked = set(re.findall(r'\]\((docs/\w+\.md)\)', _PAGES['README.md']))
  assert not {page for page in _PAGES if page.startswith('docs/')} - linked


def test_commands_and_flags_exist():
  sections, wrong = _sections(), []
  for page, text in _PAGES.items():
    for binary, rest in re.findall(r'python -m pnerf_jax\.(\w+)([^\n`]*)', _joined(text)):
      if binary not in sections:
        wrong.append(f'{page}: pnerf_jax.{binary}')
        continue
      subcommand = re.match(r' ([a-z][a-z-]*)', rest)
      if binary in ('prepare', 'windows') and subcommand:
        if f'pnerf_jax.{binary} {subcommand[1]} ' not in sections[binary]:
          wrong.append(f'{page}: {binary} {subcommand[1]}')
      for flag in re.findall(r'--([a-z]\w*)(?![\w.])', rest):
        if f'`--{flag}`' not in sections[binary]:
          wrong.append(f'{page}: {binary} --{flag}')
    for script, rest in re.findall(r'python (launch/\w+\.py)([^\n`]*)', _joined(text)):
      source = (_ROOT / script).read_text() if (_ROOT / script).exists() else ''
      for flag in re.findall(r'--([a-z]\w*)', rest):
        if not re.search(rf"""['"]--{flag}['"]""", source):
          wrong.append(f'{page}: {script} --{flag}')
  assert not wrong


def test_config_fields_and_metrics_exist():
  wrong = []
  for page, text in _PAGES.items():
    for placeholder in _PLACEHOLDERS:
      text = text.replace(placeholder, '')
    named = set(re.findall(r'(?<![/\w])config\.([a-z]\w*\.[a-z]\w*)', text))
    named -= {name for name in named if name.endswith('.py') or name == 'data.window'}
    wrong += [
      f'{page}: config.{name}' for name in sorted(named - _FIELDS - {'schema.default_config'})
    ]
    for name in re.findall(r'`([a-z]\w*(?:\.[a-z]\w*)+)(?:=[^`]*)?`', text):
      if name.split('.')[0] in _GROUPS - {'data', 'eval'} and name not in _FIELDS:
        wrong.append(f'{page}: {name}')
  for name in re.findall(r'`((?:\w+\.)+\w+)`', _PAGES['docs/outputs.md']):
    if name.split('.')[0] in {metric.split('.')[0] for metric in _METRICS} and (
      name not in _METRICS and not name.endswith('.CLASS')
    ):
      wrong.append(f'docs/outputs.md: {name}')
  assert not wrong


def test_config_files_and_variants_exist():
  wrong = []
  for page, text in _PAGES.items():
    for path, variant in re.findall(r'(configs/\w+\.py)(?::(\w+))?', text):
      try:
        assert read_config(f'{_ROOT / path}:{variant}').train.steps > 0
      except (OSError, ValueError) as e:
        wrong.append(f'{page}: {e}')
    for variant in re.findall(r'`:(\w+)`', text):
      assert kitti360.get_config(variant).train.steps > 0
  assert not wrong


def test_files_and_modules_exist():
  wrong = []
  for page, text in _PAGES.items():
    paths = re.findall(r'(?<![\w./])((?:pnerf_jax|launch|docs|tests)/[\w./]*\w)', text)
    paths += re.findall(r'`((?:requirements|constraints)[\w-]*\.txt)`', text)
    wrong += [f'{page}: {path}' for path in paths if not (_ROOT / path).exists()]
    packages = '|'.join(_PACKAGES)
    wrong += [
      f'{page}: {path}'
      for path in re.findall(rf'`((?:{packages})/[\w/]+\.py)`', text)
      if not (_ROOT / 'pnerf_jax' / path).exists()
    ]
    names = re.findall(r'(?<![\w/.])pnerf_jax\.((?:\w+\.)*\w+)', text)
    names += re.findall(rf'`((?:{packages})(?:\.\w+)+)`', text)
    wrong += [
      f'{page}: {name}'
      for name in names
      if name not in _FIELDS | _METRICS and not _is_defined(name.split('.'))
    ]
  assert not wrong


def _is_defined(parts: list[str]) -> bool:
  """Return whether dotted parts name a package, a module, or something that a module defines."""
  for count in range(len(parts), 0, -1):
    path = _ROOT / 'pnerf_jax' / pathlib.Path(*parts[:count])
    if path.is_dir():
      return count == len(parts)
    if path.with_suffix('.py').exists():
      source = path.with_suffix('.py').read_text()
      rest = parts[count:]
      return not rest or bool(
        re.search(rf'^(def|class) {rest[0]}\b|^{rest[0]}\b.* = ', source, re.M)
      )
  return False


@pytest.mark.slow
def test_library_example_runs(street, tmp_path, monkeypatch, capsys):
  code = re.search(r'```python\n(.*?)```', _PAGES['docs/library.md'], re.S)[1]
  assert len([line for line in code.splitlines() if line]) <= 15 and "'DATA'" in code
  monkeypatch.chdir(tmp_path)
  exec(compile(code.replace("'DATA'", repr(str(street))), 'docs/library.md', 'exec'), {})  # noqa: S102
  assert 'road' in capsys.readouterr().out
