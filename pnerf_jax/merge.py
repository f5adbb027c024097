"""Joins the labels of overlapping windows to those of whole drives, in KITTI-360's own layout.

    python -m pnerf_jax.merge --windows=windows.txt --runs=OUT --out=LABELS [--partial]

Every frame is taken from the window that is surer of it. Writes LABELS/data_2d_semantics as the
dataset has it (images, lists of frames, instances), and LABELS/seams.json: how far the windows
agree where they overlap. Called again, it keeps what is there.
"""

import json
import logging
from pathlib import Path

import tqdm
from absl import flags

from pnerf_jax import cli
from pnerf_jax.contrib.drives import manifest, merging, overlap_agreement
from pnerf_jax.contrib.drives.merging import WindowLabels
from pnerf_jax.data.dataset import ranges
from pnerf_jax.data.files import write_bytes
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_MARK = 'merged.json'  # tells our output from a dataset with labels of its own


def merge(windows: Path, runs: Path, out: Path, partial: bool = False) -> dict:
  """Joins the windows of a table.

  Args:
    windows: the table.
    runs: output root of the windows.
    out: LABELS.
    partial: leave out windows that are not done.

  Returns:
    The agreement of the windows, as in seams.json.

  Raises:
    InputError: windows that are missing or do not fit each other; LABELS holds other labels.
  """
  runs, out = Path(runs), Path(out)
  found = manifest.read(Path(windows))
  pieces = merging.find_window_labels(found.entries, runs, partial)
  _claim(out)
  result = {'drives': {}, 'seams': []}
  total = overlap_agreement.OverlapAgreement()
  for sequence, own in merging.by_sequence(pieces).items():
    chosen = _write_frames(out, sequence, own)
    merging.write_lists(out, own[0].root, sequence, own[0].cameras, chosen)
    result['drives'][sequence] = _describe(found, sequence, own, chosen)
    for first, second, shared in merging.seams_of(own):
      agreement = merging.agreement(first, second, shared)
      result['seams'].append(
        {
          'windows': [first.entry.index, second.entry.index],
          'drive': sequence,
          'frames': list(shared),
          **agreement.compute(),
        }
      )
      total = total.merge(agreement)
  result['all'] = total.compute()
  write_bytes(out / 'seams.json', json.dumps(result, indent=1).encode())
  return result


def _claim(out: Path) -> None:
  """Marks LABELS as ours. Raises InputError where it holds labels that are not, a dataset's own."""
  if (out / _MARK).exists():
    return
  if (out / 'data_2d_semantics').exists() or (out / 'data_2d_raw').exists():
    raise InputError(
      f'--out={out}: holds a dataset, whose labels would be written over. Name a folder of its own.'
    )
  if out.exists() and not out.is_dir():
    raise InputError(f'--out={out}: is a file. Name a folder.')
  write_bytes(out / _MARK, b'{"by": "python -m pnerf_jax.merge"}\n')


def _write_frames(out: Path, sequence: str, pieces: list[WindowLabels]) -> dict[int, int]:
  """Writes all frames of a drive; returns the window from which each was taken."""
  chosen = {}
  for frame, options in tqdm.tqdm(
    merging.candidates(pieces).items(), desc=sequence, unit='frame', mininterval=1.0
  ):
    piece = merging.most_confident(frame, options)
    merging.write_frame(out, frame, piece)
    chosen[frame] = piece.entry.index
  return chosen


def _describe(
  found: manifest.WindowManifest, sequence: str, pieces: list[WindowLabels], chosen: dict[int, int]
) -> dict:
  """What a drive's part of seams.json holds beside the seams."""
  joined = {piece.entry.index for piece in pieces}
  absent = [
    entry for entry in found.entries if entry.sequence == sequence and entry.index not in joined
  ]
  if absent:
    _LOG.warning(
      '%s: windows %s are not done and left out', sequence, ranges(entry.index for entry in absent)
    )
  return {
    'frames': len(chosen),
    'windows_left_out': [entry.index for entry in absent],
    'window_of_frame': {str(frame): index for frame, index in chosen.items()},
  }


def _define_flags() -> None:
  flags.DEFINE_string('windows', None, 'The table that windows cut wrote.')
  flags.DEFINE_string('runs', None, 'The output root of windows run.')
  flags.DEFINE_string('out', None, 'LABELS: where the joined labels go.')
  flags.DEFINE_bool('partial', False, 'Leave out windows that are not done.')
  cli.require_words('windows', 'runs', 'out')


def main() -> None:
  """Joins with the flags and prints how far the windows agree."""
  options = flags.FLAGS
  result = merge(options.windows, options.runs, options.out, options.partial)
  say = lambda share: 'nothing to compare' if share is None else f'{share:.4f}'
  for seam in result['seams']:
    print(
      f'windows {seam["windows"][0]} and {seam["windows"][1]}, {len(seam["frames"])} frames:'
      f' semantic {say(seam["semantic"])}, instance {say(seam["instance"])}'
    )
  print(
    f'all {len(result["seams"])} seams: semantic {say(result["all"]["semantic"])},'
    f' instance {say(result["all"]["instance"])}'
  )
  print(f'labels in {options.out}/data_2d_semantics')


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
