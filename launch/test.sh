#!/usr/bin/env bash
# Makes the environment and runs lint, type check and tests. Further arguments go to pytest.
#
#     bash launch/test.sh            # everything but stress tests
#     bash launch/test.sh --fast     # lint and the fast tests of the core
#     bash launch/test.sh --stress   # kills, full disks, many processes
#     bash launch/test.sh -k intervals
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
cd "$PNERF_ROOT"
pnerf_env requirements.txt requirements-dev.txt

# The official evaluation, a reference of the metrics; without its old dependencies.
official='from importlib.metadata import version; assert version("kitti360scripts") == "1.0.0"'
if ! "$PNERF_PYTHON" -c "$official" 2>/dev/null; then
  "$PNERF_PYTHON" -m pip install -qq --disable-pip-version-check --no-deps kitti360scripts==1.0.0
fi

"$PNERF_PYTHON" -m ruff check --quiet .
"$PNERF_PYTHON" -m ruff format --quiet --check .

select=(-m 'not stress')
case "${1:-}" in
  --fast)
    shift
    select=(-m 'not slow and not stress' tests/{config,data,evaluation,fields,geometry}
      tests/{label_noise,labelling,rendering,training})
    ;;
  --stress)
    shift
    select=(-m stress)
    ;;
esac
if [[ "${select[1]}" == 'not stress' ]]; then
  "$PNERF_PYTHON" -m mypy
fi

# Two workers share the cores: one thread each for XLA (NPROC) and the numerical libraries.
export NPROC="${NPROC:-1}" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}" MPLBACKEND=Agg
exec "$PNERF_PYTHON" -m pytest -n 2 --dist worksteal "${select[@]}" "$@"
