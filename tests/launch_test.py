"""launch/env.sh and demo.sh, with an interpreter that only writes down what it is asked to do."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from pnerf_jax.contrib.street import scenery

_LAUNCH = pathlib.Path(__file__).resolve().parents[1] / 'launch'
# Makes environments that contain itself; fails while the file `calls.fail` is there.
_FAKE_PYTHON = """#!/bin/bash
case "$*" in
  "-m venv --clear "*)
    rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; touch "$4/pyvenv.cfg"
    echo venv >>"$CALLS" ;;
  "-m pip install "*)
    echo "$*" | sed -E 's|.*--requirement .*/(.*) --constraint.*|\\1|' >>"$CALLS"
    [[ ! -e "$CALLS.fail" ]] ;;
  "-m pnerf_jax."*|"launch/"*)
    echo "$*" >>"$CALLS"
    [[ "$*" != launch/benchmark.py* ]] || echo "a table"
    [[ ! -e "$CALLS.fail" ]] ;;
esac
"""


class _Project:
  """A copy of the script with requirement files of its own."""

  def __init__(self, folder: pathlib.Path):
    self.root, self.calls = folder / 'project', folder / 'calls'
    self.venv = self.root / '.venv'
    (self.root / 'launch').mkdir(parents=True)
    for name in (
      'env.sh',
      'demo.sh',
      'ablate.sh',
      'gpu_check.sh',
      'network_demo.sh',
      'reproduce_paper.sh',
    ):
      shutil.copy(_LAUNCH / name, self.root / 'launch')
    for name in ('requirements.txt', 'requirements-dev.txt', 'constraints.txt'):
      (self.root / name).write_text('numpy\n')
    self.bin = folder / 'bin'
    self.bin.mkdir()
    for tool in (
      'bash',
      'cat',
      'cp',
      'date',
      'dirname',
      'grep',
      'ls',
      'mkdir',
      'mv',
      'rm',
      'sed',
      'sort',
      'tail',
      'tee',
      'touch',
    ):
      (self.bin / tool).symlink_to(shutil.which(tool))
    self.put_python('python3.11')

  def put_python(self, name: str, text: str = _FAKE_PYTHON):
    (self.bin / name).write_text(text)
    (self.bin / name).chmod(0o755)

  def make(self, *files: str, **environment: str) -> tuple[list[str], str]:
    """Calls pnerf_env; returns what the interpreter was asked for, and standard error."""
    self.calls.write_text('')
    done = subprocess.run(
      ['bash', '-c', f'set -euo pipefail; source launch/env.sh; pnerf_env {" ".join(files)}'],
      cwd=self.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(self.bin), 'CALLS': str(self.calls), **environment},
    )
    assert (done.returncode == 0) == (not done.stderr), done
    return self.calls.read_text().split(), done.stderr


@pytest.fixture
def project(tmp_path):
  return _Project(tmp_path)


def test_installs_once_and_again_only_what_changed(project):
  files = ('requirements.txt', 'requirements-dev.txt')
  assert project.make(*files)[0] == ['venv', *files]
  assert project.make(*files)[0] == []
  (project.root / 'requirements-dev.txt').write_text('numpy\npytest\n')
  assert project.make('requirements.txt')[0] == []
  assert project.make(*files)[0] == ['requirements-dev.txt']
  (project.root / 'constraints.txt').write_text('numpy==2.0\n')
  assert project.make(*files)[0] == list(files)
  assert project.make(*files)[0] == []


@pytest.mark.parametrize('broken', ['requirements.txt', 'requirements-dev.txt'])
def test_a_failed_installation_is_made_anew(project, broken):
  files = ('requirements.txt', 'requirements-dev.txt')
  if broken == 'requirements-dev.txt':
    project.make('requirements.txt')
  fail = pathlib.Path(f'{project.calls}.fail')
  fail.touch()
  with pytest.raises(AssertionError):  # fails; the fake says nothing
    project.make(*files)
  fail.unlink()
  assert project.make(*files)[0] == ['venv', *files]


def test_another_folder_can_be_named_but_never_emptied(project, tmp_path):
  other = tmp_path / 'other'
  assert project.make('requirements.txt', PNERF_VENV=str(other))[0] == ['venv', 'requirements.txt']
  assert (other / 'bin' / 'python').exists() and not project.venv.exists()
  home = tmp_path / 'home'
  home.mkdir()
  (home / 'letter').touch()
  calls, error = project.make('requirements.txt', PNERF_VENV=str(home))
  assert not calls and 'holds other files' in error and os.listdir(home) == ['letter']


def test_no_python_or_an_old_one_is_one_clear_line(project):
  (project.bin / 'python3.11').unlink()
  for present in (False, True):
    if present:
      project.put_python('python3', '#!/bin/bash\nexit 1\n')  # not >= 3.11
    _, error = project.make('requirements.txt')
    assert error.startswith('error: no Python 3.11 or newer found') and error.count('\n') == 1
  project.put_python('python3')
  assert project.make('requirements.txt')[0] == ['venv', 'requirements.txt']


def test_demo_runs_the_four_commands_on_one_folder(project):
  def demo(**environment):
    project.calls.write_text('')
    done = subprocess.run(
      ['bash', 'launch/demo.sh'],
      cwd=project.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(project.bin), 'CALLS': str(project.calls), **environment},
    )
    return done, project.calls.read_text().splitlines()

  done, calls = demo()
  assert done.returncode == 0 and 'runs/demo/run/eval/report.html' in done.stdout
  assert [call.split()[1] for call in calls[2:]] == [
    f'pnerf_jax.{name}' for name in ('street', 'train', 'eval', 'render')
  ]
  report = project.root / 'runs/demo/run/eval/report.html'
  report.parent.mkdir(parents=True)
  for step in (900, 1000):
    (project.root / f'runs/demo/run/checkpoints/{step}').mkdir(parents=True)
  report.touch()
  os.utime(report, (1, 1))  # times of files say nothing: the clock may have been wrong
  for scored, expected in ((1000, []), (900, ['eval']), (100, ['eval'])):
    (report.parent / 'metrics.json').write_text(
      f'{{\n  "step": {scored},\n  "semantic.miou": 0.7461,\n  "pseudo.miou": 0.28,\n'
      '  "pseudo.accuracy": null\n}\n'
    )
    done, calls = demo()
    assert re.search('alone.* 28.0 % +–\n.*transferred.* 74.6 % +–\n', done.stdout), done.stdout
    assert [call.split()[1].removeprefix('pnerf_jax.') for call in calls] == [
      'street',
      'train',
      *expected,
      'render',
    ]
  done, calls = demo(PNERF_DEMO_DIR='elsewhere')
  assert done.returncode == 0 and len(calls) == 4
  assert all('elsewhere/' in call and 'runs/demo' not in call for call in calls)
  pathlib.Path(f'{project.calls}.fail').touch()
  done, calls = demo()
  assert done.returncode == 1 and len(calls) == 1 and 'Done' not in done.stdout


def test_ablation_scores_every_variant_once(project):
  def ablate(*words, **environment):
    project.calls.write_text('')
    done = subprocess.run(
      ['bash', 'launch/ablate.sh', *words],
      cwd=project.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(project.bin), 'CALLS': str(project.calls), **environment},
    )
    return done, project.calls.read_text().splitlines()

  done, calls = ablate('street')
  assert done.returncode == 1 and 'error: expected STREET and OUT' in done.stderr and not calls
  done, calls = ablate('street', 'out', '50', '--config.train.batch_rays=64')
  assert done.returncode == 0, done.stderr
  assert len(calls) == 2 + 2 * 10 + 1
  assert calls[2] == (
    '-m pnerf_jax.train --config=configs/ablations.py:full --workdir=out/full '
    '--config.data.root=street --config.train.steps=50 --config.train.batch_rays=64'
  )
  assert calls[3] == '-m pnerf_jax.eval --workdir=out/full'
  assert calls[-1].startswith('launch/compare_runs.py --out=out/table --reference=full out/full ')
  assert len(calls[-1].split()) == 3 + 10
  # What was scored at the last step is skipped; one that was scored earlier is not.
  for variant, step in (('full', 50), ('no_2d', 40)):
    metrics = project.root / 'out' / variant / 'eval' / 'metrics.json'
    metrics.parent.mkdir(parents=True)
    metrics.write_text(f'{{\n  "step": {step},\n  "frames": 2\n}}\n')
  _, calls = ablate('street', 'out', '50', VARIANTS='full no_2d')
  assert [call.split()[1] for call in calls[:-1]] == ['pnerf_jax.train', 'pnerf_jax.eval']
  assert 'no_2d' in calls[0] and calls[-1].endswith('out/full out/no_2d')


def test_network_is_tried_on_a_street_that_it_never_saw(project):
  def tried(*words, **environment):
    project.calls.write_text('')
    done = subprocess.run(
      ['bash', 'launch/network_demo.sh', *words],
      cwd=project.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(project.bin), 'CALLS': str(project.calls), **environment},
    )
    return done, project.calls.read_text().splitlines()

  done, calls = tried()
  assert done.returncode == 1 and 'error: expected OUT' in done.stderr and not calls
  done, calls = tried('out', '50', SEEDS='7 8', NETWORK_STEPS='40')
  assert done.returncode == 0, done.stderr
  streets, others = calls[2:6], calls[7:]
  assert [call.split()[3] for call in streets] == [
    f'--preset={preset}' for _ in (7, 8) for preset in ('suburb', 'village')
  ]
  assert '--preset=boulevard' in calls[6]  # a kind that the network is not trained on
  assert [call.split()[1].removeprefix('pnerf_jax.') for call in others] == [
    'pspnet',
    'pspnet',
    *2 * ['prepare', 'train', 'eval', 'baselines'],
    'train',
    'eval',
    'baselines',
    '--street=out/street',
  ]
  assert '--config.train.steps=40' in others[0] and '--config.train.steps=10' in others[1]
  words = dict(
    word.split('=', 1) for call in (others[1], others[3]) for word in call.split() if '=' in word
  )
  labelled, scored = (
    set(map(int, words[f'--config.data.{name}'].split(','))) for name in ('frames', 'eval_frames')
  )
  street = scenery.Parameters('boulevard', 3)
  assert not labelled & scored and labelled | scored == set(street.frame_numbers)
  assert '--config.data.derived_root=out/tuned/labels' in others[7]
  metrics = project.root / 'out/alone/run/eval/metrics.json'
  metrics.parent.mkdir(parents=True)
  metrics.write_text('{\n  "step": 50,\n  "frames": 2\n}\n')
  assert len(tried('out', '50', SEEDS='7 8')[1]) == len(calls) - 3  # installed, scored


def test_paper_is_reproduced_where_its_data_is(project):
  def reproduce(*words, **environment):
    project.calls.write_text('')
    done = subprocess.run(
      ['bash', 'launch/reproduce_paper.sh', *words],
      cwd=project.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(project.bin), 'CALLS': str(project.calls), **environment},
    )
    return done, project.calls.read_text().splitlines()

  done, calls = reproduce('data')
  assert done.returncode == 1 and 'expected DATA and OUT' in done.stderr and not calls
  done, calls = reproduce('data', 'out')
  assert done.returncode == 1 and not calls and 'data_2d_raw' in done.stderr.splitlines()[0]
  assert 'pnerf_jax.prepare import-dataset --from=ARCHIVE --out=data' in done.stderr
  sequence = '2013_05_28_drive_0000_sync'
  for frame in (1545, 1745, 1915, 3365):
    for folder in (
      f'data_2d_raw/{sequence}/image_00/data_rect',
      f'data_2d_pseudo_semantics/train/{sequence}/image_00/semantic',
      f'data_2d_semantics/train/{sequence}/image_00/semantic',
    ):
      path = project.root / 'data' / folder / f'{frame:010d}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
  for wrong in ({'WINDOWS': '1539'}, {'VARIANTS': 'best'}):
    done, calls = reproduce('data', 'out', **wrong)
    assert done.returncode == 1 and done.stderr.startswith('error: ') and not calls
  done, calls = reproduce('data', 'out', '--config.train.seed=1')
  assert done.returncode == 0, done.stderr
  assert len(calls) == 2 + 2 * 8 + 1
  train = calls[2 + 2 * 2].split()  # the second window with the paper's config
  assert {
    '--config=configs/kitti360.py:paper',
    '--config.data.start=1728',
    '--config.data.frames=64',
    '--config.scene.far=270',
    '--config.train.seed=1',
    '--config.loss.depth_classes=7,8,12,13,35',
    '--workdir=out/1728_paper',
    '--config.data.eval_frames=1745,1755,1765,1775',
  } < set(train)
  assert '--config.scene.far' not in calls[2 + 2 * 3]  # ours derives it
  assert calls[-1].split()[1:] == [
    *(
      f'out/{window}_{variant}'
      for window in (1538, 1728, 1908, 3353)
      for variant in ('paper', 'default')
    ),
    '--out=out/table',
    '--published',
  ]


def test_papers_figures_stand_above_runs_of_its_windows(tmp_path):
  for name, start in (('ours', 1908), ('elsewhere', 7)):
    (tmp_path / name / 'eval').mkdir(parents=True)
    (tmp_path / name / 'config.json').write_text(f'{{"data": {{"start": {start}}}}}')
    (tmp_path / name / 'eval' / 'metrics.json').write_text('{"semantic.miou_published": 0.9}')
  done = subprocess.run(
    [
      sys.executable,
      'launch/compare_runs.py',
      str(tmp_path / 'ours'),
      str(tmp_path / 'elsewhere'),
      f'--out={tmp_path}/table',
      '--published',
    ],
    cwd=_LAUNCH.parent,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': str(_LAUNCH.parent)},
  )
  assert done.returncode == 0, done.stderr
  rows = [[cell.strip() for cell in line.split('|')[1:4]] for line in done.stdout.splitlines()[2:]]
  assert rows == [
    ['1908 paper', '0.844', '0.943'],
    ['ours', '**0.900**', '–'],
    ['elsewhere', '**0.900**', '–'],
  ]


def test_gpu_check_measures_what_is_not_measured_yet(project):
  def check(*words):
    project.calls.write_text('')
    done = subprocess.run(
      ['bash', 'launch/gpu_check.sh', *words],
      cwd=project.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(project.bin), 'CALLS': str(project.calls), 'PNERF_PYTHON': 'python3.11'},
    )
    return done, project.calls.read_text().splitlines()

  done, calls = check()
  assert done.returncode == 1 and 'error: expected OUT' in done.stderr and not calls
  done, calls = check('out')
  assert done.returncode == 0, done.stderr
  assert [call.split()[0] for call in calls[:4]] == ['launch/benchmark.py'] * 4
  assert sum('--rays=8192' in call for call in calls[:4]) == 4
  assert [call.split()[1] for call in calls[4:]] == [
    f'pnerf_jax.{name}' for name in ('street', 'train', 'render')
  ]
  report = (project.root / 'out/report.md').read_text()
  assert report.count('a table') == 4 and '64 stereo frames, 10000 steps of 8192 rays' in report
  (project.root / 'out/published.md').unlink()
  done, calls = check('out')
  assert len(calls) == 1 and '--variant=published' in calls[0]
  done, calls = check('small', 'tiny')
  assert done.returncode == 0 and sum('--rays=64' in call for call in calls) == 4


def test_compared_runs_become_a_table(tmp_path):
  for name, miou in (('full', 0.5), ('no_2d', 0.25)):
    (tmp_path / name / 'eval').mkdir(parents=True)
    (tmp_path / name / 'eval' / 'metrics.json').write_text(f'{{"semantic.miou": {miou}}}')
  root = _LAUNCH.parent
  compare = lambda *runs: subprocess.run(
    [
      sys.executable,
      'launch/compare_runs.py',
      *(str(tmp_path / run) for run in runs),
      f'--out={tmp_path}/table',
      '--reference=full',
    ],
    cwd=root,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': str(root)},
  )
  done = compare('full', 'no_2d')
  assert done.returncode == 0, done.stderr
  lines = (tmp_path / 'table.md').read_text().splitlines()
  assert lines[0].startswith('| run | mIoU |')
  assert lines[2].startswith('| full | **0.500** |')
  assert lines[3].startswith('| no_2d | 0.250 (−0.250) |')
  assert (tmp_path / 'table.png').exists()
  done = compare('full', 'absent')
  assert done.returncode == 1 and done.stderr.startswith('error: ') and 'absent' in done.stderr


@pytest.mark.parametrize(
  'script',
  ['env.sh', 'test.sh', 'demo.sh', 'ablate.sh', 'gpu_check.sh', 'reproduce_paper.sh', '../.ci/run'],
)
def test_scripts_are_valid_bash(script):
  assert subprocess.run(['bash', '-n', str(_LAUNCH / script)]).returncode == 0
