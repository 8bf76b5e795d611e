#!/usr/bin/env bash
# Records anew what tests/all/observe/replay.rs replays: really run, on this machine's CPU or on the fake driver.
# usage: tests/recordings/make.sh path/to/vramplan
set -euo pipefail
vramplan=$(realpath "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
export FAKE_NVML=$work/nvml VRAMPLAN_NVML_LIB=$work/libfake.so TESTS=all/observe XDG_RUNTIME_DIR=$work
cc -shared -fPIC -O1 -o "$VRAMPLAN_NVML_LIB" all/observe/fake_nvml.c

card() { printf 'name=Fake L4\nuuid=GPU-fake\ndriver=0.0-fake\ntotal=23034\nreserved=476\nused=100\n' > "$FAKE_NVML"; }
observe() { "$vramplan" observe --record "recordings/$1.jsonl" --report /dev/null "${@:2}" || echo "$1: exit code $?"; }

observe cpu-phases --device cpu -- python3 all/observe/phases.py 0.3

card
observe fake-nvml-plan --gpu L4 --model qwen2.5-14b --cache-tokens 10000 -- bash -c '. all/observe/gpu.sh
    phase load; gpu used=300 process=$$:200; sleep 0.1
    for held in 2000 4000 6000 8000; do gpu used=$((held + 100)) process=$$:$held; sleep 0.02; done
    gpu used=8960 process=$$:8860; sleep 0.15
    phase system_prefill; gpu used=10600 process=$$:10500; sleep 0.2
    phase prefill; sleep 0.2
    phase decode; sleep 0.4; gpu used=100 process='

card
observe fake-nvml-oom -- bash -c '. all/observe/gpu.sh
    phase load; gpu used=9100 process=$$:9000; sleep 0.1
    phase prefill; for held in 12 15 18 21; do gpu used=${held}000; sleep 0.03; done
    echo "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB." >&2
    gpu used=100 process=; exit 1' 2>/dev/null

card
echo process=1:100 >> "$FAKE_NVML"
observe fake-nvml-cotenant -- bash -c '. all/observe/gpu.sh
    phase load; gpu used=1100 process=1:100,$$:1000; sleep 0.1
    phase decode; gpu process=1:600,$$:1000 used=1600; sleep 0.2
    gpu used=600 process=1:600; sleep 0.02; gpu used=100 process=1:100'
