"""Rendering of whole images (labels, instances, depth, colour) and their export to files."""

import functools
import pathlib
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np

from launch.benchmarks import intervals, measure, scenes
from pnerf_jax.labelling import images
from pnerf_jax.labelling.export import KINDS, write_image
from pnerf_jax.labelling.images import Renderer, dataset_camera
from pnerf_jax.rendering.rays import render_rays
from pnerf_jax.runs.render import render
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run, make_renderer


def full_renderer(trained: TrainedRun) -> Renderer:
  """Return a renderer that evaluates the field at every sample, visible or not."""
  run = trained.run
  with mock.patch.object(images, 'render_pixels', functools.partial(render_rays, key=None)):
    renderer = make_renderer(run)
    camera = dataset_camera(run.scene, 0, full=False)
    renderer(trained.params, camera)  # compiles while the function is replaced
  return renderer


def describe_differences(one: images.Image, other: images.Image) -> str:
  """Return a sentence on the differences of two images of a camera."""
  fraction = lambda name: np.mean(getattr(one, name) != getattr(other, name))
  rgb = np.abs(one.rgb.astype(int) - other.rgb.astype(int)).max()
  depth = np.abs(one.depth - other.depth)
  return (
    f'semantic differs in {fraction("semantic"):.1e} of the pixels, instance in '
    f'{fraction("instance"):.1e}, colour by at most {rgb} of 255, depth by more than 1 cm in '
    f'{np.mean(depth > 0.01):.1e}'
  )


def run(options: Any) -> list[measure.Measurement]:
  """Time one view of the street, with and without skipping of samples, and the export."""
  workdir = options.run
  if workdir is None:
    root = scenes.street(options.work, options.street_frames, options.scale)
    workdir = scenes.train_run(
      options.work, root, options.variant, steps=options.train_steps, rays=options.rays
    )
  trained = load_trained_run(workdir, None)
  scene, params, config = trained.run.scene, trained.params, trained.run.config
  camera = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  full = full_renderer(trained)
  cases = {
    'ours': lambda: trained.renderer(params, camera).rgb,
    'full': lambda: full(params, camera).rgb,
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
    row(
      f'{field}: field evaluated at every sample',
      size,
      seconds['full'],
      's',
      remark=describe_differences(image, full(params, camera)),
    ),
    row(
      f'{field}: speed-up by skipping samples',
      size,
      measure.ratios(seconds['full'], seconds['ours']),
      'x',
    ),
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
