"""Provenance of results, and the processes that trained a run."""

import datetime
import json
import types

import pnerf_jax
from pnerf_jax.runs import provenance

_DEVICES = [types.SimpleNamespace(device_kind='TPU v4')] * 8


def test_provenance_names_version_date_command_and_machine(monkeypatch):
  monkeypatch.setattr('sys.orig_argv', ['python', '-m', 'pnerf_jax.train', '--workdir=a b'])
  found = provenance.provenance(_DEVICES)
  assert found.keys() == {'version', 'date', 'command', 'machine'}
  assert found['version'] == pnerf_jax.__version__
  age = datetime.datetime.now().astimezone() - datetime.datetime.fromisoformat(found['date'])
  assert 0 <= age.total_seconds() < 60
  assert found['command'] == "python -m pnerf_jax.train '--workdir=a b'"
  assert found['machine'].startswith('8 × TPU v4, ')
  assert '×' not in provenance.provenance()['machine']


def test_sessions_are_appended_and_damaged_lines_skipped(tmp_path):
  assert provenance.read_sessions(tmp_path) == []
  provenance.add_session(tmp_path, 0, _DEVICES)
  path = tmp_path / 'sessions.jsonl'
  path.write_text(path.read_text() + '{"step": 3\n[]\n{"step": 5}\n\xff\n')
  provenance.add_session(tmp_path, 7, _DEVICES[:1])
  first, second = provenance.read_sessions(tmp_path)
  assert (first['step'], second['step']) == (0, 7)
  assert second['machine'].startswith('1 × TPU v4, ')
  assert json.loads(path.read_text().splitlines()[-1]) == second
