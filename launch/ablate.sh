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
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# >= 2 )) || pnerf_usage 'STREET and OUT'
street="$1" out="$2" steps="${3:-8000}"
shift $(( $# < 3 ? $# : 3 ))
all="full no_fixed no_2d no_reach no_posterior no_3d no_depth fixed_only no_primitives paper"
variants="${VARIANTS:-$all}"
pnerf_env requirements.txt

runs=()
for variant in $variants; do
  run="$out/$variant"
  runs+=("$run")
  if grep -q "\"step\": $steps,\$" "$run/eval/metrics.json" 2>/dev/null; then
    echo "$variant: finished"
    continue
  fi
  echo "$variant: $steps steps"
  "$PNERF_PYTHON" -m pnerf_jax.train --config="configs/ablations.py:$variant" --workdir="$run" \
    --config.data.root="$street" --config.train.steps="$steps" "$@"
  "$PNERF_PYTHON" -m pnerf_jax.eval --workdir="$run"
done
"$PNERF_PYTHON" "$PNERF_ROOT/launch/compare_runs.py" --out="$out/table" --reference=full \
  "${runs[@]}"
