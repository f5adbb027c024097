"""Progress bars in log files and on terminals."""

import os
import pty
import re
import sys
import termios

import pytest

from pnerf_jax.runs import progress


@pytest.mark.parametrize('seconds, updates', [(30.0, [0, 3]), (0.0, [0, 1, 2, 3])])
def test_progress_in_a_file_is_lines(capsys, monkeypatch, seconds, updates):
  monkeypatch.setattr(progress, '_FILE_SECONDS', seconds)
  assert list(progress.progress_bar('abc', 'render', 'image')) == ['a', 'b', 'c']
  text = capsys.readouterr().err
  assert '\r' not in text and text.endswith('\n')
  lines = text.splitlines()
  assert all(line.startswith('render: ') for line in lines)
  counts = [int(re.search(r'(\d)/3 ', line)[1]) for line in lines]
  assert sorted(set(counts)) == updates


def test_progress_without_items_is_updated(capsys):
  with progress.progress_bar(None, 'labels', 'image', total=5) as bar:
    bar.update(2)
    bar.update(3)
  assert ' 5/5 ' in capsys.readouterr().err.splitlines()[-1]


def test_disabled_progress_writes_nothing(capsys):
  assert list(progress.progress_bar('ab', 'render', 'image', disable=True)) == ['a', 'b']
  assert capsys.readouterr().err == ''


def test_progress_on_a_terminal_is_one_line(monkeypatch):
  reader, writer = pty.openpty()
  termios.tcsetwinsize(writer, (24, 80))
  with os.fdopen(writer, 'w') as terminal:
    monkeypatch.setattr(sys, 'stderr', terminal)
    assert list(progress.progress_bar('ab', 'render', 'image')) == ['a', 'b']
    terminal.flush()
    text = os.read(reader, 4096).decode()
  os.close(reader)
  assert text.startswith('\rrender:   0%') and text.count('\n') == 1
