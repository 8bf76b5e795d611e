#!/usr/bin/env python3
"""Asks SGLang's own functions how many tokens DeepSeek-V4's pool has, without a GPU.

    python compressed.py WHEELS     # writes compressed.csv

`WHEELS` has a folder for each version, the unpacked wheel. Configurations are random, the same in every run. What is SGLang's own:
bytes of a token, rings, windows that requests need, and the tokens that are left (`DSV4PoolConfigurator`). Restated here: the two
published models' numbers, and flags.
"""

import ast
import csv
import random
import sys
from pathlib import Path

from wheel import LOGGER, NS, Wheel

VERSIONS = "0.5.12 0.5.14 0.5.15 0.5.18 0.5.20 0.5.21 0.5.22 0.5.23".split()
GIB = 1 << 30
# The last is the layer's that predicts.
FLASH = [0, 0, *[4, 128] * 20, 4, 0]
PRO = [128, 128, *[4, 128] * 29, 4, 0]
MODELS = {"deepseek-v4-flash": FLASH, "deepseek-v4-pro": PRO}
CONTEXT = 1_048_576
FILE, POOLS, SIZES = "model_executor/pool_configurator.py", "mem_cache/deepseek_v4_memory_pool.py", "mem_cache/allocation_sizing.py"


class Off:
    """An environment in which nothing is set: what the wheel's own file gives as the default."""

    def __init__(self, wheel):
        self.defaults = {}
        for node in ast.walk(wheel.tree("environ.py")):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
                name, first = node.targets[0], node.value.args[0]
                if isinstance(name, ast.Name) and isinstance(first, ast.Constant):
                    self.defaults[name.id] = first.value

    def __getattr__(self, name):
        return NS(get=lambda: self.defaults[name])


def bags(row):
    """The published configuration, as functions of newer releases look it up."""
    drafts = row["verify"] or None
    spec = NS(
        speculative_algorithm="EAGLE" if drafts else None, speculative_num_draft_tokens=drafts,
        speculative_num_steps=drafts and drafts - 1, speculative_eagle_topk=1,
    )
    schedule = NS(
        max_running_requests=row["max_requests"] or 256, chunked_prefill_size=row["chunk"], swa_prefix_tails=None,
        disable_overlap_schedule=False, _swa_full_tokens_ratio_explicitly_set=False, swa_full_tokens_ratio=0.1,
    )
    return dict(
        get_spec=lambda: spec, get_schedule=lambda: schedule,
        get_exec=lambda: NS(
            kernel=NS(dsv4_attn_backend="flashmla", enable_deepseek_v4_fp4_indexer=False),
            features=NS(enable_encoder_swa_bounded_replay=False),
        ),
        get_memory=lambda: NS(enable_hisparse=False, disable_radix_cache=False),
        get_disagg=lambda: NS(disaggregation_mode="null", disaggregation_decode_extra_slots=0),
        max_speculative_num_draft_tokens=lambda: drafts,
        get_alloc_len_per_decode=lambda: max(drafts - 1, drafts) if drafts else 1,
        resolving_view=lambda args: args,
    )


def named(wheel, file, *names):
    """Those of the names that a file of this release has."""
    tree = wheel.tree(file).body if (wheel.root / file).exists() else []
    defined = {node.name for node in tree if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    defined |= {t.id for node in tree if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
    return [name for name in names if name in defined]


def layouts(wheel):
    """How keys are laid out (`kernels/ops/attention/dsv4/kv_layout.py`), where the release has it."""
    path = wheel.root.parent / "kernels/ops/attention/dsv4/kv_layout.py"
    if not path.exists():
        return {}
    space = {}
    exec(compile(path.read_text(), "kv_layout", "exec"), space)
    return dict(KVLayout=space["KVLayout"])


def functions(wheel, row):
    env = Off(wheel)
    given = dict(envs=env, ONLINE_C128=False, NamedTuple=tuple, **bags(row), **layouts(wheel))
    ceil_div = lambda a, b: -(-a // b)
    given.update(ceil_div=ceil_div, ceil_align=lambda a, b: ceil_div(a, b) * b, range=range)
    if "KVLayout" in given:
        given["select_dsv4_kv_layout"] = lambda: (given["KVLayout"].V4, None)
    given.update(is_unified_kv_triton=lambda: False, is_unified_kv_fp8=lambda: False, dsv4_unified_row_bytes=lambda *_: 0, DSV41_INDEX_PAGE_SIZE=64)
    pools = named(
        wheel, POOLS, "get_compress_state_ring_size", "resolve_compress_state_ring_size", "get_compress_state_write_pad",
        "get_dsv4_indexer_bytes_per_token", "collect_sources_by_ratio", "resolve_compressed_kv_layout", "get_swa_ring_size",
        "uses_draft_swa_ring", "get_draft_swa_ring_size", "_num_dsv4_physical_kv_pages",
    )
    from typing import Sequence, Tuple
    space = wheel.take(POOLS, *pools, Sequence=Sequence, Tuple=Tuple, **given)
    given.update({name: space[name] for name in pools})
    mine = named(
        wheel, FILE, "DSV4_DEFAULT_SWA_FULL_TOKENS_RATIO", "_get_dsv4_compress_state_dtype_sizes", "MemoryPoolConfig",
        "MemoryPoolConfigurator", "_operator_swa_full_tokens_ratio", "compute_swa_request_cap", "check_dsv4_unified_fp8_pd_supported",
        "_DSV4PoolSizes", "DSV4PoolConfigurator",
    )
    return wheel.take(FILE, *mine, logger=LOGGER, **given)


def ask(wheel, row):
    space, drafts, ratios = functions(wheel, row), row["verify"], MODELS[row["model"]]
    hf = NS(kv_source_layer_ids=[], architectures=["DeepseekV4ForCausalLM"], model_type="deepseek_v4")
    config = NS(
        qk_nope_head_dim=448, qk_rope_head_dim=64, index_head_dim=128, compress_ratios=ratios, window_size=128,
        context_len=CONTEXT, hf_config=hf,
    )
    requests, layers = row["max_requests"] or 256, len(ratios) - 1
    args = NS(
        swa_full_tokens_ratio=0.1, speculative_algorithm="EAGLE" if drafts else None, max_running_requests=requests,
        max_speculative_num_draft_tokens=drafts, speculative_num_draft_tokens=drafts, disaggregation_mode="null",
        disaggregation_decode_extra_slots=0, enable_hisparse=False,
    )
    algorithm = NS(is_none=lambda: not drafts, is_eagle=lambda: bool(drafts), is_dspark=lambda: False)
    runner = NS(
        model_config=config, server_args=args, spec_algorithm=algorithm, spec_aux_config=None, enable_hisparse=False, dp_size=1,
        attn_dp_size=1, pp_size=1, start_layer=0, end_layer=layers, layer_info=NS(start_layer=0, end_layer=layers),
        ps=NS(pp_size=1, attn_dp_size=1),
        kv_cache_dtype_str="fp8_e4m3", sliding_window_size=128, page_size=256, is_draft_worker=False,
    )
    pool = space["DSV4PoolConfigurator"](runner)
    try:
        found = pool.calculate_pool_sizes(row["available_bytes"], 256)
    except (RuntimeError, ValueError, AssertionError):
        return 0, 0
    return found.full_max_total_num_tokens, found.swa_max_total_num_tokens


def main(wheels):
    rows, draw = [], random.Random("sglang, compressed keys")
    for version in VERSIONS:
        wheel = Wheel(wheels, version)
        for _ in range(25):
            row = dict(
                version=version, model=draw.choice(list(MODELS)), verify=draw.choice([0, 0, 2, 4]),
                max_requests=draw.choice([0, 0, 8, 32, 64, 128]), chunk=draw.choice([4096, 8192, 16384]),
                available_bytes=int(draw.uniform(2, 110) * GIB),
            )
            row["tokens"], row["window_tokens"] = ask(wheel, row)
            rows.append(row)
    with open(Path(__file__).parent / "compressed.csv", "w", newline="") as out:
        write = csv.DictWriter(out, rows[0], lineterminator="\n")
        write.writeheader()
        write.writerows({**row, "max_requests": row["max_requests"] or ""} for row in rows)


if __name__ == "__main__":
    main(sys.argv[1])
