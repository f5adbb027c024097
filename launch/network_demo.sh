#!/usr/bin/env bash
# Measure label transfer from the pseudo-labels of a trained 2D network on a kind of street that the
# network never saw: as it is, and fine-tuned on a few labelled frames. Simulated pseudo-labels are
# the third case.
#
#     bash launch/network_demo.sh OUT [STEPS]
#
# Generates suburbs and villages, trains a PSPNet on them, fine-tunes it on 4 frames of a boulevard,
# predicts pseudo-labels of the boulevard with both, trains a field from each (STEPS, default 3000),
# and scores everything on the other 20 frames. Writes OUT/table.md, OUT/table.png, OUT/labels.png
# (one frame by all) and, for NAME in alone, tuned, noise, OUT/NAME/run/eval/report.html. Takes half
# an hour on one core. Called again with the same arguments, it skips finished steps and resumes the
# others.
# SEEDS="100 101" generates fewer streets, NETWORK_STEPS=300 trains the network for fewer steps.
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# >= 1 )) || pnerf_usage 'OUT'
out="$1" steps="${2:-3000}"
seeds="${SEEDS:-100 101 102 103 104 105 106 107 108 109 110 111}"
network_steps="${NETWORK_STEPS:-1200}"
pnerf_env requirements.txt

street="$out/street"
labelled=1313,1319,1325,1331  # of boulevard 3, frames 1311 to 1334, about a metre apart
scored=1311,1312,1314,1315,1316,1317,1318,1320,1321,1322,1323,1324,1326,1327,1328,1329,1330,1332
scored+=,1333,1334

step() {
  printf '\n[%d s] %s\n' "$SECONDS" "$*"
  "$PNERF_PYTHON" -m "$@"
}

roots=''
for seed in $seeds; do
  for preset in suburb village; do
    step pnerf_jax.street --out="$out/streets/$preset-$seed" --preset=$preset --seed="$seed" \
      --frames=6 --predictions=noise
    roots+="${roots:+,}$out/streets/$preset-$seed"
  done
done
step pnerf_jax.street --out="$street" --preset=boulevard --seed=3 --predictions=noise
step pnerf_jax.pspnet --config=configs/pspnet.py:street --workdir="$out/alone/network" \
  --config.data.roots="$roots" --config.train.steps="$network_steps"
step pnerf_jax.pspnet --config=configs/pspnet.py:street --workdir="$out/tuned/network" \
  --config.data.roots="$street" --config.data.frames=$labelled \
  --config.model.init_from="$out/alone/network" --config.train.steps=$((network_steps / 4)) \
  --config.optim.learning_rate=5e-4

for name in alone tuned noise; do
  labels="$out/$name/labels" run="$out/$name/run"
  if [[ $name == noise ]]; then
    labels="$street"  # simulated by the generator
  else
    step pnerf_jax.prepare labels --config=configs/kitti360.py:cpu --config.data.root="$street" \
      --config.data.derived_root="$labels" --network="pspnet:$out/$name/network"
  fi
  window=(--config=configs/kitti360.py:cpu --config.data.root="$street"
          --config.data.derived_root="$labels" --config.data.eval_frames="$scored"
          --config.train.steps="$steps")
  step pnerf_jax.train "${window[@]}" --workdir="$run"
  if ! grep -q "\"step\": $steps,\$" "$run/eval/metrics.json" 2>/dev/null; then
    step pnerf_jax.eval --workdir="$run"
  fi
  step pnerf_jax.baselines "${window[@]}" --workdir="$run" --out="$out/$name/methods" \
    --methods=pseudo_labels,ours
done
"$PNERF_PYTHON" "$PNERF_ROOT/launch/network_table.py" --street="$street" --out="$out"
