#!/bin/sh
# The numbers of docs/benchmarks/README.md. On a machine with a GPU, from the root of the repository:
#   sh docs/benchmarks/gpu.sh OUT          speed and memory, into OUT/*.json: three minutes on an H100
#   sh docs/benchmarks/gpu.sh OUT DAVIS    accuracy in half precision, into OUT: two minutes
set -e
out=$1
mkdir -p "$out"

if [ -n "$2" ]; then
    for preset in best persam-f; do
        vos eval "$out/masks-$preset" --davis "$2" --year 2016 --sequences \
            blackswan,bmx-trees,drift-straight,horsejump-high,libby,paragliding-launch,soapbox \
            --run --preset $preset --override precision=bfloat16 --json "$out/eval-$preset.json" -q
    done
    exit
fi

python3 docs/benchmarks/random_weights.py sam_vit_h /tmp/sam_vit_h.pth
large="--models sam_vit_h --set weights=/tmp/sam_vit_h.pth --set pad=true --precisions bfloat16 --frames 24 -q"
vos bench --presets persam --objects 1,10,50 $large --json "$out/vit-h-persam.json"
vos bench --presets persam-f --objects 1 $large --json "$out/vit-h-persam-f.json"
vos bench --presets best,persam-f --objects 1,10 --frames 24 -q --json "$out/mobile-sam.json"
