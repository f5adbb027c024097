"""The predictions of the methods on disk, and their scores.

    DIR/<method>/{semantic,instance,depth}/<frame>.png   encodings of KITTI-360 (depth: if any)
    DIR/<method>/metrics.json                            as RUN/eval/metrics.json

Scores are computed from the files, so that an interrupted comparison ends with the same values.
"""

from collections.abc import Mapping
from pathlib import Path

from pnerf_jax.contrib.baselines.methods import Prediction
from pnerf_jax.contrib.baselines.tables import Column
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.evaluation import evaluator, ground_truth
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.runs.progress import progress_bar

COLUMNS = (
  Column('semantic.miou', 'mIoU'),
  Column('semantic.accuracy', 'accuracy'),
  Column('consistency.mc', 'MC'),
  Column('panoptic.all.pq', 'PQ'),
  Column('panoptic.all.sq', 'SQ'),
  Column('panoptic.all.rq', 'RQ'),
  Column('panoptic.things.pq', 'PQ (things)'),
  Column('depth.rmse', 'RMSE (m)', 2, 'low'),
  Column('depth.delta1', 'δ < 1.25'),
)


def _paths(folder: Path, frame: int) -> tuple[Path, Path, Path]:
  name = f'{kitti360.frame_name(frame)}.png'
  return folder / 'semantic' / name, folder / 'instance' / name, folder / 'depth' / name


def is_complete(folder: Path, frame: int) -> bool:
  """Return whether a frame's prediction exists; its semantic map is written last."""
  return _paths(folder, frame)[0].exists()


def write_prediction(folder: Path, frame: int, prediction: Prediction) -> None:
  """Write one frame's prediction, each file atomically."""
  semantic, instance, depth = _paths(folder, frame)
  if prediction.depth is not None:
    image_io.write_depth(depth, prediction.depth)
  image_io.write_instance(instance, prediction.instance)
  image_io.write_label(semantic, prediction.semantic)


def read_prediction(folder: Path, frame: int, size: tuple[int, int]) -> Prediction:
  """Read one frame's prediction; size: (width, height)."""
  semantic, instance, depth = _paths(folder, frame)
  return Prediction(
    image_io.read_label(semantic, size),
    image_io.read_instance(instance, size),
    image_io.read_depth(depth, size) if depth.exists() else None,
  )


def score(
  folders: Mapping[str, Path],
  dataset: DatasetIndex,
  camera: str,
  views: Mapping[int, Camera],
  steps: Mapping[str, int | None],
) -> None:
  """Score the files of methods as `python -m pnerf_jax.eval` does, and write their metrics.json.

  Args:
    folders: of the methods, by name.
    dataset: the window's files.
    camera: e.g. 'image_00'.
    views: cameras by frame, at the size of the source images.
    steps: of the methods' checkpoints; methods without one may be missing.
  """
  if not folders:
    return
  scores = {name: evaluator.Evaluator() for name in folders}
  for frame, view in progress_bar(views.items(), 'scores', 'image'):
    truth = ground_truth.read_ground_truth(
      dataset, camera, frame, view.world_from_cam, view.intrinsics
    )
    for name, folder in folders.items():
      prediction = read_prediction(folder, frame, (view.width, view.height))
      scores[name].add(
        FrameResult(frame=frame, camera=camera, rgb=None, **vars(prediction), **vars(truth))
      )
  for name, folder in folders.items():
    evaluator.write_metrics(folder / 'metrics.json', scores[name].compute(steps.get(name)))
