#!/usr/bin/env bash
# Runs all benchmarks that concern a GPU, and writes OUT/report.md.
#
#     bash launch/gpu_check.sh OUT [tiny]
#
# Step time, rays per second, shares of the measured and data-sheet peaks, and the longest kernels
# of the hash-grid field and the paper's field with 8192 rays per step; render time of both at
# 704 x 188; time from `train` to the exported labels of a window of 64 stereo frames. Streets are
# generated (not timed). `tiny` runs the same at a small size, to check on any machine that
# everything works. Further: step time of the hash-grid field with XLA's deterministic operations;
# bit-equality of a killed and resumed training with an uninterrupted one, with and without them.
# PNERF_PYTHON: the interpreter, with jax[cuda13] or jax[cuda12] (README.md). Called again with the
# same arguments, it skips finished sections.
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# >= 1 )) || pnerf_usage 'OUT'
out="$1" python="${PNERF_PYTHON:-python}"
mkdir -p "$out"
rays=8192 frames=64 scale=0.5 steps=10000 street_frames=8 train_steps=1000 repeats=7 exported=8
kills=12
if [[ "${2:-}" == tiny ]]; then
  rays=64 frames=2 scale=0.125 steps=20 street_frames=2 train_steps=20 repeats=1 exported=2
  kills=1
fi
deterministic="${XLA_FLAGS:+$XLA_FLAGS }--xla_gpu_deterministic_ops=true"

section() {  # NAME ARGUMENT...: run a benchmark and write its table to OUT/NAME.md
  local name="$1"
  shift
  if [[ ! -s "$out/$name.md" ]]; then
    echo "[$SECONDS s] $name"
    "$python" "$PNERF_ROOT/launch/benchmark.py" --work="$out/work" --json="$out/$name.json" --repeats=$repeats \
      --slow_repeats=1 --scale=$scale --street_frames=$street_frames --exported=$exported \
      --train_steps=$train_steps --rays=$rays "$@" >"$out/$name.part"
    mv "$out/$name.part" "$out/$name.md"
  fi
}

"$python" -c 'import jax; print("devices:", *jax.devices())' | tee "$out/devices.txt"
section hash_grid --suite=step --sections=ours --variant=default
XLA_FLAGS="$deterministic" section hash_grid_deterministic --suite=step --sections=ours \
  --variant=default
section paper --suite=step --sections=ours --variant=paper
section render_hash_grid --suite=render --variant=default
section render_paper --suite=render --variant=paper

if [[ ! -s "$out/window.md" ]]; then
  street="$out/work/window_${frames}_$scale"
  [[ -f "$street/street.json" ]] || \
    "$python" -m pnerf_jax.street --out="$street" --frames=$frames --scale=$scale \
      --predictions=noise
  rm -rf "$out/work/window_run" "$out/work/window_labels"  # a resumed run cannot be timed
  echo "[$SECONDS s] window: train and export"
  begin=$(date +%s)
  "$python" -m pnerf_jax.train --config=configs/kitti360.py --workdir="$out/work/window_run" \
    --config.data.root="$street" --config.train.steps=$steps --config.train.batch_rays=$rays \
    --config.train.checkpoint_every=$steps --config.train.preview_every=$steps
  trained=$(date +%s)
  "$python" -m pnerf_jax.render --workdir="$out/work/window_run" --out="$out/work/window_labels"
  finished=$(date +%s)
  printf '| one window, %d stereo frames, %d steps of %d rays | s |\n|---|---|\n' \
    $frames $steps $rays >"$out/window.part"
  printf '| train, including start-up | %d |\n| render, both cameras | %d |\n| total | %d |\n' \
    $((trained - begin)) $((finished - trained)) $((finished - begin)) >>"$out/window.part"
  mv "$out/window.part" "$out/window.md"
fi

if [[ ! -s "$out/resume.md" ]]; then
  printf '| %s | %s | %s |\n|---|---|---|\n' XLA_FLAGS 'equal to an uninterrupted run' \
    'phases of training with kills' >"$out/resume.part"
  for flags in "${XLA_FLAGS:-}" "$deterministic"; do
    echo "[$SECONDS s] resume: ${flags:-no XLA_FLAGS}"
    rm -rf "$out/work/resume"
    # Without the cache each process chooses its kernels again, as after an update of the machine.
    if XLA_FLAGS="$flags" JAX_ENABLE_COMPILATION_CACHE=false "$python" \
        "$PNERF_ROOT/launch/soak.py" --work="$out/work/resume" --kills=$kills \
        >"$out/resume.log" 2>&1; then
      equal=yes
    else
      equal="no: $(sed -n 's/^ *"error": //p' "$out/resume.log" | tail -n 1)"
    fi
    phases="$(grep -c '"train, ' "$out/resume.log" || true)"  # 0: no training was resumed
    printf '| %s | %s | %s |\n' "${flags:-none}" "$equal" "$phases" >>"$out/resume.part"
  done
  mv "$out/resume.part" "$out/resume.md"
fi

{
  cat "$out/devices.txt"
  for name in hash_grid hash_grid_deterministic paper render_hash_grid render_paper window \
      resume; do
    printf '\n## %s\n\n' "$name"
    cat "$out/$name.md"
  done
} >"$out/report.md"
echo "[$SECONDS s] $out/report.md"
