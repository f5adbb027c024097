"""Rendering of whole images (labels, instances, depth, colour) and their export to files."""

import functools
import pathlib
import tempfile
import time
from typing import Any

from launch.benchmarks import intervals, measure, scenes
from pnerf_jax.labelling import images
from pnerf_jax.labelling.export import KINDS, write_image
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.render import render
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run


def run(options: Any) -> list[measure.Measurement]:
  """Time one view of the street and the export."""
  workdir = options.run
  if workdir is None:
    root = scenes.street(options.work, options.street_frames, options.scale)
    workdir = scenes.train_run(
      options.work, root, options.variant, steps=options.train_steps, rays=options.rays
    )
  trained = load_trained_run(workdir, None)
  scene, params, config = trained.run.scene, trained.params, trained.run.config
  camera = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  cases = {
    'ours': lambda: trained.renderer(params, camera).rgb,
    'intervals': lambda: intervals.scene_intervals(
      scene, camera, config.scene.max_intervals_per_ray
    ),
  }
  seconds = measure.interleaved(cases, options.repeats)
  with measure.PeakMemory() as peak:
    image = trained.renderer(params, camera)
  field = config.model.field
  size = (
    f'{camera.width}x{camera.height}, {config.model.num_coarse_samples} + '
    f'{config.model.num_render_samples} samples per ray'
  )
  row = functools.partial(measure.summarize, 'render')
  return [
    row(
      f'{field}: semantic, instance, depth, colour', size, seconds['ours'], 's', remark='target: 3'
    ),
    row(f'{field}: part of the intervals', size, seconds['intervals'], 's'),
    row(f'{field}: peak memory', size, peak.bytes / 2**20, 'MiB'),
    *_export(options, workdir, trained, image),
  ]


def _export(
  options: Any, workdir: pathlib.Path, trained: TrainedRun, image: images.Image
) -> list[measure.Measurement]:
  """Time the export of some views at the size of the source images."""
  window = trained.run.scene.window
  camera = window.cameras[0]
  first = int(window.frames[0])
  seconds = []
  with tempfile.TemporaryDirectory(dir=options.work) as out:
    paths = {kind: pathlib.Path(out) / kind / 'one.png' for kind in KINDS}
    writing = measure.interleaved({'write': lambda: write_image(paths, image)}, options.repeats)
    for turn in range(options.slow_repeats):
      start = time.perf_counter()
      num_views = render(
        workdir,
        pathlib.Path(out) / str(turn),
        cameras=[camera],
        frames=f'{first}:{first + options.exported}',
      )
      seconds.append((time.perf_counter() - start) / num_views)
  size = f'{image.rgb.shape[1]}x{image.rgb.shape[0]}'
  row = functools.partial(measure.summarize, 'render')
  return [
    row('writing the PNGs of one view', size, writing['write'], 's'),
    row(
      f'export of {num_views} views, including start-up',
      'x'.join(map(str, window.full_sizes[0])),
      seconds,
      's per view',
      remark='files are written while the next view is rendered',
    ),
  ]
