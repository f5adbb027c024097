#!/usr/bin/env bash
# Runs the windows of a table on the hosts of a TPU pod slice, every host on its own windows.
#
#     bash launch/windows_tpu_pod.sh TPU_NAME ZONE PROJECT_DIR TABLE OUT
#
# PROJECT_DIR is this project on every host, with its environment in .venv; TABLE and OUT lie on a
# disk that all hosts have mounted. Needs gcloud, logged in. Called again, it goes on.
set -euo pipefail
if (( $# != 5 )); then
  echo "error: expected TPU_NAME ZONE PROJECT_DIR TABLE OUT. See the head of this script." >&2
  exit 1
fi
name="$1" zone="$2" project="$3" table="$4" out="$5"
hosts="$(gcloud compute tpus tpu-vm describe "$name" --zone="$zone" \
  --format='value[delimiter="\n"](networkEndpoints[].ipAddress)' | tr ';' '\n' | grep -c .)"
run=".venv/bin/python -m pnerf_jax.windows run --windows='$table' --out='$out'"
# A host alone sees only its own chips; without these words libtpu waits for all hosts of the slice.
alone="TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=2,2,1 TPU_WORKER_HOSTNAMES=localhost"
children=() code=0
for (( i = 0; i < hosts; i++ )); do
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$i" \
    --command="cd '$project' && env $alone TPU_WORKER_ID=0 $run --share=$i/$hosts" &
  children+=($!)
done
for child in "${children[@]}"; do
  wait "$child" || code=1
done
exit $code
