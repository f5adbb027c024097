# shellcheck shell=bash
# Functions of the other scripts, which source this file: the Python environment of the project,
# --help, missing arguments, and finished evaluations.
#
#     source launch/env.sh
#     pnerf_help "$@"
#     (( $# >= 1 )) || pnerf_usage OUT
#     pnerf_env requirements.txt [more requirement files]
#     pnerf_is_evaluated RUN || "$PNERF_PYTHON" -m pnerf_jax.eval --workdir=RUN
#
# pnerf_help prints the head of the calling script and ends it if --help is among the arguments.
# pnerf_usage ends it because the named arguments are not those that it was given.
# pnerf_env sets $PNERF_PYTHON to the environment's interpreter. The environment is .venv in the
# project, or the folder $PNERF_VENV. A requirement file is installed again only if it or
# constraints.txt has changed. After an interrupted installation an environment that this script has
# made, which has the file made-by-launch-env, is created again; no other one is ever cleared.

PNERF_ROOT="$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$PNERF_ROOT${PYTHONPATH:+:$PYTHONPATH}"

pnerf_help() {
  local word
  for word in "$@"; do
    if [[ "$word" == --help || "$word" == -h ]]; then
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit 0
    fi
  done
}

pnerf_usage() {
  echo "error: expected $1. See 'bash launch/${0##*/} --help'." >&2
  exit 1
}

pnerf_is_evaluated() {  # RUN [eval|eval_paper]
  # Compares steps instead of modification times, which are wrong if the clock was.
  local folder newest=-1 results="$1/${2:-eval}"
  for folder in "$1"/checkpoints/*; do
    if [[ "${folder##*/}" =~ ^[0-9]+$ ]] && (( 10#${folder##*/} > newest )); then
      newest=$(( 10#${folder##*/} ))
    fi
  done
  [[ -e "$results/report.html" ]] && grep -qs "\"step\": $newest," "$results/metrics.json"
}

_pnerf_find_python() {
  local candidate
  for candidate in python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or newer found (tried python3.11 and python3). Install Python 3.11," \
    "for example with 'apt-get install python3.11 python3.11-venv'." >&2
  return 1
}

_pnerf_create_venv() {
  local venv="$1" mark="$1/made-by-launch-env" python
  if [[ -e "$venv" && ! -f "$mark" && -n "$(ls -A "$venv")" ]]; then
    echo "error: $venv was not made by launch/env.sh, and has no pip. It is left as it is. Set" \
      "PNERF_VENV to a new folder." >&2
    return 1
  fi
  python="$(_pnerf_find_python)" || return 1
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "error: $python has no venv module. Install it, for example with" \
      "'apt-get install python3.11-venv'." >&2
    return 1
  fi
  echo "Creating the environment $venv with $("$python" --version)"
  # The mark comes first and stays, so that an interrupted creation can be repeated.
  mkdir -p "$venv" && touch "$mark" || return 1
  find "$venv/" -mindepth 1 -maxdepth 1 ! -name made-by-launch-env -exec rm -rf {} +
  "$python" -m venv "$venv"
}

pnerf_env() {
  local venv="${PNERF_VENV:-$PNERF_ROOT/.venv}" file wanted stamp
  PNERF_PYTHON="$venv/bin/python"
  for file in "$@"; do
    # The stamp is a copy of the installed requirements. It is written last, so that an interrupted
    # installation has none.
    stamp="$venv/installed-$file"
    wanted="$(cat "$PNERF_ROOT/$file" "$PNERF_ROOT/constraints.txt")" || return 1
    if [[ -x "$PNERF_PYTHON" && -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
      continue
    fi
    # `venv` installs pip last: without pip the environment is incomplete. After an interrupted
    # installation a package may be incomplete, which pip does not detect.
    if [[ -f "$venv/installing" && -f "$venv/made-by-launch-env" ]] ||
        ! "$PNERF_PYTHON" -m pip --version >/dev/null 2>&1; then
      _pnerf_create_venv "$venv" || return 1
      pnerf_env "$@"  # install all files into the new environment
      return
    fi
    echo "Installing $file into $venv (takes minutes the first time)"
    rm -f "$stamp"
    touch "$venv/installing"
    "$PNERF_PYTHON" -m pip install -qq --disable-pip-version-check \
      --requirement "$PNERF_ROOT/$file" --constraint "$PNERF_ROOT/constraints.txt" || return 1
    rm "$venv/installing"
    printf '%s\n' "$wanted" >"$stamp.part" && mv "$stamp.part" "$stamp"
  done
}
