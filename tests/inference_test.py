"""Evaluation and rendering of a trained run: the same calls that the binaries make."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from launch import calibrate
from pnerf_jax.contrib.report.run_report import RunReport
from pnerf_jax.data import labels
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.render import render

pytestmark = pytest.mark.slow


def test_eval_scores_all_frames_with_truth(trained):
  metrics = evaluate(trained, reporter=RunReport(trained / 'eval'))
  assert metrics['step'] == 4 and metrics['frames'] == 2
  for name in (
    'semantic.miou',
    'semantic.accuracy',
    'fixed.miou',
    'pseudo.miou',
    'panoptic.all.pq',
    'consistency.mc',
    'depth.delta1',
    'image.ssim',
  ):
    assert 0.0 <= metrics[name] <= 1.0, name
  assert json.loads((trained / 'eval' / 'metrics.json').read_text()) == metrics
  assert 'data:image/png;base64' in (trained / 'eval' / 'report.html').read_text()
  assert len(list((trained / 'eval' / 'panels').glob('*.png'))) == 2


def test_eval_without_ground_truth_scores_and_shows_all_frames(trained, street, tmp_path, caplog):
  run, data = shutil.copytree(trained, tmp_path / 'run'), shutil.copytree(street, tmp_path / 'data')
  shutil.rmtree(data / 'data_2d_semantics')
  shutil.rmtree(run / 'eval', ignore_errors=True)
  with caplog.at_level('INFO', 'pnerf_jax'):
    overrides = {'data.root': str(data), 'eval.num_panels': 1}
    metrics = evaluate(run, overrides=overrides, reporter=RunReport(run / 'eval'))
  assert metrics['step'] == 4 and metrics['frames'] == 2
  known = {'agreement.pixels', 'confidence.mean', 'consistency.mc', 'depth.delta1', 'image.ssim'}
  assert all(0 <= metrics[name] <= 1 for name in known)
  assert not [name for name in metrics if name.startswith(('semantic.miou', 'panoptic', 'pseudo'))]
  assert json.loads((run / 'eval' / 'metrics.json').read_text()) == metrics
  assert caplog.messages[-1] == (
    'not scored: labels (no usable ground truth); panoptic quality (no usable instance ground'
    ' truth)'
  )
  assert (
    f'image.psnr                 {metrics["image.psnr"]:.4f} (training views)' in caplog.messages
  )
  report = (run / 'eval' / 'report.html').read_text()
  assert 'Images' in report and 'Panoptic quality' not in report
  assert len(list((run / 'eval' / 'panels').glob('*.png'))) == 1


def test_confidence_coefficients_are_fitted_on_runs(trained, capsys, monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['calibrate.py', str(trained), str(trained), '--every=2'])
  calibrate.main()
  lines = capsys.readouterr().out.splitlines()
  numbers = [float(x) for x in re.findall(r'-?[\d.]+', lines[0].partition('=')[2])]
  assert lines[0].startswith('config.eval.confidence_coefficients = (') and len(numbers) == 6
  # The same run twice: fitted on the other is fitted on all, and no worse than its own numbers.
  scores = [[float(x) for x in line.split()[1:]] for line in lines[2:]]
  assert len(scores) == 2 and scores[0] == scores[1]
  own, others, whole = scores[0][0], scores[0][2], scores[0][4]
  assert others == whole < own


def test_render_exports_the_documented_files_and_skips_finished_ones(trained, street, tmp_path):
  assert render(trained, tmp_path, cameras=['image_01']) == 2
  sizes = {}
  for kind, mode in (
    ('semantic', 'L'),
    ('semantic_rgb', 'RGB'),
    ('instance', 'I;16'),
    ('confidence', 'I;16'),
    ('depth', 'I;16'),
    ('rgb', 'RGB'),
  ):
    files = sorted((tmp_path / 'image_01' / kind).iterdir())
    assert len(files) == 2 and all(len(file.stem) == 10 for file in files)
    with Image.open(files[0]) as image:
      assert image.mode == mode
      sizes[kind] = image.size
      if kind == 'semantic':
        semantic = np.asarray(image)
      if kind == 'instance':
        instance = np.asarray(image).astype(int)
  photo = next((street / 'data_2d_raw').rglob('*.png'))
  assert set(sizes.values()) == {Image.open(photo).size}
  np.testing.assert_array_equal(instance // 1000, semantic)
  assert (instance[~labels.IS_THING[semantic]] % 1000 == 0).all()
  views = json.loads((tmp_path / 'views.json').read_text())['views']
  assert len(views) == 2 and views[0]['camera'] == 'image_01'
  # A finished file is kept as it is; a missing one is made again.
  kept = files[0].read_bytes()
  files[1].unlink()
  assert render(trained, tmp_path, cameras=['image_01']) == 1
  assert files[0].read_bytes() == kept and files[1].exists()
  assert render(trained, tmp_path) == 2
  assert len(json.loads((tmp_path / 'views.json').read_text())['views']) == 4


def test_views_of_other_weights_or_sizes_do_not_mix(trained, tmp_path):
  run = shutil.copytree(trained, tmp_path / 'run')
  out, some = tmp_path / 'out', {'cameras': ['image_00'], 'size': 'train'}
  assert render(run, out, step=4, **some) == 2
  older = {path: path.read_bytes() for path in out.rglob('*.png')}
  assert render(run, out, size='train') == 2  # step 4 is the newest: the other camera
  files = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
  for words, options in (
    (r'step 4, size train, .*step 2, size train', {**some, 'step': 2}),
    ('size train.*size full', {**some, 'size': 'full'}),
    ('step 4.*step 2', {**some, 'step': 2, 'overwrite': True}),
  ):
    with pytest.raises(InputError, match=f'--out=.*holds .*{words}.*another --out'):
      render(run, out, **options)
  assert files == {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
  # All that are there at once may be replaced. A kill midway leaves none of the old ones.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(export, 'write_image', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      render(run, out, step=2, size='train', overwrite=True)
  assert not list(out.rglob('*.png'))
  assert render(run, out, step=2, size='train') == 4
  table = json.loads((out / 'views.json').read_text())
  assert table['step'] == 2 and len(table['views']) == 4
  new = {path: path.read_bytes() for path in out.glob('image_00/*/*.png')}
  assert new.keys() == older.keys() and new != older
  # Without a table nothing is known of what is there.
  (out / 'views.json').unlink()
  with pytest.raises(InputError, match='step unknown'):
    render(run, out, step=2, size='train')


@pytest.mark.parametrize(
  'options, word',
  [
    ({'cameras': ['image_07']}, '--cameras'),
    ({'frames': '5'}, '--frames'),
    ({'frames': '1:2'}, '--frames'),
    ({'step': 77}, 'no checkpoint 77'),
  ],
)
def test_bad_render_options_are_named(trained, tmp_path, options, word):
  with pytest.raises(InputError, match=word):
    render(trained, tmp_path / 'out', **options)
  assert not (tmp_path / 'out').exists()


def test_eval_of_a_folder_without_a_run(tmp_path):
  with pytest.raises(InputError, match='config.json: no such file'):
    evaluate(tmp_path)


@pytest.fixture
def moved(trained, street, tmp_path):
  """Return a copy of the run and of its data, whose old place is not known to the copy."""
  shutil.copytree(street, tmp_path / 'other place' / 'data')
  run = shutil.copytree(trained, tmp_path / 'run')
  text = (run / 'config.json').read_text()
  (run / 'config.json').write_text(text.replace(str(street), '/gone'))
  return run


def test_moved_data_are_named_by_an_override(moved, trained, tmp_path, monkeypatch):
  with pytest.raises(InputError, match='/gone'):
    evaluate(moved)
  monkeypatch.chdir(tmp_path / 'other place')
  metrics = evaluate(moved, overrides={'data.root': 'data', 'eval.camera': 'image_01'})
  original = evaluate(trained, overrides={'eval.camera': 'image_01'})
  for each in (metrics, original):
    each.pop('timing.seconds_per_frame', None)
  assert metrics == original != evaluate(trained)
  config = json.loads((moved / 'config.json').read_text())
  assert config['data']['root'] == '/gone' and config['eval']['camera'] == ''


def test_overrides_that_render_the_same_continue_a_folder(moved, street, tmp_path):
  out, same = tmp_path / 'out', {'data.root': str(street), 'eval.num_panels': 3}
  assert render(moved, out, size='train', cameras=['image_00'], overrides=same) == 2
  assert render(moved, out, size='train', overrides={'data.root': str(street)}) == 2
  with pytest.raises(InputError, match='--out=.*another --out'):
    render(moved, out, size='train', overrides={**same, 'eval.label_field': 'fixed'})
  fixed = {**same, 'eval.label_field': 'fixed'}
  assert render(moved, tmp_path / 'fixed', size='train', overrides=fixed) == 4


def test_binaries_take_overrides(moved, street, tmp_path, binary):
  root, out = f'--config.data.root={street}', tmp_path / 'out'
  code, _ = binary('eval', f'--workdir={moved}', root, '--config.data.eval_frames=1312')
  assert code == 0 and json.loads((moved / 'eval' / 'metrics.json').read_text())['frames'] == 1
  code, _ = binary('render', f'--workdir={moved}', f'--out={out}', '--size=train', root)
  assert code == 0 and len(list(out.rglob('semantic/*.png'))) == 4


def test_options_of_jax_in_the_environment_change_nothing(trained, tmp_path, binary):
  import jax

  assert binary('render', f'--workdir={trained}', f'--out={tmp_path / "a"}', '--size=train')[0] == 0
  for name, value in (
    ('jax_enable_x64', True),
    ('jax_disable_jit', True),
    ('jax_numpy_dtype_promotion', 'strict'),
    ('jax_transfer_guard', 'disallow'),
    ('jax_debug_infs', True),
  ):
    jax.config.update(name, value)
  arguments = [f'--workdir={trained}', f'--out={tmp_path / "b"}', '--size=train']
  code, err = binary('render', *arguments)
  assert code == 0 and 'JAX_ENABLE_X64=True is ignored (in use: False)' in err
  for path in (tmp_path / 'a').rglob('*.png'):
    assert path.read_bytes() == (tmp_path / 'b' / path.relative_to(tmp_path / 'a')).read_bytes()
