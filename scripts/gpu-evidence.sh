#!/usr/bin/env bash
# Takes every measurement that needs an NVIDIA GPU, step by step; what is done is not done again.
#
#   gpu-evidence.sh [--device N] [--out FOLDER] [--model FILE] [--only STEP] [--list]
#   gpu-evidence.sh --device cpu ...      a rehearsal: what makes sense without a GPU, at small sizes
#
# Runs in the folder that `scripts/build-cuda` fills, or with the programs in $VRAMPLAN_BIN. Needs bash,
# coreutils and a driver for CUDA 13. Each step ends within nine minutes, and leaves a log, its results and
# a mark; a step whose mark is there is skipped. $PYTHON has the packages of seed-stack.txt; $PEERS names a
# Python script that measures peers.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BIN=${VRAMPLAN_BIN:-$HERE}
LIMIT=540
DEVICE=0 OUT=$PWD/evidence MODEL='' ONLY='' LIST=no INSIDE=''

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --device) DEVICE=${2:?}; shift ;;
        --out) OUT=${2:?}; shift ;;
        --model) MODEL=${2:?}; shift ;;
        --only) ONLY=${2:?}; shift ;;
        --inside) INSIDE=${2:?}; shift ;; # this script calls itself so, under a time limit
        --list) LIST=yes ;;
        *) fail "unknown argument \`$1\`: expected --device, --out, --model, --only or --list" ;;
    esac
    shift
done
[ -n "$MODEL" ] || MODEL=$BIN/SmolLM2-135M-Instruct.Q4_1.gguf

on_gpu() { [ "$DEVICE" != cpu ]; }
has() { command -v "$1" > /dev/null; }

# A step that cannot run here says why and counts as done.
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

program() { [ -x "$BIN/$1" ] || skip "there is no \`$1\` in $BIN"; }

# --- steps ----------------------------------------------------------------------------------------

step_machine() {
    uname -a
    cat "$BIN/commit" 2> /dev/null || echo 'commit unknown'
    (cd "$BIN" && find . -maxdepth 1 -type f -perm -u+x -print0 | sort -z | xargs -0 -r sha256sum)
    if on_gpu; then nvidia-smi; nvidia-smi -q; fi
}

# PyTorch alone, and the stack of the seed's table: one run a step, in seed-stack.sh's own folder.
seed() {
    program vramplan
    local root=$HERE/.. python=${PYTHON:-python3} rehearsal=()
    [ ! -d "$HERE/seed" ] || root=$HERE/seed
    "$python" -c 'import torch, transformers, bitsandbytes, hqq' ||
        skip "PyTorch and its libraries are not installed: see $root/scripts/seed-stack.txt, or set PYTHON"
    on_gpu || rehearsal=(--device cpu --small)
    VRAMPLAN=$(realpath "$BIN/vramplan") "$root/scripts/seed-stack.sh" "$OUT/seed-stack" --only "$1" "${rehearsal[@]}"
}
step_seed_pytorch() { seed pytorch; }
step_seed_sdpa() { seed sdpa; }
step_seed_eager() { seed eager; }
step_seed_sdpa_hqq8() { seed sdpa-hqq8; }
step_seed_eager_hqq8() { seed eager-hqq8; }
step_seed_sdpa_double_quant() { seed sdpa-double-quant; }

step_doctor() {
    program vramplan
    local result=0
    "$BIN/vramplan" doctor || result=$?
    on_gpu || return 0 # which complains that there is no GPU
    return $result
}

step_kernel_tests() {
    on_gpu || skip 'kernels are emulated by `cargo test`'
    program test-engine
    "$BIN/test-engine" kernels:: --ignored --test-threads 1 --nocapture
}

step_engine_tests() {
    program test-engine
    if on_gpu; then
        XDG_CACHE_HOME=$OUT/cache model_in_cache
        XDG_CACHE_HOME=$OUT/cache "$BIN/test-engine" engine::real::on_gpu --ignored --test-threads 1 --nocapture
    else
        VRAMPLAN_OFFLINE=1 "$BIN/test-engine" engine::families:: --test-threads 1
    fi
}

# Where the tests look for the real model.
model_in_cache() {
    [ -f "$MODEL" ] || return 0
    mkdir -p "$OUT/cache/vramplan/tests"
    ln -sf "$(realpath "$MODEL")" "$OUT/cache/vramplan/tests/SmolLM2-135M-Instruct.Q4_1.gguf"
}

sanitize() {
    on_gpu || skip 'the sanitizer needs a GPU'
    has compute-sanitizer || skip 'compute-sanitizer is not installed'
    program test-engine
    compute-sanitizer --tool "$1" --error-exitcode 1 "$BIN/test-engine" "kernels::$2" --ignored --test-threads 1
}
step_memcheck_ops() { sanitize memcheck ops::on_gpu; }
step_memcheck_look() { sanitize memcheck look::on_gpu; }
step_memcheck_steps() { sanitize memcheck steps::on_gpu::chunks; }
step_racecheck_ops() { sanitize racecheck ops::on_gpu; }
step_racecheck_steps() { sanitize racecheck steps::on_gpu::chunks; }

kernels_of() {
    on_gpu || skip 'kernels are timed on a GPU'
    program kernel_bench
    "$BIN/kernel_bench" --device "$DEVICE" --model "$1" --json "$OUT/kernels-$1.jsonl"
}
step_kernels_14b() { kernels_of qwen2.5-14b; }
step_kernels_8b() { kernels_of llama-3.1-8b; }

step_peers() {
    on_gpu || skip 'peers are timed on a GPU'
    [ -n "${PEERS:-}" ] || skip 'PEERS names no script'
    has python3 || skip 'python3 is not installed'
    python3 "$PEERS"
}

# Plans, runs and measures; the recording and the report are the evidence.
calibrate() {
    local name=$1
    shift
    program vramplan
    program vramplan-worker
    VRAMPLAN_WORKER=$BIN/vramplan-worker "$BIN/vramplan" calibrate --device "$DEVICE" \
        --record "$OUT/$name.jsonl" --report "$OUT/$name.md" --format markdown "$@"
}

synthetic() {
    on_gpu || skip 'models of this size are for GPUs'
    local name=$1 model=$2
    shift 2
    calibrate "$name" --synthetic --model "$model" --weights q4_k_m "$@"
}
step_calibrate_14b() {
    if ! on_gpu; then # the same path, with a model that a CPU runs in seconds
        calibrate calibrate-14b --synthetic --model smollm2-135m --weights q4_k_m --capacity 640MiB --steps \
            --system-tokens 64 --context 512 --prefill-chunk 64 --decode-tokens 4
        return
    fi
    synthetic calibrate-14b qwen2.5-14b --capacity 23034MiB --steps \
        --write "$OUT/profiles"
}
of_7b() { synthetic "calibrate-$1-$2" "$1" --prefill-chunk "$2"; }
step_calibrate_qwen2_5_7b_128() { of_7b qwen2.5-7b 128; }
step_calibrate_qwen2_5_7b_512() { of_7b qwen2.5-7b 512; }
step_calibrate_qwen2_5_7b_2048() { of_7b qwen2.5-7b 2048; }
step_calibrate_llama_3_1_8b_128() { of_7b llama-3.1-8b 128; }
step_calibrate_llama_3_1_8b_512() { of_7b llama-3.1-8b 512; }
step_calibrate_llama_3_1_8b_2048() { of_7b llama-3.1-8b 2048; }
step_calibrate_qwen3_8b_128() { of_7b qwen3-8b 128; }
step_calibrate_qwen3_8b_512() { of_7b qwen3-8b 512; }
step_calibrate_qwen3_8b_2048() { of_7b qwen3-8b 2048; }

real_model() { [ -f "$MODEL" ] || skip "there is no $MODEL: name one with --model"; }

step_calibrate_real() {
    real_model
    local small=()
    on_gpu || small=(--decode-tokens 4)
    calibrate calibrate-real --model "$MODEL" --system-tokens 64 --cache-tokens 512 \
        --prefill-chunk 128 "${small[@]}"
}

step_quality() {
    real_model
    local text=$BIN/quality.txt
    [ -f "$text" ] || skip "there is no $text: a text longer than the cache"
    if ! on_gpu; then
        head -c 6000 "$text" > "$OUT/quality-short.txt"
        text=$OUT/quality-short.txt
    fi
    local tokens=1024
    on_gpu || tokens=256
    calibrate quality --model "$MODEL" --system-tokens 0 --cache-tokens "$tokens" \
        --prefill-chunk 64 --quality "$text" --decode-tokens 4
}

soak() {
    program soak
    real_model
    "$BIN/soak" "$MODEL" --device "$DEVICE" "$@"
}
step_loads() {
    local loads=50
    on_gpu || loads=3
    soak --loads $loads --tokens 1 | tee "$OUT/loads.jsonl"
}
step_soak() {
    local tokens=20000
    on_gpu || tokens=40
    soak --loads 1 --tokens $tokens | tee "$OUT/soak.jsonl"
}

STEPS=(
    machine seed_pytorch seed_sdpa seed_eager seed_sdpa_hqq8 seed_eager_hqq8 seed_sdpa_double_quant
    doctor kernel_tests engine_tests
    memcheck_ops memcheck_look memcheck_steps racecheck_ops racecheck_steps
    kernels_14b kernels_8b peers
    calibrate_14b
    calibrate_qwen2_5_7b_128 calibrate_qwen2_5_7b_512 calibrate_qwen2_5_7b_2048
    calibrate_llama_3_1_8b_128 calibrate_llama_3_1_8b_512 calibrate_llama_3_1_8b_2048
    calibrate_qwen3_8b_128 calibrate_qwen3_8b_512 calibrate_qwen3_8b_2048
    calibrate_real quality loads soak
)

# --- running them -----------------------------------------------------------------------------------

if [ -n "$INSIDE" ]; then
    "step_$INSIDE"
    exit
fi
if [ $LIST = yes ]; then
    printf '%s\n' "${STEPS[@]}"
    exit
fi
mkdir -p "$OUT/state" "$OUT/logs"
OUT=$(cd "$OUT" && pwd)
if on_gpu; then export CUDA_DEVICE_ORDER=PCI_BUS_ID; fi

run() {
    local name=$1 mark=$OUT/state/$1 result=0 begun=$SECONDS
    if [ -f "$mark.done" ]; then
        printf '%-28s done before\n' "$name"
        return 0
    fi
    rm -f "$mark.failed"
    timeout --kill-after=20 $LIMIT bash "${BASH_SOURCE[0]}" --device "$DEVICE" --out "$OUT" \
        --model "$MODEL" --inside "$name" > "$OUT/logs/$name.log" 2>&1 || result=$?
    case $result in
        0) touch "$mark.done"; printf '%-28s done in %s s\n' "$name" $((SECONDS - begun)) ;;
        77) printf '%-28s %s\n' "$name" "$(tail -n 1 "$OUT/logs/$name.log")" ;;
        124 | 137) echo "took longer than $LIMIT s" > "$mark.failed"; printf '%-28s took too long\n' "$name" ;;
        *) echo "status $result" > "$mark.failed"; printf '%-28s FAILED: %s\n' "$name" "$OUT/logs/$name.log" ;;
    esac
}

if [ -n "$ONLY" ] && [[ " ${STEPS[*]} " != *" $ONLY "* ]]; then fail "there is no step \`$ONLY\`: see --list"; fi
for name in "${STEPS[@]}"; do
    if [ -z "$ONLY" ] || [ "$ONLY" = "$name" ]; then run "$name"; fi
done
failed=$(find "$OUT/state" -name '*.failed' | wc -l)
printf '%s failed; results in %s\n' "$failed" "$OUT"
[ "$failed" -eq 0 ]
