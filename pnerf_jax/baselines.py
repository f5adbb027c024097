"""Runs every method of label transfer on one window and scores all by the same evaluation.

    python -m pnerf_jax.baselines --config=configs/kitti360.py[:variant] --out=DIR [--workdir=RUN]
        [--config.data.root=DATA --config.data.sequence=SEQ --config.data.start=3353]
        [--step=N] [--methods=crf,ours]

RUN is a run of the same config; without it, what needs its field is left out. Writes DIR/table.md,
table.png, panels, and per method label maps and metrics.json; what is finished is kept and skipped
on a rerun. Prints the table last.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np
import tqdm
from absl import flags
from ml_collections import config_flags

from pnerf_jax import cli
from pnerf_jax.contrib.baselines import fusion, graph_cut, pictures, results
from pnerf_jax.contrib.baselines import methods as by_image
from pnerf_jax.contrib.baselines.inputs import Reader
from pnerf_jax.contrib.baselines.methods import Prediction
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import DatasetIndex, open_dataset
from pnerf_jax.data.files import check_is_folder, read_bytes, write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator, ground_truth
from pnerf_jax.evaluation.report import tables
from pnerf_jax.labelling.images import Camera, dataset_camera
from pnerf_jax.runs.config_file import load_config, save_config
from pnerf_jax.runs.experiment import Experiment, build_experiment
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run
from pnerf_jax.training import field_task

_LOG = logging.getLogger(__name__)

TITLES = {
  **{name: title for name, (title, _) in by_image.METHODS.items()},
  'fusion': '2D-3D-2D fusion',
  'semantic_nerf': 'semantic NeRF without primitives',
  'ours': 'Panoptic NeRF (ours)',
}
_OF_RUN = ('fusion', 'ours')
_TOLERANCE = 0.1  # of the fusion: relative depth; a road far ahead changes as much in half a pixel
_MAX_SOURCE = 2**16  # bytes
_PICTURED = 3  # frames


def compare(
  config: ml_collections.ConfigDict,
  out: Path,
  workdir: Path | None = None,
  step: int | None = None,
  methods: list[str] = (),
) -> str:
  """Predicts, scores and tabulates.

  Args:
    config: of the window; also that of RUN, and of the semantic NeRF but for its primitives.
    out: DIR.
    workdir: RUN, or None.
    step: checkpoint of RUN; None = the newest.
    methods: names from TITLES; empty = all for which there is input.

  Returns:
    The table as Markdown.

  Raises:
    InputError: bad input, or DIR holds results of another config or run.
  """
  out = Path(out)
  check_is_folder(out, '--out')
  unknown = sorted(set(methods) - set(TITLES))
  if unknown:
    raise InputError(f'--methods: there is no {unknown[0]}. Choose among {", ".join(TITLES)}.')
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frames = ground_truth.frames_to_score(dataset, camera, config.data.eval_frames)
  trained = None
  if workdir is not None:
    check_same_run(config, Path(workdir))
    trained = load_trained_run(Path(workdir), step)
  run = build_experiment(config) if trained is None else trained.run
  reader = Reader(run.scene, dataset, camera, config.scene.max_intervals_per_ray)
  chosen = _possible(methods or TITLES, run, reader, workdir)
  out.mkdir(parents=True, exist_ok=True)
  save_config(config, out)
  views = {
    frame: dataset_camera(run.scene, dataset.view_index(frame, camera), full=True)
    for frame in frames
  }
  for name in set(chosen) & set(_OF_RUN):
    _claim(out / name, Path(workdir), trained.step)
  _predict_by_image(reader, frames, out, [n for n in chosen if n in by_image.METHODS])
  if trained is not None:
    own = _renders(trained, out / 'ours', views)
    _predict(out, 'ours', chosen, frames, lambda: own)
    _predict(out, 'fusion', chosen, frames, lambda: _fuses(trained, out / 'fusion', own, views))
  plain = out / 'semantic_nerf'
  _predict(
    out,
    'semantic_nerf',
    chosen,
    frames,
    lambda: _renders(_semantic_nerf(config, plain), plain, views),
  )
  steps = {'semantic_nerf': config.train.steps}
  if trained is not None:
    steps.update(dict.fromkeys(_OF_RUN, trained.step))
  scored = {name: out / name / 'metrics.json' for name in chosen}
  results.score(
    out, [name for name in chosen if not scored[name].exists()], dataset, camera, views, steps
  )
  rows = [(TITLES[name], evaluator.read_metrics(path)) for name, path in scored.items()]
  tables.write_table(out / 'table', results.COLUMNS, rows, corner='method')
  _write_panels(out, dataset, camera, views, chosen)
  return (out / 'table.md').read_text()


def check_same_run(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Raises InputError where RUN was trained on another window or otherwise than config says."""
  theirs, ours = load_config(workdir), json.loads(config.to_json_best_effort())
  for group in ('data', 'scene', 'model', 'loss', 'optim', 'train'):
    for field, value in ours[group].items():
      other = theirs.get(group, {}).get(field, 'absent')
      if field in ('root', 'derived') and isinstance(other, str):
        same = Path(other).resolve() == Path(value).resolve()
      else:
        same = field == 'eval_frames' or other == value
      if not same:
        raise InputError(
          f'{workdir / "config.json"}: config.{group}.{field} is {other!r} there but'
          f' {value!r} now. Give the config with which the run was trained.'
        )


def _possible(names, run: Experiment, reader: Reader, workdir: Path | None) -> list[str]:
  """Those methods, in the order of TITLES, for which there is input; the others are logged."""
  lacks = {}
  if run.scene.window.pseudo_label is None:
    lacks.update(
      dict.fromkeys(('pseudo_labels', 'fusion', 'semantic_nerf'), 'the window has no pseudo labels')
    )
  if not reader.has_lidar():
    lacks['lidar_graph_cut'] = 'the window has no LiDAR scan'
  if not graph_cut.installed():
    lacks.update(
      dict.fromkeys(
        ('primitives_graph_cut', 'lidar_graph_cut'),
        'PyMaxflow is not installed (pip install -r requirements-extra.txt -c constraints.txt)',
      )
    )
  if workdir is None:
    lacks.update(dict.fromkeys(_OF_RUN, 'it needs a trained run; give one with --workdir'))
  for name in TITLES:
    if name in names and name in lacks:
      _LOG.info('%s is left out: %s', TITLES[name], lacks[name])
  possible = [name for name in TITLES if name in names and name not in lacks]
  if not possible:
    raise InputError(
      f'--methods={",".join(names)}: none of them has its input ({lacks[names[0]]}). Name others.'
    )
  return possible


def _claim(folder: Path, workdir: Path, step: int) -> None:
  """Notes whose results a folder holds. Raises InputError where they are another run's."""
  path, source = folder / 'source.json', {'workdir': str(workdir.resolve()), 'step': step}
  content = json.dumps(source).encode()
  remedy = f'Remove {folder} or choose another --out.'
  if path.exists() and read_bytes(path, _MAX_SOURCE, remedy) != content:
    raise InputError(f'{path}: the results there are not those of {workdir}, step {step}. {remedy}')
  write_bytes(path, content)


def _predict_by_image(reader: Reader, frames: list[int], out: Path, names: list[str]) -> None:
  """The methods that need one image's inputs alone; each image is read once for all of them."""
  missing = {
    frame: [name for name in names if not results.is_whole(out / name, frame)] for frame in frames
  }
  frames = [frame for frame in frames if missing[frame]]
  for frame in tqdm.tqdm(frames, desc='methods by image', unit='image', disable=not frames):
    inputs = reader.read(frame)
    for name in missing[frame]:
      results.write(out / name, frame, by_image.METHODS[name][1](inputs))


def _predict(
  out: Path,
  name: str,
  chosen: list[str],
  frames: list[int],
  make: Callable[[], Callable[[int], Prediction]],
) -> None:
  """Writes the frames that a method lacks, if it is chosen; `make` prepares it."""
  frames = [frame for frame in frames if not results.is_whole(out / name, frame)]
  if name in chosen and frames:
    predict = make()
    for frame in tqdm.tqdm(frames, desc=TITLES[name], unit='image'):
      results.write(out / name, frame, predict(frame))


def _renders(
  trained: TrainedRun, folder: Path, views: dict[int, Camera]
) -> Callable[[int], Prediction]:
  """Renders a frame of a run, or reads it where it was rendered before."""

  def predict(frame: int) -> Prediction:
    view = views[frame]
    if results.is_whole(folder, frame):
      return results.read(folder, frame, (view.width, view.height))
    image = trained.renderer(trained.params, view)
    return Prediction(image.semantic, image.instance, image.depth)

  return predict


def _fuses(
  trained: TrainedRun, folder: Path, own: Callable[[int], Prediction], views: dict[int, Camera]
) -> Callable[[int], Prediction]:
  """Fuses the pseudo labels of all views over the run's depth."""
  window = trained.run.scene.window
  voting = []
  for image in tqdm.tqdm(range(len(window.view_frame)), desc='depth of all views', unit='image'):
    view = dataset_camera(trained.run.scene, image, full=False)
    path = folder / 'depth_of_views' / f'{image:04d}.png'
    if not path.exists():
      image_io.write_depth(path, trained.renderer(trained.params, view).depth)
    voting.append(
      fusion.LabelledView(
        view.intrinsics,
        view.world_from_cam,
        image_io.read_depth(path, (view.width, view.height)),
        window.of_view(window.pseudo_label, image),
        window.of_view(window.pseudo_confidence, image),
      )
    )

  def predict(frame: int) -> Prediction:
    return by_image.classes_alone(
      fusion.fuse(
        own(frame).depth, views[frame].world_from_cam, views[frame].intrinsics, voting, _TOLERANCE
      )
    )

  return predict


def _semantic_nerf(config: ml_collections.ConfigDict, workdir: Path) -> TrainedRun:
  """Trains a field on photos, depth and pseudo labels alone, with the same budget."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.data.primitives, config.scene.unannotated_space = 'none', 'void'
  field_task.train(config, workdir)
  return load_trained_run(workdir, None)


def _write_panels(
  out: Path, dataset: DatasetIndex, camera: str, views: dict[int, Camera], names: list[str]
) -> None:
  """A few frames of all methods side by side."""
  spread = np.unique(np.linspace(0, len(views) - 1, min(_PICTURED, len(views))).round().astype(int))
  for frame in (list(views)[i] for i in spread):
    view = views[frame]
    found = ground_truth.read_ground_truth(
      dataset, camera, frame, view.world_from_cam, view.intrinsics
    )
    shown = [
      (TITLES[name], results.read(out / name, frame, (view.width, view.height)).semantic)
      for name in names
    ]
    pictures.write_comparison(
      out / 'panels' / f'{camera}_{kitti360.frame_name(frame)}.png',
      found.photo,
      found.truth_semantic,
      shown,
    )


def _define_flags() -> None:
  config_flags.DEFINE_config_file('config', None, 'The config.', lock_config=True)
  flags.DEFINE_string('out', None, 'DIR: where results go.')
  flags.DEFINE_string('workdir', None, 'RUN: a run of the same config; none by default.')
  flags.DEFINE_integer('step', None, 'Which checkpoint of RUN; the newest by default.')
  flags.DEFINE_list('methods', [], f'Some of {", ".join(TITLES)}; all by default.')
  flags.mark_flag_as_required('config')
  cli.require_words('out')


def main() -> None:
  """Compares with the flags and prints the table."""
  options = flags.FLAGS
  print(
    compare(options.config, options.out, options.workdir, options.step, options.methods), end=''
  )


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
