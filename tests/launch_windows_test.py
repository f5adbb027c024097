"""Tests of the launchers of windows: with simulated commands, and against the schemas.

The Kubernetes and JobSet files are parsed by models generated from their schemas
(kubeflow-trainer-api). Another check needs `pip install kubernetes-validate`, 100 MB, and is
skipped without it.
"""

import pathlib
import re
import shutil
import subprocess

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LAUNCH = _ROOT / 'launch'
# Runs the command of a host with its words printed instead of executed.
_RUN_ON_HOST = """
if [[ "$*" == *describe* ]]; then echo 10.0.0.1; exit; fi
cd() { echo "$1"; }
env() { printf '%s\\n' env "$@"; }
for word in "$@"; do
  if [[ $word == --command=* ]]; then eval "${word#--command=}" >words; fi
done"""


def write_script(path, text):
  """Write an executable bash script."""
  path.write_text(f'#!/bin/bash\n{text}\n')
  path.chmod(0o755)


@pytest.fixture
def project(tmp_path):
  """Runs a copy of a launcher with simulated commands in its PATH."""
  (tmp_path / 'launch').mkdir()
  for name in (
    'windows_slurm.sh',
    'windows_local.sh',
    'windows_tpu_pod.sh',
    'windows.sbatch',
    'env.sh',
  ):
    shutil.copy(_LAUNCH / name, tmp_path / 'launch')
  folder, calls = tmp_path / 'bin', tmp_path / 'calls'
  folder.mkdir()
  for tool in ('bash', 'dirname', 'sed', 'awk', 'seq', 'grep', 'tr'):
    (folder / tool).symlink_to(shutil.which(tool))

  def call(script, *arguments, python='', cwd=tmp_path, launch='launch', **commands):
    write_script(folder / 'python', python)
    for name, text in commands.items():
      write_script(folder / name, f'echo "{name} $*" >>"{calls}"\n{text}')
    calls.write_text('')
    done = subprocess.run(
      ['bash', f'{launch}/{script}', *arguments],
      cwd=cwd,
      capture_output=True,
      text=True,
      check=False,
      env={
        'PATH': str(folder),
        'PNERF_PYTHON': str(folder / 'python'),
        'SLURM_ARRAY_TASK_ID': '3',
        'SLURM_JOB_ID': '77',
        'CALLS': str(calls),
      },
    )
    return done, calls.read_text().splitlines()

  return call


@pytest.mark.parametrize(
  'script, python, command',
  [
    ('windows_local.sh', 'echo "$PWD|$PYTHONPATH|$*" >>"$CALLS"', 'run'),
    ('windows_slurm.sh', 'echo "$PWD|$PYTHONPATH|$*" >>"$CALLS"; echo 0', 'status'),
  ],
)
def test_relative_paths_are_those_of_the_caller(project, tmp_path, script, python, command):
  folder = tmp_path / 'else where'
  folder.mkdir()
  done, calls = project(
    script,
    'my windows.txt',
    'my out',
    python=python,
    sbatch='echo 5',
    scontrol='echo "MaxArraySize = 10"',
    cwd=folder,
    launch='../launch',
  )
  assert done.returncode == 0, done.stderr
  call = next(call for call in calls if f'windows {command}' in call)
  here, path, words = call.split('|')
  assert (here, path) == (str(folder), str(tmp_path))
  assert words.startswith(f'-m pnerf_jax.windows {command} --windows=my windows.txt --out=my out')
  if command == 'status':
    assert calls[-1] == (
      f'sbatch --parsable --array=0 {tmp_path}/launch/windows.sbatch my windows.txt my out 0'
    )


def test_commands_for_a_pod_are_quoted(project, tmp_path):
  arguments = ('pod', 'zone', "/p's dir", 'w $(touch hacked).txt', "o'ut")
  done, calls = project('windows_tpu_pod.sh', *arguments, gcloud=_RUN_ON_HOST)
  assert done.returncode == 0, done.stderr
  words = (tmp_path / 'words').read_text().split('\n')
  assert words[:3] == ["/p's dir", 'env', 'TPU_PROCESS_BOUNDS=1,1,1']
  assert words[-4:-1] == ['--windows=w $(touch hacked).txt', "--out=o'ut", '--shard=0/1']


@pytest.mark.parametrize(
  'indices, arrays',
  [
    ('0-3', ['0-3 t o 0']),
    ('', []),
    ('4,6-7,9', ['4,6-7,9 t o 0']),
    ('8-12,19,20,35-36', ['8-9 t o 0', '0-2,9 t o 10', '0 t o 20', '5-6 t o 30']),
    ('0-29', ['0-9 t o 0', '0-9 t o 10', '0-9 t o 20']),
    ('10', ['0 t o 10']),
  ],
)
def test_slurm_arrays_respect_the_maximum_size(project, tmp_path, indices, arrays):
  done, calls = project(
    'windows_slurm.sh',
    't',
    'o',
    '--gres=gpu:1',
    python=f'echo "{indices}"',
    sbatch='echo 5',
    scontrol='echo "MaxArraySize            = 10"',
  )
  assert done.returncode == 0, done.stderr
  submitted = [call for call in calls if call.startswith('sbatch')]
  assert submitted == [
    f'sbatch --parsable --array={array.split()[0]} --gres=gpu:1 {tmp_path}/launch/windows.sbatch '
    + ' '.join(array.split()[1:])
    for array in arrays
  ]
  assert done.stdout.split() == ['5'] * len(arrays)


@pytest.mark.stress
def test_an_array_task_runs_its_window_and_requeues_before_the_time_limit(project):
  done, calls = project(
    'windows.sbatch', 't', 'o', '20', python='echo "$*" >>"$CALLS"; exit 1', scontrol=''
  )
  assert done.returncode == 1
  assert calls == ['-m pnerf_jax.windows run --windows=t --out=o --index=23']
  # After USR1, which SLURM sends before the time limit, the window stops with exit code 130.
  stop = (
    'trap "exit 130" TERM; kill -USR1 $PPID; '
    'while (( SECONDS < 60 )); do read -t 0.05 <> <(:); done'
  )
  done, calls = project('windows.sbatch', 't', 'o', python=stop, scontrol='')
  assert done.returncode == 130 and calls == ['scontrol requeue 77']
  stop = stop.replace('USR1', 'TERM')  # cancelled: it stops without requeueing
  done, calls = project('windows.sbatch', 't', 'o', python=stop, scontrol='')
  assert done.returncode == 130 and not calls


def test_local_workers_divide_the_windows_and_gpus(project):
  done, calls = project(
    'windows_local.sh',
    't',
    'o',
    '3',
    **{'nvidia-smi': 'echo "GPU 0"; echo "GPU 1"'},
    python='echo "$CUDA_VISIBLE_DEVICES $*" >>"$CALLS"; [[ "$*" != *--shard=1/3 ]]',
  )
  assert done.returncode == 1  # one worker failed
  assert sorted(calls[1:-1]) == [
    f'{gpu} -m pnerf_jax.windows run --windows=t --out=o --shard={i}/3'
    for gpu, i in ((0, 0), (0, 2), (1, 1))
  ]
  assert calls[-1].endswith('-m pnerf_jax.windows status --windows=t --out=o')


def test_every_host_of_a_pod_runs_its_shard(project):
  done, calls = project(
    'windows_tpu_pod.sh',
    'pod',
    'zone',
    '/p',
    't',
    'o',
    gcloud='[[ "$*" == *describe* ]] && echo "10.0.0.1;10.0.0.2" || true',
  )
  assert done.returncode == 0, done.stderr
  assert [
    (re.search(r'--worker=(\d)', call)[1], re.search(r'--shard=\S+', call)[0])
    for call in sorted(calls[1:])
  ] == [('0', '--shard=0/2'), ('1', '--shard=1/2')]


@pytest.mark.parametrize(
  'script, count', [('windows_slurm.sh', 2), ('windows_local.sh', 2), ('windows_tpu_pod.sh', 5)]
)
def test_missing_arguments_are_one_clear_error(project, script, count):
  done, calls = project(script, *['x'] * (count - 1))
  assert done.returncode == 1 and done.stderr.startswith('error: expected ') and not calls


def _read_documents():
  yaml = pytest.importorskip('yaml')
  job = yaml.safe_load((_LAUNCH / 'windows_kubernetes.yaml').read_text())
  jobs = yaml.safe_load((_LAUNCH / 'windows_jobset.yaml').read_text())
  return job, jobs


def _is_accepted(document, model):
  """Return whether a model accepts a document completely; it would drop unknown fields."""
  try:
    return model.from_dict(document).to_dict() == document
  except ValueError:  # pydantic's
    return False


def test_documents_match_the_models_of_kubernetes_and_jobset():
  import kubeflow_trainer_api.models as models  # seconds

  job, jobs = _read_documents()
  for document, model in (
    (job['spec'], models.IoK8sApiBatchV1JobSpec),
    (jobs, models.JobsetV1alpha2JobSet),
  ):
    assert _is_accepted(document, model)
    undetected = 0
    for parent, key in list(_entries(document)):  # every misspelt field is detected
      value = parent.pop(key)
      parent[f'{key}x'] = value
      undetected += _is_accepted(document, model)
      parent[key] = parent.pop(f'{key}x')
    assert not undetected
  jobs['spec']['replicatedJobs'][0]['replicas'] = 'one'
  assert not _is_accepted(jobs, models.JobsetV1alpha2JobSet)


def _entries(document):
  """Yield (mapping, key) of every field, except user-defined names."""
  if isinstance(document, list):
    for item in document:
      yield from _entries(item)
  elif isinstance(document, dict):
    for key, value in document.items():
      yield document, key
      if key not in ('labels', 'requests', 'limits'):
        yield from _entries(value)


def test_documents_match_the_schema_of_kubernetes():
  validate = pytest.importorskip('kubernetes_validate')
  job, jobs = _read_documents()
  parts = [job] + [
    {
      'apiVersion': 'batch/v1',
      'kind': 'Job',
      'metadata': {'name': part['name']},
      **part['template'],
    }
    for part in jobs['spec']['replicatedJobs']
  ]
  for part in parts:
    validate.validate(part, '1.29', strict=True)
    part['spec']['template']['spec']['containers'][0]['comand'] = []  # a misspelt field is detected
    with pytest.raises(validate.ValidationError):
      validate.validate(part, '1.29', strict=True)


def test_job_and_jobset_run_the_same_windows():
  job, jobs = _read_documents()
  first, second = jobs['spec']['replicatedJobs']
  assert first['template']['spec'] == job['spec']
  assert second['dependsOn'] == [{'name': first['name'], 'status': 'Complete'}]
  command = ' '.join(job['spec']['template']['spec']['containers'][0]['command'])
  assert command.endswith('--index="$JOB_COMPLETION_INDEX"')
  for part, name in ((first, 'windows'), (second, 'merge')):
    command = ' '.join(part['template']['spec']['template']['spec']['containers'][0]['command'])
    source = (_ROOT / 'pnerf_jax' / f'{name}.py').read_text()
    assert f'-m pnerf_jax.{name} ' in command
    for flag in re.findall(r'--(\w+)', command):
      assert f"'{flag}'" in source, flag
