"""Whole images: labels, instances, depth and colour of one view, and the export to files."""

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


def everywhere(trained: TrainedRun) -> Renderer:
  """A renderer that asks the field at every sample, seen or not."""
  run = trained.run

  def at_all_samples(*args):
    return render_rays(*args, key=None)

  with mock.patch.object(images, 'render_pixels', at_all_samples):
    renderer = make_renderer(run)
    view = dataset_camera(run.scene, 0, full=False)
    renderer(trained.params, view)  # traced while the other function is in its place
  return renderer


def differences(one: images.Image, other: images.Image) -> str:
  """How far two images of a view are apart, in words."""
  share = lambda name: np.mean(getattr(one, name) != getattr(other, name))
  rgb = np.abs(one.rgb.astype(int) - other.rgb.astype(int)).max()
  depth = np.abs(one.depth - other.depth)
  return (
    f'semantic differs in {share("semantic"):.1e} of the pixels, instance in '
    f'{share("instance"):.1e}, colour by at most {rgb} of 255, depth by more than 1 cm in '
    f'{np.mean(depth > 0.01):.1e}'
  )


def run(options: Any) -> list[measure.Figure]:
  """One view of the street, with and without skipping, its parts, and the export."""
  workdir = pathlib.Path(
    options.run
    or scenes.trained(
      options.work,
      scenes.street(options.work, options.street_frames, options.scale),
      options.variant,
      options.train_steps,
      options.rays,
    )
  )
  trained = load_trained_run(workdir, None)
  scene, params = trained.run.scene, trained.params
  view = dataset_camera(scene, len(scene.window.view_frame) // 2, full=False)
  full = everywhere(trained)
  cases = {
    'all of it': lambda: trained.renderer(params, view).rgb,
    'every sample asked': lambda: full(params, view).rgb,
    'intervals': lambda: intervals.table(
      scene, view, trained.run.config.scene.max_intervals_per_ray
    ),
  }
  seconds = measure.interleaved(cases, options.repeats)
  with measure.PeakMemory() as peak:
    image = trained.renderer(params, view)
  model = trained.run.config.model
  size = (
    f'{view.width}x{view.height}, {model.num_coarse_samples} + {model.num_render_samples} samples a'
    ' ray'
  )
  row = functools.partial(measure.figure, 'render')
  name = model.field
  return [
    row(f'{name}: semantic, instance, depth, colour', size, seconds['all of it'], 's', 'target: 3'),
    row(f'{name}: of which intervals', size, seconds['intervals'], 's'),
    row(
      f'{name}: the same, field asked at every sample',
      size,
      seconds['every sample asked'],
      's',
      differences(image, full(params, view)),
    ),
    row(
      f'{name}: that over what we take',
      size,
      measure.ratios(seconds['every sample asked'], seconds['all of it']),
      'x',
    ),
    row(f'{name}: memory, peak', size, peak.bytes / 2**20, 'MiB'),
    *_export(options, workdir, trained, image, row),
  ]


def _export(
  options: Any, workdir: pathlib.Path, trained: TrainedRun, image: images.Image, row: Any
) -> list[measure.Figure]:
  """Files of some views, at the size of the source images."""
  window, camera = trained.run.scene.window, trained.run.config.eval.camera
  first = int(window.frames[0])
  seconds = []
  with tempfile.TemporaryDirectory(dir=options.work) as out:
    paths = {kind: pathlib.Path(out) / kind / 'one.png' for kind in KINDS}
    writing = measure.interleaved({'write': lambda: write_image(paths, image)}, options.repeats)
    for turn in range(options.slow_repeats):
      start = time.perf_counter()
      done = render(
        workdir,
        pathlib.Path(out) / str(turn),
        cameras=[camera],
        frames=f'{first}:{first + options.exported}',
      )
      seconds.append((time.perf_counter() - start) / done)
  return [
    row(
      'writing the PNGs of one view',
      f'{image.rgb.shape[1]}x{image.rgb.shape[0]}',
      writing['write'],
      's',
    ),
    row(
      f'export of {done} views, with the start',
      'x'.join(map(str, window.full_sizes[0])),
      seconds,
      's a view',
      'files are written while the next view renders',
    ),
  ]
