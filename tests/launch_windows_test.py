"""The launchers of windows: array jobs against a SLURM that only writes down, manifests by schema.

Both manifests are read by models made of the schemas of Kubernetes and of JobSet
(kubeflow-trainer-api). One more check needs `pip install kubernetes-validate`, 100 MB, and is
skipped without it.
"""

import pathlib
import re
import shutil
import subprocess

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LAUNCH = _ROOT / 'launch'


def put(path, text):
  path.write_text(f'#!/bin/bash\n{text}\n')
  path.chmod(0o755)


@pytest.fixture
def project(tmp_path):
  """A copy of the launchers with a PATH of fakes; returns what runs one of them."""
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

  def call(script, *words, python='', **fakes):
    put(folder / 'python', python)
    for name, text in fakes.items():
      put(folder / name, f'echo "{name} $*" >>"{calls}"\n{text}')
    calls.write_text('')
    done = subprocess.run(
      ['bash', f'launch/{script}', *words],
      cwd=tmp_path,
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
def test_windows_are_dealt_to_arrays_of_the_size_that_slurm_allows(project, indices, arrays):
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
    f'sbatch --parsable --array={array.split()[0]} --gres=gpu:1 launch/windows.sbatch '
    + ' '.join(array.split()[1:])
    for array in arrays
  ]
  assert done.stdout.split() == ['5'] * len(arrays)


def test_an_array_task_runs_its_window_and_queues_again_before_the_time_limit(project):
  done, calls = project(
    'windows.sbatch', 't', 'o', '20', python='echo "$*" >>"$CALLS"; exit 1', scontrol=''
  )
  assert done.returncode == 1
  assert calls == ['-m pnerf_jax.windows run --windows=t --out=o --index=23']
  # Warned by USR1, as SLURM does, it has the window stop; 130 says that it can go on.
  stop = (
    'trap "exit 130" TERM; kill -USR1 $PPID; '
    'while (( SECONDS < 60 )); do read -t 0.05 <> <(:); done'
  )
  done, calls = project('windows.sbatch', 't', 'o', python=stop, scontrol='')
  assert done.returncode == 130 and calls == ['scontrol requeue 77']
  stop = stop.replace('USR1', 'TERM')  # cancelled: it stops, and that is all
  done, calls = project('windows.sbatch', 't', 'o', python=stop, scontrol='')
  assert done.returncode == 130 and not calls


def test_local_workers_share_the_windows_and_the_gpus(project):
  done, calls = project(
    'windows_local.sh',
    't',
    'o',
    '3',
    **{'nvidia-smi': 'echo "GPU 0"; echo "GPU 1"'},
    python='echo "$CUDA_VISIBLE_DEVICES $*" >>"$CALLS"; [[ "$*" != *--share=1/3 ]]',
  )
  assert done.returncode == 1  # one worker did not finish
  assert sorted(calls[1:-1]) == [
    f'{gpu} -m pnerf_jax.windows run --windows=t --out=o --share={i}/3'
    for gpu, i in ((0, 0), (0, 2), (1, 1))
  ]
  assert calls[-1].endswith('-m pnerf_jax.windows status --windows=t --out=o')


def test_every_host_of_a_pod_gets_its_share(project):
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
    (re.search(r'--worker=(\d)', call)[1], re.search(r'--share=\S+', call)[0])
    for call in sorted(calls[1:])
  ] == [('0', '--share=0/2'), ('1', '--share=1/2')]


@pytest.mark.parametrize(
  'script, count', [('windows_slurm.sh', 2), ('windows_local.sh', 2), ('windows_tpu_pod.sh', 5)]
)
def test_missing_words_are_one_clear_error(project, script, count):
  done, calls = project(script, *['x'] * (count - 1))
  assert done.returncode == 1 and done.stderr.startswith('error: expected ') and not calls


def _documents():
  yaml = pytest.importorskip('yaml')
  job = yaml.safe_load((_LAUNCH / 'windows_kubernetes.yaml').read_text())
  jobs = yaml.safe_load((_LAUNCH / 'windows_jobset.yaml').read_text())
  return job, jobs


def _fits(document, model):
  """Whether a model takes it and loses nothing, which it would of an unknown field."""
  try:
    return model.from_dict(document).to_dict() == document
  except ValueError:  # pydantic's
    return False


def test_manifests_fit_the_models_of_kubernetes_and_jobset():
  import kubeflow_trainer_api.models as models  # seconds

  job, jobs = _documents()
  for document, model in (
    (job['spec'], models.IoK8sApiBatchV1JobSpec),
    (jobs, models.JobsetV1alpha2JobSet),
  ):
    assert _fits(document, model)
    slips = 0
    for parent, key in list(_entries(document)):  # every single one would be found
      value = parent.pop(key)
      parent[f'{key}x'] = value
      slips += _fits(document, model)
      parent[key] = parent.pop(f'{key}x')
    assert not slips
  jobs['spec']['replicatedJobs'][0]['replicas'] = 'one'
  assert not _fits(jobs, models.JobsetV1alpha2JobSet)


def _entries(document):
  """(mapping, key) of every field, but for names that are free."""
  if isinstance(document, list):
    for item in document:
      yield from _entries(item)
  elif isinstance(document, dict):
    for key, value in document.items():
      yield document, key
      if key not in ('labels', 'requests', 'limits'):
        yield from _entries(value)


def test_manifests_fit_the_schema_of_kubernetes():
  validate = pytest.importorskip('kubernetes_validate')
  job, jobs = _documents()
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
    part['spec']['template']['spec']['containers'][0]['comand'] = []  # a slip is found
    with pytest.raises(validate.ValidationError):
      validate.validate(part, '1.29', strict=True)


def test_the_job_and_the_jobset_run_the_same_windows():
  job, jobs = _documents()
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
