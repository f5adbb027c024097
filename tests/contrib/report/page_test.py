"""The report: one self-contained page without external links, with escaped text."""

import base64
import html.parser
import io
import json

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.evaluation import evaluator
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.contrib.report import page, panels


class _Page(html.parser.HTMLParser):
  """Collects image sources, links and texts, and checks that tags are nested correctly."""

  def __init__(self, text):
    super().__init__()
    self.images, self.links, self.texts, self.open = [], [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    if tag == 'img':
      self.images.append(attrs['src'])
    self.links += [attrs[key] for key in ('href', 'srcset', 'action') if key in attrs]
    if tag not in ('img', 'meta'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if data.strip():
      self.texts.append(data.strip())

  def value(self, key):
    """Return the value that the table prints for a metric."""
    return self.texts[self.texts.index(key) + 1]


def _evaluate(workdir, frames, truth):
  scores, pictures = evaluator.Evaluator(), []
  for frame in frames:
    semantic = np.full((12, 40), 7, np.uint8)
    semantic[:, 20:] = 26
    rgb = np.full((12, 40, 3), 90, np.uint8)
    result = FrameResult(
      frame=frame,
      camera='image_00',
      semantic=semantic,
      instance=semantic.astype(np.uint16) * 1000,
      rgb=rgb,
      photo=rgb,
      depth=np.ones((12, 40), np.float32),
      confidence=np.full((12, 40), 0.75, np.float32),
      truth_semantic=semantic if truth else None,
      truth_instance=semantic.astype(np.uint16) * 1000 if truth else None,
    )
    scores.add(result)
    pictures.append(workdir / 'eval' / 'panels' / f'{frame}.png')
    panels.save(pictures[-1], panels.panel(result))
  metrics = scores.compute(step=40)
  return _Page(
    page.write_report(
      workdir / 'eval',
      'a<b>&run',
      metrics,
      confusion=scores.confusion,
      reliability=scores.reliability,
      panels=pictures,
      scalars=workdir / 'scalars.jsonl',
    ).read_text()
  )


def test_write_report_embeds_pictures_and_metrics(tmp_path):
  tmp_path.joinpath('scalars.jsonl').write_text(
    ''.join(json.dumps({'step': i, 'loss': 1.0, 'psnr': 20.0}) + '\n' for i in range(3))
  )
  page = _evaluate(tmp_path, range(20), truth=True)
  assert page.open == [] and page.links == []
  assert 'a<b>&run: evaluation' in page.texts
  assert '20 images, training step 40.' in ' '.join(page.texts)
  assert page.value('semantic.miou') == page.value('panoptic.stuff.pq') == '100.0 %'
  assert page.value('consistency.mc') == page.value('confidence.unsupported_mean') == '–'
  assert page.value('confidence.ece') == '25.0 %'
  assert len(page.images) == 5 + 8  # plots and the maximum of panels
  for source in page.images:
    kind, data = source.split(',', 1)
    assert kind == 'data:image/png;base64'
    Image.open(io.BytesIO(base64.b64decode(data))).load()
  assert not list(tmp_path.rglob('.*'))
  assert len(list((tmp_path / 'eval' / 'panels').glob('*.png'))) == 20


def test_write_report_without_ground_truth_has_dashes_and_no_plots(tmp_path):
  page = _evaluate(tmp_path, [5], truth=False)
  assert len(page.images) == 1  # the panel
  assert page.value('semantic.miou') == page.value('panoptic.all.pq') == '–'
  assert page.value('image.psnr') == '100.00 dB'
  assert not (tmp_path / 'eval' / 'confusion.png').exists()


@pytest.mark.parametrize(
  'count, expected', [(0, []), (1, [0]), (8, list(range(8))), (15, [0, 2, 4, 6, 8, 10, 12, 14])]
)
def test_evenly_spaced_by_hand(count, expected):
  assert page._evenly_spaced(list(range(count))) == expected
