"""What a method predicted, on disk, and its scores.

    DIR/<method>/{semantic,instance,depth}/<frame>.png   encodings of KITTI-360 (depth: if any)
    DIR/<method>/metrics.json                            as RUN/eval/metrics.json

Scores are always those of the files, so that an interrupted comparison ends with the same figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tqdm

from pnerf_jax.contrib.baselines.methods import Prediction
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import DatasetIndex
from pnerf_jax.evaluation import evaluator, frame_result, ground_truth
from pnerf_jax.evaluation.report.tables import Column
from pnerf_jax.labelling.images import Camera

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


def is_whole(folder: Path, frame: int) -> bool:
  """Whether a frame's prediction is there. The semantic map is written last."""
  return _paths(folder, frame)[0].exists()


def write(folder: Path, frame: int, prediction: Prediction) -> None:
  """Writes one frame's prediction; each file appears when it is whole."""
  semantic, instance, depth = _paths(folder, frame)
  if prediction.depth is not None:
    image_io.write_depth(depth, prediction.depth)
  image_io.write_instance(instance, prediction.instance)
  image_io.write_label(semantic, prediction.semantic)


def read(folder: Path, frame: int, size: tuple[int, int]) -> Prediction:
  """Reads one frame's prediction; size: (width, height)."""
  semantic, instance, depth = _paths(folder, frame)
  return Prediction(
    image_io.read_label(semantic, size),
    image_io.read_instance(instance, size),
    image_io.read_depth(depth, size) if depth.exists() else None,
  )


def score(
  out: Path,
  names: Sequence[str],
  dataset: DatasetIndex,
  camera: str,
  views: dict[int, Camera],
  steps: Mapping[str, int | None],
) -> None:
  """Scores methods' files by the evaluation of `python -m pnerf_jax.eval`; writes metrics.json.

  Args:
    out: DIR.
    names: of the methods.
    footage: of the window.
    camera: e.g. 'image_00'.
    views: by frame, at the size of the source images.
    steps: of the checkpoints that predicted; a method without one is absent.
  """
  if not names:
    return
  scores = {name: evaluator.Evaluator() for name in names}
  for frame, view in tqdm.tqdm(views.items(), desc='scores', unit='image'):
    found = ground_truth.read_ground_truth(
      dataset, camera, frame, view.world_from_cam, view.intrinsics
    )
    for name in names:
      prediction = read(out / name, frame, (view.width, view.height))
      scores[name].add(
        frame_result.FrameResult(
          frame=frame,
          camera=camera,
          semantic=prediction.semantic,
          instance=prediction.instance,
          depth=prediction.depth,
          rgb=None,
          **found.fields(),
        )
      )
  for name in names:
    evaluator.write_metrics(out / name / 'metrics.json', scores[name].compute(steps.get(name)))
