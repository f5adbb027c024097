#!/usr/bin/env bash
# Runs the windows of a table that are not done as SLURM array jobs.
#
#     python -m pnerf_jax.windows cut --config=… --out=windows.txt
#     bash launch/windows_slurm.sh windows.txt OUT [words of sbatch, e.g. --gres=gpu:1 --time=4:00:00]
#
# Called again, it submits what is not done by then. STATES="failed" submits only what failed.
# PNERF_PYTHON: the interpreter (default: that of the environment of launch/env.sh).
# Prints the numbers of the jobs. OUT must lie on a disk that all nodes see.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (( $# < 2 )); then
  echo "error: expected TABLE and OUT. See the head of launch/windows_slurm.sh." >&2
  exit 1
fi
table="$1" out="$2"
shift 2
source launch/env.sh
if [[ -z "${PNERF_PYTHON:-}" ]]; then
  pnerf_env requirements.txt
fi
export PNERF_PYTHON
indices="$("$PNERF_PYTHON" -m pnerf_jax.windows status --windows="$table" --out="$out" \
  --indices="${STATES:-open,stopped,failed}")"
if [[ -z "$indices" ]]; then
  echo "nothing to submit" >&2
  exit 0
fi
# A cluster's arrays end at MaxArraySize (often 1001): one array for each thousand of windows.
most="$(scontrol show config | sed -n 's/^MaxArraySize *= *//p')"
for offset in $(seq 0 "$most" $(( $(grep -o '[0-9]*$' <<<"$indices") ))); do
  part="$(tr , '\n' <<<"$indices" | awk -F- -v from="$offset" -v count="$most" '
    { a = $1 - from; b = (NF > 1 ? $2 : $1) - from
      if (a < 0) a = 0; if (b >= count) b = count - 1
      if (a <= b) printf "%s%s", (n++ ? "," : ""), (a < b ? a "-" b : a) }')"
  if [[ -n "$part" ]]; then
    sbatch --parsable --array="$part" "$@" launch/windows.sbatch "$table" "$out" "$offset"
  fi
done
