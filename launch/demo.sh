#!/usr/bin/env bash
# Demonstration: creates the environment, generates a street, trains, evaluates, exports the labels.
# Called again, it skips finished steps.
#
#     bash launch/demo.sh
#
# PNERF_DEMO_DIR: output folder (default: runs/demo).
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pnerf_help "$@"
pnerf_env requirements.txt

demo="${PNERF_DEMO_DIR:-runs/demo}"
street="$demo/street" run="$demo/run" labels="$demo/labels"

step() {
  printf '\n[%d s] %s\n' "$SECONDS" "$*"
  "$PNERF_PYTHON" -m "$@"
}

step pnerf_jax.street --out="$street"
step pnerf_jax.train --config=configs/street.py --workdir="$run" --config.data.root="$street"
pnerf_is_evaluated "$run" || step pnerf_jax.eval --workdir="$run"
step pnerf_jax.render --workdir="$run" --out="$labels"

score() {  # METRIC: print its value in metrics.json as a percentage
  sed -n "s/^ *\"$1\": \([0-9.]*\),*$/\1/p" "$run/eval/metrics.json" 2>/dev/null | {
    read -r value && LC_ALL=C printf '%5.1f %%' "${value}e2"; } || printf '      –'
}

cat <<END

Done in $SECONDS s. Semantic labels of the 24 images of image_00 (of 48 in the run), compared with
the ground truth:
                                       mIoU   pixel accuracy
  pseudo-labels of the 2D network   $(score pseudo.miou)          $(score pseudo.accuracy)
  label transfer (pnerf_jax)        $(score semantic.miou)          $(score semantic.accuracy)

  report   $run/eval/report.html   (metrics, images, confusion matrix; open it in a browser)
  metrics  $run/eval/metrics.json
  labels   $labels/{image_00,image_01}/{semantic_rgb,semantic,instance,confidence,depth,rgb}/
END
