#!/usr/bin/env bash
# Tests launch/windows_slurm.sh on a SLURM cluster of this one machine.
#
#     apt-get install slurm-wlm munge
#     bash launch/slurm_localhost.sh DIR
#
# Needs root. Starts munge, slurmctld and slurmd with all files in DIR, splits a tiny street into four
# windows, runs them as an array, kills and requeues one midway, signals another one as at its time
# limit, merges the labels, and stops the cluster. All services listen on the loopback address only.
# Exit code 0 only if every window is done and these two were resumed.
# PNERF_PYTHON: the interpreter (default: that of the environment of launch/env.sh).
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
(( $# == 1 )) || pnerf_usage 'DIR'
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
[[ -n "${PNERF_PYTHON:-}" ]] || pnerf_env requirements.txt
export PNERF_PYTHON SLURM_CONF="$dir/slurm.conf"

start_cluster() {
  mkdir -p "$dir"/{state,spool,munge}
  chmod 755 "$dir/munge"
  chown -R munge: "$dir/munge"
  if [[ ! -f "$dir/munge.key" ]]; then
    dd if=/dev/urandom of="$dir/munge.key" bs=1024 count=1 status=none
    chown munge: "$dir/munge.key"
    chmod 400 "$dir/munge.key"
  fi
  setpriv --reuid=munge --regid=munge --clear-groups munged --force --key-file="$dir/munge.key" \
    --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" \
    --seed-file="$dir/munge/seed"
  cat >"$SLURM_CONF" <<END
ClusterName=localhost
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=60
MpiDefault=none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc)
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  slurmctld -c
  slurmd
  local i
  for (( i = 0; i < 60; i++ )); do
    if sinfo --noheader --format=%t 2>/dev/null | grep -qx idle; then
      return
    fi
    sleep 1
  done
  echo "error: $dir/slurmctld.log: the node does not start. See it and $dir/slurmd.log." >&2
  return 1
}

stop_cluster() {
  local file
  scancel --user=root 2>/dev/null || true
  for file in slurmd.pid slurmctld.pid munge/pid; do
    if [[ -f "$dir/$file" ]]; then
      kill "$(cat "$dir/$file")" 2>/dev/null || true
    fi
  done
}

status() {
  "$PNERF_PYTHON" -m pnerf_jax.windows status --windows="$dir/windows.txt" --out="$dir/out" "$@"
}

wait_for() {  # WHAT COMMAND...: wait until the command succeeds, at most ten minutes
  local what="$1" end=$(( SECONDS + ${PNERF_PATIENCE:-600} ))
  shift
  until "$@"; do
    if (( SECONDS > end )); then
      echo "error: timeout waiting for $what. See $dir/slurmctld.log and $dir/job_*.txt." >&2
      return 1
    fi
    sleep 1
  done
}

window() {  # INDEX: print the folder of a window
  awk -v index_="$1" -v out="$dir/out" '$1 == "window" && $2 == index_ {
    printf "%s/%s/%010d_%010d", out, $3, $4, $5 - 1 }' "$dir/windows.txt"
}

has_checkpoint() { compgen -G "$1/run/checkpoints/*/_CHECKPOINT_METADATA" >/dev/null; }
has_failed() { [[ "$(status --indices=failed)" == 0 ]]; }
is_queued() { [[ -n "$(squeue --noheader --states=PENDING --jobs="$1")" ]]; }
job_id() { squeue --noheader --jobs="${job}_$1" --format=%A; }  # INDEX: print the id of the task
# SLURM rejects signals for some 30 s while it still sets up the job.
warn() { scancel --batch --signal=USR1 "$(job_id "$1")" 2>/dev/null; }  # INDEX
has_ended() { [[ -z "$(squeue --noheader)" ]]; }

steps=6000  # long enough to be stopped midway
trap stop_cluster EXIT
start_cluster
sinfo
if [[ ! -f "$dir/windows.txt" ]]; then
  "$PNERF_PYTHON" -m pnerf_jax.street --out="$dir/street" --frames=5 --scale=0.08 \
    --predictions=noise
  "$PNERF_PYTHON" -m pnerf_jax.windows cut --config=configs/kitti360.py:tiny \
    --config.data.root="$dir/street" --config.data.cameras=image_00 --config.data.frames=2 \
    --config.train.steps=$steps --config.train.log_every=100 --config.train.checkpoint_every=100 \
    --config.train.preview_every=$steps --out="$dir/windows.txt" --overlap=1
fi
rm -rf "$dir/out" "$dir/labels" "$dir"/job_*.txt
job="$(bash "$PNERF_ROOT/launch/windows_slurm.sh" "$dir/windows.txt" "$dir/out" --output="$dir/job_%a.txt" \
  --cpus-per-task=1)"
echo "submitted array $job"

wait_for 'a checkpoint of the first window' has_checkpoint "$(window 0)"
status
echo 'killing the first window midway'
# Directly, as the kernel does when memory runs out: scancel sends TERM first.
scontrol listpids "$(job_id 0)" | awk 'NR > 1 && $1 > 0 { print $1 }' | xargs kill -KILL
wait_for 'a checkpoint of the second window' has_checkpoint "$(window 1)"
echo 'signalling the second window as at its time limit'
wait_for 'the signal' warn 1

wait_for 'the end of the killed task' has_failed
status
scontrol requeue "${job}_0"
wait_for 'the second window in the queue again' is_queued "${job}_1"
sleep 3  # slurmd rejects a start in the second in which the previous one ended
scontrol update JobId="${job}_0" StartTime=now  # a requeued job waits two minutes by default
scontrol update JobId="${job}_1" StartTime=now
squeue
wait_for 'the end of the array' has_ended
sleep 1
status
for index in 0 1; do
  grep 'resuming at step' "$(window $index)/log.txt" | grep -v "step $steps\$"
done
[[ "$(status --indices=done)" == 0-3 ]]
"$PNERF_PYTHON" -m pnerf_jax.merge --windows="$dir/windows.txt" --runs="$dir/out" \
  --out="$dir/labels"
echo 'all four windows are done; the two that were stopped resumed from their checkpoints'
