#!/bin/sh
# Times of both sides on one machine whose Python has torch, torchvision, timm, OpenCV, but not the
# package: sh gpu.sh CARRIED OUT [DEVICE] [ROUNDS]
#
# CARRIED holds site.tar.gz (vbench 0.1.5, clip, pyiqa 0.1.10, open_clip 3.3.0, easydict, ftfy and
# wcwidth as pip unpacks them), dino (the code that the package calls through torch.hub) and videos
# (make_videos.py gpu). README.md says how to fill it. Weights are drawn on the spot. Whole
# evaluations come first, and are kept as they come; then each step.
set -eu
carried=$1 out=$2 device=${3:-cuda} rounds=${4:-1}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/site" "$work/cache/dino_model" "$out"
tar xzf "$carried/site.tar.gz" -C "$work/site"
cp -r "$carried/dino" "$work/cache/dino_model/facebookresearch_dino_main"
export VBENCH_CACHE_DIR="$work/cache" TORCH_HOME="$work/hub" PACKAGE_PATH="$work/site"
python3 -c "import torch; print(torch.__version__, torch.cuda.is_available() and \
torch.cuda.get_device_name())"
PYTHONPATH="$work/site" python3 "$here/make_weights.py" "$work/cache"
export PYTHONPATH="$root:$root/distill:$root/kernels:$root/reports:$work/site${PYTHONPATH:+:$PYTHONPATH}"
for what in whole speed; do
    python3 "$here/$what.py" "$carried/videos" "$work/cache" "$work/out" "$device" "$rounds" python3
    cp "$work/out/${what}_$device.csv" "$out/"
done
