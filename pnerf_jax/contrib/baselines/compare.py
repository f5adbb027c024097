"""Compares all methods of label transfer on one window, by the same evaluation.

Writes DIR/table.md, table.png, panels, and per method label maps and metrics.json.
"""

import dataclasses
import json
import logging
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.config import spec
from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.contrib.baselines import fusion, graph_cut, pictures, results, tables
from pnerf_jax.contrib.baselines.inputs import Reader
from pnerf_jax.contrib.baselines.methods import METHODS, Prediction, semantic_prediction
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.files import check_is_folder, read_bytes, write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator, ground_truth
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.config_file import check_same, load_config, save_config
from pnerf_jax.runs.experiment import Experiment, build_experiment
from pnerf_jax.runs.progress import progress_bar
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run
from pnerf_jax.training import field_task

_LOG = logging.getLogger(__name__)

TITLES = {
  **{name: title for name, (title, _) in METHODS.items()},
  'fusion': '2D-3D-2D fusion',
  'semantic_nerf': 'semantic NeRF without primitives',
  'ours': 'Panoptic NeRF (ours)',
}
_NEED_RUN = ('fusion', 'ours')
_NEED_SCANS = ('mesh_graph_cut', 'lidar_graph_cut')
_NEED_MAXFLOW = ('primitives_graph_cut', *_NEED_SCANS)
_FUSION_TOLERANCE = 0.1  # relative depth; a distant road changes as much within half a pixel
_NUM_PANELS = 3
_RESULTS_DEPEND_ON = ('data.eval_frames', 'eval.camera', 'eval.label_field')  # of free fields

Predict = Callable[[int], Prediction]  # by frame


@dataclasses.dataclass(frozen=True)
class _Frames:
  """The frames to label.

  Attributes:
    dataset: the window's files.
    camera: e.g. 'image_00'.
    views: cameras by frame, at the size of the source images.
  """

  dataset: DatasetIndex
  camera: str
  views: dict[int, Camera]

  def size(self, frame: int) -> tuple[int, int]:
    """Return (width, height)."""
    return self.views[frame].width, self.views[frame].height


def compare(
  config: Config | Mapping[str, Any] | None,
  out: Path,
  *,
  workdir: Path | None = None,
  step: int | None = None,
  methods: Sequence[str] = (),
  overrides: Mapping[str, Any] | None = None,
) -> str:
  """Predict, score and tabulate; finished results are kept.

  Args:
    config: of the window; None = that of RUN. The semantic NeRF uses it without the primitives.
    out: DIR.
    workdir: RUN, or None. A config must agree with it in what the parameters depend on.
    step: of RUN's checkpoint; None = the newest.
    methods: names from TITLES; empty = all whose input is available.
    overrides: without a config, other values of free config fields of RUN.

  Returns:
    The table as Markdown.

  Raises:
    InputError: bad input, or DIR holds results of another config or run.
  """
  out, config = Path(out), _config_of(config, workdir, overrides)
  check_is_folder(out, '--out')
  unknown = sorted(set(methods) - set(TITLES))
  if unknown:
    raise InputError(f'--methods: unknown method {unknown[0]}. Choose among {", ".join(TITLES)}.')
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frame_numbers = ground_truth.frames_to_score(dataset, camera, config.data.eval_frames)
  trained = None
  if workdir is not None:
    free = {name: operator.attrgetter(name)(config) for name in spec.free_fields(Config)}
    trained = load_trained_run(Path(workdir), step, overrides=free)
  run = trained.run if trained is not None else build_experiment(config)
  reader = Reader(run.scene, dataset, camera, config.scene.max_intervals_per_ray)
  names = _available(methods or list(TITLES), run, reader, has_run=trained is not None)
  out.mkdir(parents=True, exist_ok=True)
  save_config(config, out, also_same=_RESULTS_DEPEND_ON)
  views = {
    frame: dataset_camera(run.scene, dataset.view_index(frame, camera), full=True)
    for frame in frame_numbers
  }
  frames = _Frames(dataset, camera, views)
  steps = {'semantic_nerf': config.train.steps}
  if workdir is not None and trained is not None:
    for name in set(names) & set(_NEED_RUN):
      _claim(out / name, Path(workdir), trained.step)
      steps[name] = trained.step
  _predict_by_image(reader, frames, {n: out / n for n in names if n in METHODS})
  for name, prepare in _prepare_by_window(config, trained, out, frames).items():
    if name in names:
      _predict(out / name, frames, TITLES[name], prepare)
  _write_table(out, frames, names, steps)
  _write_panels(out, frames, names)
  return (out / 'table.md').read_text()


def _config_of(
  config: Config | Mapping[str, Any] | None,
  workdir: Path | None,
  overrides: Mapping[str, Any] | None,
) -> Config:
  """Return the checked config of the window, from the arguments of `compare`."""
  if workdir is None:
    if config is None:
      raise InputError(
        '--config is missing. Use --config=configs/kitti360.py, or name a --workdir.'
      )
    return parse_config(config)
  of_run = load_config(Path(workdir), overrides)
  if config is None:
    return of_run
  config = parse_config(config)
  check_same(of_run, config, Path(workdir, 'config.json'))
  return config


def _available(names: Sequence[str], run: Experiment, reader: Reader, has_run: bool) -> list[str]:
  """Return the methods that have their input, in the order of TITLES; log the others."""
  missing = {}
  if run.scene.window.pseudo_label is None:
    unlabelled = ('pseudo_labels', 'fusion', 'semantic_nerf')
    missing.update(dict.fromkeys(unlabelled, 'the window has no pseudo-labels'))
  if not reader.has_lidar():
    missing.update(dict.fromkeys(_NEED_SCANS, 'the window has no LiDAR scan'))
  if not graph_cut.is_installed():
    reason = 'PyMaxflow is not installed (pip install -r requirements-extra.txt -c constraints.txt)'
    missing.update(dict.fromkeys(_NEED_MAXFLOW, reason))
  if not has_run:
    missing.update(dict.fromkeys(_NEED_RUN, 'it needs a trained run; give one with --workdir'))
  for name in TITLES:
    if name in names and name in missing:
      _LOG.info('skipping %s: %s', TITLES[name], missing[name])
  available = [name for name in TITLES if name in names and name not in missing]
  if not available:
    raise InputError(
      f'--methods={",".join(names)}: no method has its input ({missing[names[0]]}). '
      'Choose other methods.'
    )
  return available


def _claim(folder: Path, workdir: Path, step: int) -> None:
  """Record the run of the results in a folder; raise InputError if they are of another run."""
  path, origin = folder / 'source.json', {'workdir': str(workdir.resolve()), 'step': step}
  content = json.dumps(origin).encode()
  hint = 'Use another --out.'
  if path.exists() and read_bytes(path, hint=hint) != content:
    raise InputError(f'{path}: the results there are not those of {workdir}, step {step}. {hint}')
  write_bytes(path, content)


def _predict_by_image(reader: Reader, frames: _Frames, folders: dict[str, Path]) -> None:
  """Write the missing predictions of METHODS, reading each image once."""
  missing = {
    frame: [name for name, folder in folders.items() if not results.is_complete(folder, frame)]
    for frame in frames.views
  }
  missing = {frame: names for frame, names in missing.items() if names}
  for frame, names in progress_bar(missing.items(), 'methods', 'image', disable=not missing):
    inputs = reader.read(frame, with_mesh='mesh_graph_cut' in names)
    for name in names:
      results.write_prediction(folders[name], frame, METHODS[name][1](inputs))


def _prepare_by_window(
  config: Config, trained: TrainedRun | None, out: Path, frames: _Frames
) -> dict[str, Callable[[], Predict]]:
  """Return functions that prepare the methods of the entire window, by name."""
  folder = out / 'semantic_nerf'
  prepare = {
    'semantic_nerf': lambda: _rendering(_train_semantic_nerf(config, folder), folder, frames)
  }
  if trained is None:
    return prepare
  ours = _rendering(trained, out / 'ours', frames)
  return {
    'ours': lambda: ours,
    'fusion': lambda: _fusion(trained, out / 'fusion', ours, frames),
    **prepare,
  }


def _predict(folder: Path, frames: _Frames, title: str, prepare: Callable[[], Predict]) -> None:
  """Write the missing predictions of a method."""
  missing = [frame for frame in frames.views if not results.is_complete(folder, frame)]
  if missing:
    predict = prepare()
    for frame in progress_bar(missing, title, 'image'):
      results.write_prediction(folder, frame, predict(frame))


def _rendering(trained: TrainedRun, folder: Path, frames: _Frames) -> Predict:
  """Return a function that renders a frame of a run, or reads it if it is complete."""

  def predict(frame: int) -> Prediction:
    if results.is_complete(folder, frame):
      return results.read_prediction(folder, frame, frames.size(frame))
    image = trained.renderer(trained.params, frames.views[frame])
    return Prediction(image.semantic, image.instance, image.depth)

  return predict


def _fusion(trained: TrainedRun, folder: Path, ours: Predict, frames: _Frames) -> Predict:
  """Return a function that fuses the pseudo-labels of all views over the run's depth."""
  window = trained.run.scene.window
  views = []
  for image in progress_bar(range(len(window.view_frame)), 'depth of all views', 'image'):
    camera = dataset_camera(trained.run.scene, image, full=False)
    path = folder / 'depth_of_views' / f'{image:04d}.png'
    if not path.exists():
      image_io.write_depth(path, trained.renderer(trained.params, camera).depth)
    pseudo_label = window.crop_to_image(window.pseudo_label, image)
    assert pseudo_label is not None  # without pseudo-labels, _available excludes this method
    views.append(
      fusion.LabelledView(
        camera=camera,
        depth=image_io.read_depth(path, (camera.width, camera.height)),
        pseudo_label=pseudo_label,
        confidence=window.crop_to_image(window.pseudo_confidence, image),
      )
    )

  def predict(frame: int) -> Prediction:
    depth = ours(frame).depth
    assert depth is not None  # the field renders depth
    return semantic_prediction(fusion.fuse(depth, frames.views[frame], views, _FUSION_TOLERANCE))

  return predict


def _train_semantic_nerf(config: Config, workdir: Path) -> TrainedRun:
  """Train a field on images, depth and pseudo-labels without primitives, with the same budget."""
  config = dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, primitives='none'),
    scene=dataclasses.replace(config.scene, unannotated_space='void'),
  )
  field_task.train(config, workdir)
  return load_trained_run(workdir, None)


def _write_table(out: Path, frames: _Frames, names: Sequence[str], steps: dict[str, int]) -> None:
  """Score the methods that have no metrics.json, and write the table of all."""
  metrics = {name: out / name / 'metrics.json' for name in names}
  missing = {name: path.parent for name, path in metrics.items() if not path.exists()}
  results.score(missing, frames.dataset, frames.camera, frames.views, steps)
  rows = [(TITLES[name], evaluator.read_metrics(path)) for name, path in metrics.items()]
  tables.write_table(out / 'table', results.COLUMNS, rows, corner='method')


def _write_panels(out: Path, frames: _Frames, names: Sequence[str]) -> None:
  """Write pictures of a few frames with all methods side by side."""
  count = min(_NUM_PANELS, len(frames.views))
  chosen = np.unique(np.linspace(0, len(frames.views) - 1, count).round().astype(int))
  for frame in (list(frames.views)[i] for i in chosen):
    view = frames.views[frame]
    truth = ground_truth.read_ground_truth(
      frames.dataset, frames.camera, frame, view.world_from_cam, view.intrinsics
    )
    predictions = {n: results.read_prediction(out / n, frame, frames.size(frame)) for n in names}
    pictures.write_comparison(
      out / 'panels' / f'{frames.camera}_{kitti360.frame_name(frame)}.png',
      truth.photo,
      truth.truth_semantic,
      [(TITLES[name], prediction.semantic) for name, prediction in predictions.items()],
    )
