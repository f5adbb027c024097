#!/usr/bin/env bash
# Makes the environment and runs every test. Arguments go to pytest:
#
#     bash launch/test.sh [-k intervals] [-n 8]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/env.sh
pnerf_env requirements.txt requirements-dev.txt

# The official evaluation, for comparison; without the packages it names but does not need here.
official='from importlib.metadata import version; assert version("kitti360scripts") == "1.0.0"'
if ! "$PNERF_PYTHON" -c "$official" 2>/dev/null; then
  "$PNERF_PYTHON" -m pip install -qq --disable-pip-version-check --no-deps kitti360scripts==1.0.0
fi

# Two workers share the cores: one thread each for XLA (NPROC) and the numerical libraries.
export NPROC="${NPROC:-1}" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}" MPLBACKEND=Agg
exec "$PNERF_PYTHON" -m pytest -n 2 "$@"
