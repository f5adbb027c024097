"""Tests of the shell scripts in launch/, with a fake interpreter that records its arguments."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from pnerf_jax.contrib.street import scenery

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_SCRIPTS = sorted(path.name for path in (_ROOT / 'launch').glob('*.sh'))
_TOOLS = 'bash cat cp date dirname find grep ls mkdir mv rm sed sort tail tee touch'.split()
_FILES = ('requirements.txt', 'requirements-dev.txt')
# Creates environments that contain a copy of itself; fails while the file $CALLS.fail exists.
_FAKE_PYTHON = """#!/bin/bash
case "$*" in
  -c*|"-m pip --version"|--version) exit ;;
  "-m venv "*)
    mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; touch "$3/pyvenv.cfg"
    echo venv >>"$CALLS"
    exit ;;
  "-m pip install "*)
    echo "$*" | sed -E 's|.*--requirement .*/(.*) --constraint.*|\\1|' >>"$CALLS" ;;
  *) echo "${*//"${PYTHONPATH%%:*}/"/}" >>"$CALLS" ;;  # without the project's folder
esac
[[ "$*" != */launch/benchmark.py* ]] || echo "a table"
[[ ! -e "$CALLS.fail" ]]
"""


class _Project:
  """A copy of the scripts with short requirement files and a PATH without a real Python."""

  def __init__(self, folder: pathlib.Path):
    self.root, self._calls, self.bin = folder / 'project', folder / 'calls', folder / 'bin'
    self.fail = folder / 'calls.fail'
    (self.root / 'launch').mkdir(parents=True)
    for name in (*_SCRIPTS, 'windows.sbatch'):
      shutil.copy(_ROOT / 'launch' / name, self.root / 'launch')
    for name in (*_FILES, 'constraints.txt'):
      (self.root / name).write_text('numpy\n')
    self.bin.mkdir()
    for tool in _TOOLS:
      (self.bin / tool).symlink_to(shutil.which(tool))
    self.put_python('python3.11')

  def put_python(self, name: str, text: str = _FAKE_PYTHON):
    (self.bin / name).write_text(text)
    (self.bin / name).chmod(0o755)

  def run(self, *command: str, cwd: pathlib.Path | None = None, **environment: str):
    """Run bash; return the process and the calls of the interpreter."""
    self._calls.write_text('')
    done = subprocess.run(
      ['bash', *command],
      cwd=cwd or self.root,
      capture_output=True,
      text=True,
      check=False,
      env={'PATH': str(self.bin), 'CALLS': str(self._calls), **environment},
    )
    return done, self._calls.read_text().splitlines()

  def script(self, name: str, *args: str, **environment: str):
    """Run a script after its environment was created; return the process and the calls."""
    self.env(*_FILES)
    return self.run(f'launch/{name}', *args, **environment)

  def env(self, *files: str, **environment: str):
    """Run pnerf_env; return the process and the calls."""
    command = f'set -euo pipefail; source launch/env.sh; pnerf_env {" ".join(files)}'
    return self.run('-c', command, **environment)

  def write_metrics(self, run: str, text: str):
    path = self.root / run / 'eval' / 'metrics.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def project(tmp_path):
  return _Project(tmp_path)


def _binaries(calls):
  """Return the names of the called binaries: 'train' for '-m pnerf_jax.train ...'."""
  return [call.split()[1].removeprefix('pnerf_jax.') for call in calls]


@pytest.mark.parametrize('script', [*_SCRIPTS, '../.ci/run'])
def test_scripts_are_valid_bash(script):
  assert subprocess.run(['bash', '-n', str(_ROOT / 'launch' / script)]).returncode == 0


@pytest.mark.skipif(not shutil.which('shellcheck'), reason='shellcheck is not installed')
def test_scripts_pass_shellcheck():
  scripts = [*_SCRIPTS, 'windows.sbatch']
  done = subprocess.run(
    ['shellcheck', '-x', *(f'launch/{script}' for script in scripts)],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout == ''


def test_env_installs_only_changed_requirements(project):
  assert project.env(*_FILES)[1] == ['venv', *_FILES]
  assert project.env(*_FILES)[1] == []
  (project.root / 'requirements-dev.txt').write_text('numpy\npytest\n')
  assert project.env('requirements.txt')[1] == []
  assert project.env(*_FILES)[1] == ['requirements-dev.txt']
  (project.root / 'constraints.txt').write_text('numpy==2.0\n')
  assert project.env(*_FILES)[1] == [*_FILES]
  assert project.env(*_FILES)[1] == []


@pytest.mark.parametrize('num_installed', [0, 1])
def test_env_recreates_the_environment_after_a_failed_installation(project, num_installed):
  project.env(*_FILES[:num_installed])
  project.fail.touch()
  assert project.env(*_FILES)[0].returncode == 1
  project.fail.unlink()
  assert project.env(*_FILES)[1] == ['venv', *_FILES]


def test_env_uses_another_folder(project, tmp_path):
  other = tmp_path / 'another [1] folder'
  assert project.env(_FILES[0], PNERF_VENV=str(other))[1] == ['venv', _FILES[0]]
  assert (other / 'bin' / 'python').exists() and not (project.root / '.venv').exists()
  assert project.env(_FILES[0], PNERF_VENV=str(other))[1] == []


@pytest.mark.parametrize('name', ['letter', 'pyvenv.cfg', 'installing'])
@pytest.mark.parametrize('default', [True, False])
def test_env_never_clears_a_folder_that_it_has_not_made(project, tmp_path, name, default):
  home = project.root / '.venv' if default else tmp_path / 'home'
  environment = {} if default else {'PNERF_VENV': str(home)}
  home.mkdir()
  (home / name).write_text('mine')
  done, calls = project.env(_FILES[0], **environment)
  assert done.returncode == 1 and not calls
  assert done.stderr == (
    f'error: {home} was not made by launch/env.sh, and has no pip. It is left as it is. Set'
    ' PNERF_VENV to a new folder.\n'
  )
  assert os.listdir(home) == [name] and (home / name).read_text() == 'mine'


def test_env_repeats_an_installation_into_a_users_environment(project, tmp_path):
  home = tmp_path / 'home'
  (home / 'bin').mkdir(parents=True)
  shutil.copy(project.bin / 'python3.11', home / 'bin' / 'python')
  (home / 'mine').touch()
  project.fail.touch()
  assert project.env(_FILES[0], PNERF_VENV=str(home))[0].returncode == 1
  project.fail.unlink()
  done, calls = project.env(_FILES[0], PNERF_VENV=str(home))
  assert done.returncode == 0 and calls == [_FILES[0]] and (home / 'mine').exists()


def test_env_repeats_an_interrupted_creation(project):
  venv = project.root / '.venv'
  venv.mkdir()
  (venv / 'made-by-launch-env').touch()
  (venv / 'half').touch()
  assert project.env(_FILES[0])[1] == ['venv', _FILES[0]]
  assert not (venv / 'half').exists() and (venv / 'made-by-launch-env').exists()


def test_env_reports_a_missing_or_old_python_in_one_line(project):
  (project.bin / 'python3.11').unlink()
  for present in (False, True):
    if present:
      project.put_python('python3', '#!/bin/bash\nexit 1\n')  # older than 3.11
    done, _ = project.env(_FILES[0])
    assert done.returncode == 1
    error = done.stderr
    assert error.startswith('error: no Python 3.11 or newer found') and error.count('\n') == 1
  project.put_python('python3')
  assert project.env(_FILES[0])[1] == ['venv', _FILES[0]]


@pytest.mark.parametrize('flag', ['--help', '-h'])
@pytest.mark.parametrize('script', [s for s in _SCRIPTS if s != 'env.sh'] + ['windows.sbatch'])
def test_help_prints_the_head_and_does_nothing(project, tmp_path, script, flag):
  elsewhere = tmp_path / 'else where'
  elsewhere.mkdir()
  before = sorted(project.root.rglob('*'))
  done, calls = project.run(str(project.root / 'launch' / script), flag, cwd=elsewhere)
  assert (done.returncode, done.stderr, calls) == (0, '', [])
  command = 'sbatch --array=0-63' if script == 'windows.sbatch' else 'bash'
  assert f'    {command} launch/{script}' in done.stdout
  head = (project.root / 'launch' / script).read_text().partition('set -')[0]
  assert done.stdout.splitlines() == [
    line.removeprefix('#').removeprefix(' ')
    for line in head.splitlines()[1:]
    if not line.startswith('#SBATCH')
  ]
  assert sorted(project.root.rglob('*')) == before and not os.listdir(elsewhere)


@pytest.mark.parametrize(
  'script, arguments',
  [
    ('ablate.sh', ['my [1] street', 'my [1] out', '50']),
    ('network_demo.sh', ['my [1] out', '50']),
    ('demo.sh', []),
  ],
)
def test_scripts_run_from_any_folder_with_blanks_and_brackets(project, tmp_path, script, arguments):
  """Relative paths are those of the caller, and each is one argument."""
  project.root = project.root.rename(tmp_path / 'my [2] project')
  elsewhere = tmp_path / 'else [3] where'
  elsewhere.mkdir()
  project.put_python(
    'python3.11',
    _FAKE_PYTHON.replace('*) echo "${', '*) printf "|%s" "$PWD" "$@" >>"$CALLS"; : "${'),
  )
  done, calls = project.run(
    str(project.root / 'launch' / script),
    *arguments,
    cwd=elsewhere,
    PNERF_DEMO_DIR='my [1] out',
    SEEDS='7',
    CDPATH=str(tmp_path),
  )
  assert done.returncode == 0, done.stderr
  words = ''.join(calls[2:]).split('|')
  assert words.count(str(elsewhere)) >= 4
  paths = [path for word in words for path in word.split('=')[-1].split(',') if 'my [1]' in path]
  assert paths and all(re.match(r'(pspnet:)?my \[1\] (out|street)(/[\w/-]+)?$', p) for p in paths)
  assert not [word for word in words if word in ('[1]', 'out', 'street', 'my')]


def test_test_script_checks_then_selects_tests(project):
  lint = ['-m ruff check --quiet .', '-m ruff format --quiet --check .']
  _, calls = project.script('test.sh', '-k', 'intervals')
  assert calls == [*lint, '-m mypy', '-m pytest -n 2 --dist worksteal -m not stress -k intervals']
  _, calls = project.script('test.sh', '--stress', '-x')
  assert calls == [*lint, '-m pytest -n 2 --dist worksteal -m stress -x']
  _, calls = project.script('test.sh', '--fast')
  fast = '-m pytest -n 2 --dist worksteal -m not slow and not stress '
  folders = calls[-1].removeprefix(fast).split()
  assert calls[:-1] == lint and 'tests/rendering' in folders
  assert all((_ROOT / folder).is_dir() for folder in folders)
  project.fail.touch()
  done, calls = project.run('launch/test.sh')
  assert done.returncode and calls == lint[:1]


def test_demo_skips_the_evaluation_of_an_evaluated_step(project):
  done, calls = project.script('demo.sh')
  assert done.returncode == 0 and 'runs/demo/run/eval/report.html' in done.stdout
  assert _binaries(calls) == ['street', 'train', 'eval', 'render']
  for step in (900, 1000):
    (project.root / f'runs/demo/run/checkpoints/{step}').mkdir(parents=True)
  for step, evaluated in ((1000, []), (900, ['eval']), (100, ['eval'])):
    project.write_metrics(
      'runs/demo/run',
      f'{{\n  "step": {step},\n  "semantic.miou": 0.7461,\n  "pseudo.miou": 0.28,\n'
      '  "pseudo.accuracy": null\n}\n',
    )
    report = project.root / 'runs/demo/run/eval/report.html'
    report.touch()
    os.utime(report, (1, 1))  # modification times must not matter
    done, calls = project.run('launch/demo.sh')
    assert re.search('2D network +28.0 % +–\n.*transfer.* 74.6 % +–\n', done.stdout), done.stdout
    assert _binaries(calls) == ['street', 'train', *evaluated, 'render']


def test_demo_uses_another_folder_and_stops_at_the_first_error(project):
  done, calls = project.script('demo.sh', PNERF_DEMO_DIR='elsewhere')
  assert done.returncode == 0 and len(calls) == 4
  assert all('elsewhere/' in call and 'runs/demo' not in call for call in calls)
  project.fail.touch()
  done, calls = project.run('launch/demo.sh')
  assert done.returncode == 1 and len(calls) == 1 and 'Done' not in done.stdout


def test_ablate_skips_finished_variants(project):
  done, calls = project.script('ablate.sh', 'street')
  assert done.returncode == 1 and 'error: expected STREET and OUT' in done.stderr and not calls
  done, calls = project.run(
    'launch/ablate.sh', 'street', 'out', '50', '--config.train.batch_rays=64'
  )
  assert done.returncode == 0, done.stderr
  assert len(calls) == 2 * 10 + 1
  assert calls[0] == (
    '-m pnerf_jax.train --config=configs/ablations.py:full --workdir=out/full '
    '--config.data.root=street --config.train.steps=50 --config.train.batch_rays=64'
  )
  assert calls[1] == '-m pnerf_jax.eval --workdir=out/full'
  assert calls[-1].startswith('launch/compare_runs.py --out=out/table --reference=full out/full ')
  assert len(calls[-1].split()) == 3 + 10
  for variant, step in (('full', 50), ('no_2d', 40)):
    project.write_metrics(f'out/{variant}', f'{{\n  "step": {step},\n  "frames": 2\n}}\n')
  _, calls = project.run('launch/ablate.sh', 'street', 'out', '50', VARIANTS='full no_2d')
  assert _binaries(calls[:-1]) == ['train', 'eval']
  assert 'no_2d' in calls[0] and calls[-1].endswith('out/full out/no_2d')


def test_network_demo_evaluates_on_frames_that_are_not_used_for_training(project):
  done, calls = project.script('network_demo.sh')
  assert done.returncode == 1 and 'error: expected OUT' in done.stderr and not calls
  command = ('launch/network_demo.sh', 'out', '50')
  environment = {'SEEDS': '7 8', 'NETWORK_STEPS': '40'}
  done, calls = project.run(*command, **environment)
  assert done.returncode == 0, done.stderr
  streets, others = calls[:5], calls[5:]
  assert [call.split()[3] for call in streets] == [
    f'--preset={preset}' for preset in ('suburb', 'village', 'suburb', 'village', 'boulevard')
  ]
  assert _binaries(others[:-1]) == [
    'pspnet',
    'pspnet',
    *2 * ['prepare', 'train', 'eval', 'baselines'],
    *('train', 'eval', 'baselines'),
  ]
  assert others[-1] == 'launch/network_table.py --street=out/street --out=out'
  assert '--config.train.steps=40' in others[0] and '--config.train.steps=10' in others[1]
  frames = lambda flag, call: set(map(int, re.search(f'{flag}=([0-9,]+)', call)[1].split(',')))
  labelled = frames('config.data.frames', others[1])
  evaluated = frames('config.data.eval_frames', others[3])
  street = scenery.Parameters('boulevard', 3)
  assert not labelled & evaluated and labelled | evaluated == set(street.frame_numbers)
  assert '--config.data.derived_root=out/tuned/labels' in others[7]
  project.write_metrics('out/alone/run', '{\n  "step": 50,\n  "frames": 2\n}\n')
  assert len(project.run(*command, **environment)[1]) == len(calls) - 1


def test_reproduce_paper_needs_data_and_uses_the_published_settings(project):
  done, calls = project.script('reproduce_paper.sh', 'data')
  assert done.returncode == 1 and 'expected DATA and OUT' in done.stderr and not calls
  command = ('launch/reproduce_paper.sh', 'data', 'out')
  done, calls = project.run(*command)
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
    done, calls = project.run(*command, **wrong)
    assert done.returncode == 1 and done.stderr.startswith('error: ') and not calls
  done, calls = project.run(*command, '--config.train.seed=1')
  assert done.returncode == 0, done.stderr
  assert len(calls) == 3 * 8 + 1
  assert {
    '--config=configs/kitti360.py:paper',
    '--config.data.start=1728',
    '--config.data.frames=64',
    '--config.scene.far=270',
    '--config.scene.center=1026.61635951,3845.02218379,115.69840974',
    '--config.train.seed=1',
    '--config.loss.depth_classes=7,8,12,13,35',
    '--workdir=out/1728_paper',
    '--config.data.eval_frames=1745,1755,1765,1775',
  } < set(calls[6].split())
  assert calls[8] == '-m pnerf_jax.eval --workdir=out/1728_paper --protocol=paper'
  assert '--config.scene.' not in calls[9]  # derived by the default config
  windows = (1538, 1728, 1908, 3353)
  runs = [f'out/{window}_{variant}' for window in windows for variant in ('paper', 'default')]
  assert calls[-1].split()[1:] == [*runs, '--out=out/table', '--paper']
  done, calls = project.run(
    'launch/reproduce_paper.sh', 'data', 'released', WEIGHTS='pth', WINDOWS='3353', VARIANTS='paper'
  )
  assert done.returncode == 0, done.stderr
  assert _binaries(calls[:3]) == ['prepare', 'eval', 'eval'] and len(calls) == 4
  assert {
    'import-weights',
    '--from=pth/3353.pth',
    '--config.scene.center=1360.034,3845.649,116.8115',
  } < set(calls[0].split())


def test_gpu_check_skips_finished_sections(project):
  check = lambda *args: project.run('launch/gpu_check.sh', *args, PNERF_PYTHON='python3.11')
  done, calls = check()
  assert done.returncode == 1 and 'error: expected OUT' in done.stderr and not calls
  done, calls = check('out')
  assert done.returncode == 0, done.stderr
  assert all(c.startswith('launch/benchmark.py') and '--rays=8192' in c for c in calls[:5])
  assert _binaries(calls[5:8]) == ['street', 'train', 'render']
  assert [call.split()[0] for call in calls[8:]] == ['launch/soak.py'] * 2
  report = (project.root / 'out/report.md').read_text()
  assert '| none | yes | 0 |\n| --xla_gpu_deterministic_ops=true | yes | 0 |' in report
  assert report.count('a table') == 5 and '64 stereo frames, 10000 steps of 8192 rays' in report
  (project.root / 'out/paper.md').unlink()
  done, calls = check('out')
  assert len(calls) == 1 and '--variant=paper' in calls[0]
  done, calls = check('small', 'tiny')
  assert done.returncode == 0 and sum('--rays=64' in call for call in calls) == 5
