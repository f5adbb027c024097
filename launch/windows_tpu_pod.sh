#!/usr/bin/env bash
# Runs the windows of a manifest on the hosts of a TPU pod slice, one shard per host.
#
#     bash launch/windows_tpu_pod.sh TPU_NAME ZONE PROJECT_DIR MANIFEST OUT
#
# PROJECT_DIR is this project on every host, with its environment in .venv; MANIFEST and OUT are on a
# disk mounted by all hosts. Needs an authenticated gcloud. Called again, it resumes.
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# == 5 )) || pnerf_usage 'TPU_NAME ZONE PROJECT_DIR MANIFEST OUT'
name="$1" zone="$2" project="$3" manifest="$4" out="$5"
hosts="$(gcloud compute tpus tpu-vm describe "$name" --zone="$zone" \
  --format='value[delimiter="\n"](networkEndpoints[].ipAddress)' | tr ';' '\n' | grep -c .)"
printf -v run '.venv/bin/python -m pnerf_jax.windows run --windows=%q --out=%q' "$manifest" "$out"
printf -v project %q "$project"
# Restricts a host to its own chips; otherwise libtpu waits for all hosts of the slice.
single_host="TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=2,2,1 TPU_WORKER_HOSTNAMES=localhost"
children=() code=0
for (( i = 0; i < hosts; i++ )); do
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$i" \
    --command="cd $project && env $single_host TPU_WORKER_ID=0 $run --shard=$i/$hosts" &
  children+=($!)
done
for child in "${children[@]}"; do
  wait "$child" || code=1
done
exit $code
