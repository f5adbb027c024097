#!/usr/bin/env bash
# Trains the paper's four windows as its program does and with the default config; compares both with
# its results, by the plain metrics and as its program counts.
#
#     bash launch/reproduce_paper.sh DATA OUT [further flags of train ...]
#
# DATA: a root in KITTI-360's layout, such as `python -m pnerf_jax.prepare import-dataset` creates from
# the authors' archive. Writes the runs to OUT/<first frame>_<variant>, and OUT/table.md and
# OUT/table.png. Called again with the same arguments, it skips finished runs and resumes others.
# WINDOWS="1538 3353" and VARIANTS="default" select some. The variant `paper` uses the published
# centres, far bounds and classes of the depth loss. WEIGHTS=DIR takes the parameters of `paper` from
# the released checkpoints DIR/<first frame>.pth instead of training.
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# >= 2 )) || pnerf_usage 'DATA and OUT'
data="$1" out="$2"
shift 2
sequence=2013_05_28_drive_0000_sync
windows="${WINDOWS:-1538 1728 1908 3353}"
variants="${VARIANTS:-paper default}"

# Published far bound (m), centre (m), scored frames and classes of the depth loss, by first frame.
declare -A far=([1538]=270 [1728]=270 [1908]=210 [3353]=250)
# shellcheck disable=SC2054  # the commas are part of the values
declare -A center=(
  [1538]=1130.46719983,3969.92954086,115.97836078 [1728]=1026.61635951,3845.02218379,115.69840974
  [1908]=1040.42271023,3738.8884705,115.89219779 [3353]=1360.034,3845.649,116.8115)
# shellcheck disable=SC2054  # the commas are part of the values
declare -A scored=(
  [1538]=1545,1555,1565,1575,1585,1595 [1728]=1745,1755,1765,1775
  [1908]=1915,1925,1935,1945,1955,1965 [3353]=3365,3375,3385,3395,3405)
# shellcheck disable=SC2054  # the commas are part of the values
declare -A depth=([1538]=9,12,35 [1728]=7,8,12,13,35 [1908]=9,12,35 [3353]=9,12,35)

missing() {
  cat >&2 <<END
error: $1: no such file.
The paper's windows need data of its authors that is not part of KITTI-360 (PSPNet labels, SGM depth,
manual labels of some frames):
  1. Get their datasets/KITTI-360 (see https://github.com/fuxiao0719/PanopticNeRF) and KITTI-360's
     own terms and files (https://www.cvlibs.net/datasets/kitti-360).
  2. python -m pnerf_jax.prepare import-dataset --from=ARCHIVE --out=$data
  3. Call this script again.
END
  exit 1
}

for window in $windows; do
  if [[ -z "${far[$window]:-}" ]]; then
    echo "error: WINDOWS: $window is not a window of the paper. Use some of 1538 1728 1908 3353." >&2
    exit 1
  fi
  frame="$(printf '%010d' "${scored[$window]%%,*}")"
  for file in \
      "data_2d_raw/$sequence/image_00/data_rect/$frame.png" \
      "data_2d_pseudo_semantics/train/$sequence/image_00/semantic/$frame.png" \
      "data_2d_semantics/train/$sequence/image_00/semantic/$frame.png"; do
    [[ -f "$data/$file" ]] || missing "$data/$file"
  done
done
for variant in $variants; do
  if [[ "$variant" != paper && "$variant" != default && "$variant" != tiny ]]; then
    echo "error: VARIANTS: $variant is not a variant. Use paper and default." >&2
    exit 1
  fi
done

pnerf_env requirements.txt
rows=()
for window in $windows; do
  for variant in $variants; do
    run="$out/${window}_$variant"
    settings=(--config="configs/kitti360.py:$variant" --workdir="$run"
      --config.data.root="$data" --config.data.sequence="$sequence"
      --config.data.start="$window" --config.data.frames=64
      --config.data.eval_frames="${scored[$window]}")
    if [[ "$variant" == paper ]]; then
      settings+=(--config.scene.center="${center[$window]}" --config.scene.far="${far[$window]}"
        --config.loss.depth_classes="${depth[$window]}")
    fi
    if [[ "$variant" == paper && -n "${WEIGHTS:-}" ]]; then
      [[ -d "$run/checkpoints" ]] || "$PNERF_PYTHON" -m pnerf_jax.prepare import-weights \
        --from="$WEIGHTS/$window.pth" "${settings[@]}" "$@"
    else
      "$PNERF_PYTHON" -m pnerf_jax.train "${settings[@]}" "$@"
    fi
    pnerf_is_evaluated "$run" || "$PNERF_PYTHON" -m pnerf_jax.eval --workdir="$run"
    pnerf_is_evaluated "$run" eval_paper ||
      "$PNERF_PYTHON" -m pnerf_jax.eval --workdir="$run" --protocol=paper
    rows+=("$run")
  done
done
"$PNERF_PYTHON" "$PNERF_ROOT/launch/compare_runs.py" "${rows[@]}" --out="$out/table" --paper
