#!/usr/bin/env bash
# Trains and evaluates every variant of configs/ablations.py on one street.
#
#     bash launch/ablate.sh STREET OUT [STEPS [further flags of train ...]]
#
# STREET: a folder in KITTI-360's layout with ground truth. STEPS: optimiser steps of each variant
# (default: 8000, as in configs/kitti360.py:cpu). Writes the runs to OUT/<variant>, and OUT/table.md
# and OUT/table.png with the difference of every variant to `full`. Called again with the same
# arguments, it skips finished variants and resumes the others. VARIANTS="full no_2d" selects some.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (( $# < 2 )); then
  echo "error: expected STREET and OUT. See the head of launch/ablate.sh." >&2
  exit 1
fi
street="$1" out="$2" steps="${3:-8000}"
shift $(( $# < 3 ? $# : 3 ))
all="full no_fixed no_2d no_reach no_posterior no_3d no_depth fixed_only no_primitives paper"
variants="${VARIANTS:-$all}"
source launch/env.sh
pnerf_env requirements.txt

for variant in $variants; do
  run="$out/$variant"
  if grep -q "\"step\": $steps,\$" "$run/eval/metrics.json" 2>/dev/null; then
    echo "$variant: finished"
    continue
  fi
  echo "$variant: $steps steps"
  "$PNERF_PYTHON" -m pnerf_jax.train --config="configs/ablations.py:$variant" --workdir="$run" \
    --config.data.root="$street" --config.train.steps="$steps" "$@"
  "$PNERF_PYTHON" -m pnerf_jax.eval --workdir="$run"
done
# shellcheck disable=SC2086  # one argument per variant
PYTHONPATH=. "$PNERF_PYTHON" launch/compare_runs.py --out="$out/table" --reference=full \
  $(printf "$out/%s " $variants)
