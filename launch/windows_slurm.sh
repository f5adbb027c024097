#!/usr/bin/env bash
# Submits the windows of a manifest that are not done as SLURM array jobs.
#
#     python -m pnerf_jax.windows cut --config=… --out=windows.txt
#     bash launch/windows_slurm.sh windows.txt OUT [options of sbatch, e.g. --gres=gpu:1 --time=4:00:00]
#
# Called again, it submits the remaining windows. STATUSES="failed" submits only failed windows.
# PNERF_PYTHON: the interpreter (default: that of the environment of launch/env.sh).
# Prints the job ids. OUT must be on a disk shared by all nodes.
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# >= 2 )) || pnerf_usage 'MANIFEST and OUT'
manifest="$1" out="$2"
shift 2
[[ -n "${PNERF_PYTHON:-}" ]] || pnerf_env requirements.txt
export PNERF_PYTHON
indices="$("$PNERF_PYTHON" -m pnerf_jax.windows status --windows="$manifest" --out="$out" \
  --indices="${STATUSES:-pending,stopped,failed}")"
if [[ -z "$indices" ]]; then
  echo "nothing to submit" >&2
  exit 0
fi
# Array indices of a cluster are below MaxArraySize (often 1001): one array per that many windows.
max_size="$(scontrol show config | sed -n 's/^MaxArraySize *= *//p')"
for offset in $(seq 0 "$max_size" $(( $(grep -o '[0-9]*$' <<<"$indices") ))); do
  part="$(tr , '\n' <<<"$indices" | awk -F- -v from="$offset" -v count="$max_size" '
    { a = $1 - from; b = (NF > 1 ? $2 : $1) - from
      if (a < 0) a = 0; if (b >= count) b = count - 1
      if (a <= b) printf "%s%s", (n++ ? "," : ""), (a < b ? a "-" b : a) }')"
  if [[ -n "$part" ]]; then
    sbatch --parsable --array="$part" "$@" "$PNERF_ROOT/launch/windows.sbatch" "$manifest" "$out" "$offset"
  fi
done
