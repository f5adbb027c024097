#!/usr/bin/env bash
# Runs the windows of a manifest on this machine, several at a time.
#
#     bash launch/windows_local.sh windows.txt OUT [N]
#
# Each of N (default 1) workers runs one shard. With GPUs, worker I uses the GPU I modulo their
# number. Called again, it resumes; when it is stopped, training saves first.
# PNERF_PYTHON: the interpreter (default: that of the environment of launch/env.sh).
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# >= 2 )) || pnerf_usage 'MANIFEST and OUT'
manifest="$1" out="$2" workers="${3:-1}"
[[ -n "${PNERF_PYTHON:-}" ]] || pnerf_env requirements.txt
gpus=0
if command -v nvidia-smi >/dev/null; then
  gpus="$(nvidia-smi --list-gpus | grep -c . || true)"
fi
children=()
trap 'kill -TERM "${children[@]}" 2>/dev/null; wait; exit 130' INT TERM
for (( i = 0; i < workers; i++ )); do
  if (( gpus > 0 )); then
    export CUDA_VISIBLE_DEVICES=$(( i % gpus ))
  fi
  "$PNERF_PYTHON" -m pnerf_jax.windows run --windows="$manifest" --out="$out" --shard="$i/$workers" &
  children+=($!)
done
code=0
for child in "${children[@]}"; do
  wait "$child" || code=1
done
"$PNERF_PYTHON" -m pnerf_jax.windows status --windows="$manifest" --out="$out"
exit $code
