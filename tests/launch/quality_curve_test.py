"""Tests of copying checkpoints during training, and of the curve of their metrics."""

import json

from launch import quality_curve


def test_complete_checkpoints_are_copied_once_and_evaluated_in_order(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  for name in ('500', '1000', '1500.orbax-checkpoint-tmp-3'):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    (tmp_path / 'checkpoints' / name / 'state').write_text(name)
  quality_curve.copy_checkpoints(tmp_path)
  (tmp_path / 'checkpoints' / '500' / 'state').write_text('written again')
  (tmp_path / 'checkpoints' / '1500.orbax-checkpoint-tmp-3').rename(
    tmp_path / 'checkpoints' / '1500'
  )
  quality_curve.copy_checkpoints(tmp_path)
  kept = tmp_path / 'kept'
  assert sorted(path.name for path in kept.iterdir()) == ['1000', '1500', '500']
  assert (kept / '500' / 'checkpoints' / '500' / 'state').read_text() == '500'
  assert (kept / '500' / 'config.json').exists()
  lines = [{'step': step, 'seconds': step / 100} for step in (500, 1000, 1500)]
  (tmp_path / 'scalars.jsonl').write_text('\n'.join(map(json.dumps, lines)) + '\n')
  for step, miou in (('500', 0.25), ('1000', 0.5), ('1500', None)):
    (kept / step / 'eval').mkdir()
    (kept / step / 'eval' / 'metrics.json').write_text(
      json.dumps({'image.psnr': 20.0} | ({} if miou is None else {'semantic.miou': miou}))
    )
  points = quality_curve.evaluate(tmp_path)
  assert [(p['step'], p['seconds'], p['semantic.miou']) for p in points] == [
    (500, 5.0, 0.25),
    (1000, 10.0, 0.5),
    (1500, 15.0, None),
  ]
  quality_curve.draw({'street': {'points': points}}, tmp_path / 'curve.png')
  assert (tmp_path / 'curve.png').read_bytes().startswith(b'\x89PNG')
