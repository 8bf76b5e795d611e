#!/usr/bin/env bash
# Measures the stack that examples/seed-l4.toml describes, run by run, into one folder.
#
#   scripts/seed-stack.sh OUT                         on the GPU: about a quarter of an hour
#   scripts/seed-stack.sh OUT --only RUN              one of `scripts/seed_stack.py --list`
#   scripts/seed-stack.sh OUT --device cpu --small    a rehearsal: tiny shapes, no figure of a card
#
# A run whose OUT/RUN.json is complete is skipped, so that a second call goes on where the first ended.
# Needs scripts/seed-stack.txt installed for $PYTHON (default: python3), and a vramplan ($VRAMPLAN,
# default: what `cargo build` made). For each run: RUN.json is what PyTorch counted, RUN.jsonl what
# `vramplan observe` sampled (`vramplan observe --replay` reads it), RUN.txt the report beside the plan.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 && $1 != -* ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1; shift
python=${PYTHON:-python3}
vramplan=${VRAMPLAN:-target/debug/vramplan}
device=cuda small= only=
while (($#)); do
    case $1 in
        --device) device=$2; shift 2 ;;
        --small) small=--small; shift ;;
        --only) only=$2; shift 2 ;;
        *) echo "seed-stack.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
[[ -x $vramplan ]] || { echo "seed-stack.sh: no executable $vramplan: cargo build, or set VRAMPLAN" >&2; exit 2; }
mkdir -p "$out"

# What a run is planned as. Caches grow here; a tiny shape has no plan.
plan() {
    local kv=bf16 weights=nf4 attention=${1%%-*}
    [[ $1 == *hqq8* ]] && kv=hqq8
    [[ $1 == *double-quant* ]] && weights=nf4-dq
    echo --scenario examples/seed-l4.toml --cache grown --kv "$kv" --weights "$weights" --attention "$attention"
}

runs=$("$python" scripts/seed_stack.py --list)
if [[ -n $only ]]; then
    grep -qx -- "$only" <<< "$runs" || { echo "seed-stack.sh: no run $only, expected one of:" $runs >&2; exit 2; }
    runs=$only
fi
failed=0
for run in $runs; do
    if grep -qs '"complete": true' "$out/$run.json"; then
        echo "$run: complete"
        continue
    fi
    flags=(--record "$out/$run.jsonl" --report "$out/$run.txt")
    [[ $device == cpu ]] && flags+=(--device cpu)
    if [[ $run != pytorch && -z $small ]]; then
        read -ra planned <<< "$(plan "$run")"
        flags+=("${planned[@]}")
    fi
    rm -f "$out/$run.jsonl" "$out/$run.txt"
    code=0
    "$vramplan" observe "${flags[@]}" -- \
        "$python" scripts/seed_stack.py "$run" --write "$out/$run.json" --device "$device" $small \
        > "$out/$run.log" 2>&1 || code=$?
    # 4: outside of the plan's bounds, which is a finding and no failure.
    if [[ $code != 0 && $code != 4 ]]; then
        echo "$run: exit code $code, see $out/$run.log" >&2
        failed=1
    else
        echo "$run: measured"
    fi
done
exit $failed
