"""Tests of the report of a drive."""

import json
import re
import shutil

import pytest

from pnerf_jax import __version__
from pnerf_jax.contrib.drives import drive_report
from pnerf_jax.data import files


def test_table_of_windows_has_no_empty_column(drive):
  drive.merge()
  page = (drive.out / 'report.html').read_text()
  header = lambda: re.findall('<th[^>]*>([^<]*)</th>', page)
  assert 'confidence' not in header() and 'mean IoU' not in header()
  assert header()[-4:] == ['window', 'frames', 'minutes', 'trained']
  metrics = {'confidence.mean': 0.5, 'image.psnr': 20.0}
  files.write_bytes(drive.folder(1).run / 'eval' / 'metrics.json', json.dumps(metrics).encode())
  drive.merge()
  page = (drive.out / 'report.html').read_text()
  assert header()[-6:] == ['window', 'frames', 'confidence', 'PSNR', 'minutes', 'trained']
  for damaged in ('[]', 'null', '3', '"x"', '{"image.psnr": "x"}', '{'):
    (drive.folder(1).run / 'eval' / 'metrics.json').write_text(damaged)
    drive.merge()
    page = (drive.out / 'report.html').read_text()
    assert header()[-4:] == ['window', 'frames', 'minutes', 'trained']


def test_report_shows_the_worst_images_and_links_to_all_windows(drive):
  drive.write_labels(0, 'image_01', 1, confidence=0.2)
  drive.write_labels(1, 'image_00', 2, cars=5)
  report = drive.folder(1).run / 'eval' / 'report.html'
  report.parent.mkdir()
  report.touch()
  (report.parent / 'metrics.json').write_text('{"semantic.miou": 0.347, "image.psnr": 23.51}')
  drive.merge()
  page = (drive.out / 'report.html').read_text()
  figures = re.findall('<figcaption>(.*?)</figcaption>', page)
  assert figures[0] == 'image_01, frame 1, window 0: mean confidence 0.200'
  assert 'image_00, frame 2, windows 0 and 1: 80.0 % of the pixels have one class' in figures
  assert page.index('<img') < page.index('<table')
  assert not re.search('<(img|script|link)[^>]*(src|href)="(?!data:)', page)  # self-contained
  assert f'href="../runs/{drive.sequence}/0000000002_0000000005/run/eval/report.html"' in page
  for text in ('34.7%', '23.5 dB', '95.0 %', str(drive.manifest), drive.flags[0], __version__):
    assert text in page, text
  # 6 frames of 2 cameras and 10 rows: road in 7, a car in 3 but for 5 in one image.
  shares = json.loads((drive.out / 'merged.json').read_text())['sequences'][drive.sequence]
  road = shares['class_shares']['road']
  assert road == pytest.approx((7 * 12 - 2 * (shares['window_of_frame']['2'] == 1)) / 120)
  assert shares['windows'][1]['positions'] == [[102.0 + i, 7] for i in range(4)]


def test_report_needs_no_window_of_an_earlier_merge(drive, tmp_path):
  drive.merge()
  shutil.rmtree(drive.runs)
  records = json.loads((drive.out / 'merged.json').read_text())['sequences']
  agreement = json.loads((drive.out / 'overlap_agreement.json').read_text())
  drive_report.write(drive.out, records, agreement)
  page = (drive.out / 'report.html').read_text()
  assert 'Worst images' not in page and 'Camera paths' not in page and 'from above' in page
