#!/usr/bin/env python3
"""Asks vLLM for the pools of models whose indexer chooses tokens beside latent vectors: DeepSeek-V3.2 and GLM-5, by their
published configurations. Without a GPU, as `ask.py`.

    pip install -r requirements.txt
    python sparse.py > sparse-RELEASE.csv
"""

import csv
import json
import multiprocessing
import sys
import types
from importlib.metadata import version

import ask
import card
import compressed
import torch
from vllm.platforms import current_platform
from vllm.v1.worker import workspace
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

CONFIGS = card.HERE.parent / "families" / "configs"
MODELS = {
    "deepseek-v3.2": "deepseek-ai__DeepSeek-V3.2.json", "glm-5": "zai-org__GLM-5-FP8.json", "glm-5.2": "zai-org__GLM-5.2-FP8.json",
}
CASES = [("deepseek-v3.2", "bf16", "h100"), ("deepseek-v3.2", "fp8", "h100"), ("deepseek-v3.2", "bf16", "b200"),
         ("deepseek-v3.2", "fp8", "b200"), ("glm-5", "bf16", "h100"), ("glm-5", "fp8", "h100"), ("glm-5.2", "bf16", "h100"),
         ("glm-5.2", "fp8", "b200")]
RANKS, AVAILABLE = 8, 40 << 30


def ask_one(case):
    model, kv, name = case
    told = json.loads((CONFIGS / MODELS[model]).read_text())
    card.insert(name)
    kind = "auto" if kv == "bf16" else kv
    vllm_config = card.engine(
        compressed.Config(told), RANKS, 1, told["quantization_config"], kv_cache_dtype=kind, max_model_len=8192
    )
    workspace.init_workspace_manager(torch.device("meta"))
    with card.ranks(vllm_config, 0):
        card.build(vllm_config)
    current_platform.update_block_size_for_backend(vllm_config)
    spec = GPUModelRunner.get_kv_cache_spec(types.SimpleNamespace(vllm_config=vllm_config, shared_kv_cache_layers={}))
    ask.resolve_layout(vllm_config, spec)
    ask.AVAILABLE = AVAILABLE
    pools, tokens = ask.printed_tokens(vllm_config, [spec])
    return case, (*ask.pool_of(pools[0]), tokens)


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow("vllm card model kv ranks available groups caches block_tokens blocks bytes tokens".split())
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        for (model, kv, name), answer in pool.imap(ask_one, CASES, chunksize=1):
            out.writerow([version("vllm"), name, model, kv, RANKS, AVAILABLE, *answer])


if __name__ == "__main__":
    main()
