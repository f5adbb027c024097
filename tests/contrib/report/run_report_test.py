"""The report of a run, with and without ground truth."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest
from PIL import Image

import pnerf_jax
from pnerf_jax.config.schema import default_config, parse_config
from pnerf_jax.contrib.report.run_report import RunReport
from pnerf_jax.evaluation import evaluator
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.runs import provenance
from pnerf_jax.runs.evaluate import Evaluation

SHAPE = (12, 40)


def _result(frame, truth):
  semantic = np.full(SHAPE, 7, np.uint8)
  semantic[:, 20:] = 26
  pseudo = np.where(np.arange(40) < 30, 7, 255).astype(np.uint8) * np.ones(SHAPE, np.uint8)
  rgb = np.full((*SHAPE, 3), 90, np.uint8)
  return FrameResult(
    frame=frame,
    camera='image_00',
    semantic=semantic,
    instance=semantic.astype(np.uint16) * 1000,
    rgb=rgb,
    photo=rgb,
    depth=np.ones(SHAPE, np.float32),
    confidence=np.full(SHAPE, 0.75, np.float32),
    pseudo=pseudo,
    truth_semantic=semantic if truth else None,
    truth_instance=semantic.astype(np.uint16) * 1000 if truth else None,
  )


@pytest.fixture
def report_of(tmp_path, parse_page):
  """Evaluate hand-made frames and return the parsed report."""

  def evaluate(frames, truth, label_scale=1.0, **changes):
    run, scores = tmp_path / 'my [run]', evaluator.Evaluator(label_scale)
    report = RunReport(run / 'eval')
    for frame in frames:
      result = dataclasses.replace(_result(frame, truth), **changes)
      scores.add(result)
      report.add(result)
    config = default_config()
    config.data.root = '/data'
    config.train.steps = 80
    experiment = types.SimpleNamespace(
      config=parse_config(config), mesh=types.SimpleNamespace(devices=np.array(jax.devices()))
    )
    trained = types.SimpleNamespace(run=experiment, step=40)
    dataset = types.SimpleNamespace(
      root='/data', sequence='a<b>&drive', frames=(3, 4, 5), cameras=('image_00', 'image_01')
    )
    report.finish(
      Evaluation(
        workdir=run,
        trained=trained,
        dataset=dataset,
        camera='image_00',
        frames=list(frames),
        scores=scores,
        metrics=scores.compute(step=40),
      )
    )
    return parse_page(run / 'eval' / 'report.html')

  return evaluate


def test_report_without_ground_truth_holds_what_is_known(report_of, tmp_path):
  page = report_of([3, 4], truth=False)
  assert page.images and page.after('agreement.pixels') == '66.7 %'
  assert page.after('confidence.mean') == '0.750'
  assert page.after('image.psnr') == '100.00 dB'
  assert 'Colour of training views' in page.texts
  assert '–' not in page.texts
  assert not {'semantic.miou', 'panoptic.all.pq', 'depth.rmse', 'Panoptic quality'} & {*page.texts}
  assert page.texts[page.texts.index('Key figures') - 1] == (
    '2 images of image_00 after step 40. Labels are rendered at the size of the source images.'
    ' Not scored: labels (no usable ground truth); panoptic'
    ' quality (no usable instance ground truth); depth (no LiDAR); depth against stereo (there is'
    ' none); multi-view consistency (no LiDAR points that two frames share).'
  )
  folder = tmp_path / 'my [run]' / 'eval'
  assert {path.name for path in folder.glob('*.png')} == {'classes.png', 'confidence.png'}


def test_report_begins_with_the_key_figures_that_exist(report_of):
  texts = report_of([3], truth=True).texts
  start, end = texts.index('Key figures') + 1, texts.index('Images')
  names = ['mean IoU', 'pixel accuracy', 'PQ', 'pseudo-labels: mean IoU', 'pseudo-labels: accuracy']
  count = (end - start) // 2
  assert texts[start : start + count][:5] == names
  values = dict(zip(texts[start : start + count], texts[start + count : end]))
  # The pseudo-labels are road on 30 columns, of which 20 are road, and never car.
  assert values['mean IoU'] == values['PQ'] == '100.0 %' and values['PSNR'] == '100.00 dB'
  assert values['pseudo-labels: mean IoU'] == '33.3 %'
  texts = report_of([3], truth=False).texts
  known = ['agreement with the pseudo-labels', 'mean confidence', 'PSNR', '66.7 %', '0.750']
  start = texts.index('Key figures') + 1
  assert texts[start : start + 5] == known


def test_report_shows_pictures_first_then_metrics_then_origin(report_of, tmp_path):
  page = report_of([3], truth=True)
  order = [
    'Key figures',
    'Images',
    'image_00_0000000003',
    'Semantics',
    'Classes',
    'Origin',
    'Files',
  ]
  positions = [page.texts.index(text) for text in order]
  assert positions == sorted(positions)
  assert page.after('semantic.miou') == page.after('panoptic.stuff.pq') == '100.0 %'
  assert page.after('confidence.ece') == '25.0 %'
  assert page.links[0] == 'panels/image_00_0000000003.png'
  folder = tmp_path / 'my [run]' / 'eval'
  assert {path.name for path in folder.glob('*.png')} == {
    *('classes.png', 'confidence.png', 'confusion.png', 'reliability.png', 'risk_coverage.png')
  }
  assert len(page.images) == 1 + 5
  for name in {*page.links} - {'metrics.json'}:  # which are written afterwards
    assert (folder / name).exists()


def test_report_shows_the_counts_of_the_paper_apart_and_the_size_of_the_labels(report_of):
  page = report_of([3], truth=True, label_scale=0.5)
  size = 'Labels are rendered at 0.5 of the size of the source images and enlarged.'
  assert page.texts[page.texts.index('Key figures') - 1].startswith(
    f'1 image of image_00 after step 40. {size}'
  )
  title = "As the paper's program counts"
  assert page.after(title) == f'Not comparable with the other tables. {size}'
  titles = ['Semantics', 'Panoptic quality', title, 'Confidence']
  positions = [page.texts.index(text) for text in titles]
  assert positions == sorted(positions)
  start = page.texts.index(title)
  first, last = (
    min(i for i, text in enumerate(page.texts) if text.startswith('paper.')),
    max(i for i, text in enumerate(page.texts) if text.startswith('paper.')),
  )
  assert start < first < last < positions[-1]
  assert page.after('paper.stuff.pq') == '100.0 %'


def test_report_names_data_training_machine_and_changed_fields(report_of, tmp_path, monkeypatch):
  run = tmp_path / 'my [run]'
  run.mkdir()
  scalars = [{'step': step, 'seconds': 3.0 * step, 'loss': 1.0} for step in (20, 40, 60)]
  (run / 'scalars.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in scalars))
  (run / 'config.json').write_text('{}')
  monkeypatch.setattr('sys.orig_argv', ['python', '-m', 'pnerf_jax.train', '--config=my own.py:x'])
  provenance.add_session(run, 0, jax.devices())
  monkeypatch.setattr('sys.orig_argv', ['python', '-m', 'pnerf_jax.eval'])
  page = report_of([4], truth=False)
  assert 'a<b>&drive, frames 3-5' in page.texts
  assert page.after('data') == '/data'
  assert page.after('window') == 'a<b>&drive, 3 frames 3-5'
  assert page.after('cameras') == 'image_00, image_01'
  assert page.after('training step') == '40 of 80'
  assert page.after('training time') == '2.0 minutes'
  device = f'{jax.device_count()} × {jax.devices()[0].device_kind}, '
  trained, evaluated = page.after('trained from step 0'), page.after('evaluated')
  assert f', pnerf_jax {pnerf_jax.__version__}, my own.py:x, {device}' in trained
  assert f', pnerf_jax {pnerf_jax.__version__}, {device}' in evaluated
  start = page.texts.index('config.data.root')
  assert page.texts[start : start + 6] == [
    *('config.data.root', '/data', '.', 'config.train.steps', '80', '10000')
  ]
  assert page.texts[start + 6] == 'Files'
  assert {'metrics.json', '../config.json', '../scalars.jsonl', '../sessions.jsonl', 'panels'} < {
    *page.links
  }


def test_panels_of_a_report_have_no_empty_picture(report_of, tmp_path):
  report_of([3], truth=False)
  with Image.open(tmp_path / 'my [run]' / 'eval' / 'panels' / 'image_00_0000000003.png') as panel:
    # Photo, colour; semantics, instances; differences, confidence; pseudo-labels, depth; a legend.
    assert panel.height == 4 * (22 + 211 + 8) + 22 + 8
