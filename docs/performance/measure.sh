#!/bin/sh
# All the numbers of docs/performance.md. On a machine that does nothing else, from the root of the repository:
#   sh docs/performance/measure.sh          speed, and the tables on the page
#   sh docs/performance/measure.sh DAVIS    accuracy, into out/accuracy
set -e
here=docs/performance
command -v vos >/dev/null || { echo "no vos on the path: activate its environment first" >&2; exit 1; }

if [ -n "$1" ]; then
    for change in precision=float32 precision=bfloat16 pad=true input_size=1024 input_size=768 input_size=640 input_size=512 \
        keyframe_every=2 keyframe_every=3; do
        vos eval "out/accuracy/best $change" --davis "$1" --sequences blackswan,soapbox,libby --run --preset best \
            --override $change
    done
    vos eval out/accuracy/fast --davis "$1" --sequences blackswan,soapbox,libby --run --preset fast
    exit
fi

rm -f $here/*.json
vos bench reference --presets persam,persam-f,best,fast --objects 1,10 --frames 8 --plain-frames 2 --rounds 1 \
    --fit-steps 50 --json $here/reference.json
vos bench reference --presets best,fast --objects 1 --frames 16 --plain-frames 2 --rounds 5 --json $here/targets.json
vos bench --presets persam,persam-f,best,fast --objects 1,10 --json $here/objects.json
for size in 1280 1024 768 640 512; do
    vos bench --presets best --set input_size=$size --precisions float32,bfloat16 --frames 8 --json $here/size-$size.json
done
vos bench --presets best --set pad=true --frames 8 --json $here/padded.json
vos bench --presets best,fast --set compile=true --frames 8 --json $here/compiled.json
vos bench --presets best,fast --set keyframe_every=3 --frames 12 --json $here/keyframes.json
vos bench report $here/*.json --into docs/performance.md
