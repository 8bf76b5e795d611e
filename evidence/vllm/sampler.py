#!/usr/bin/env python3
"""Records what vLLM's warm-up of its sampler holds, without a GPU: the last part of a profile run.

    pip install -r requirements.txt
    python sampler.py

`GPUModelRunner._dummy_sampler_run` runs on the meta device for the hidden states of as many sequences as a step
may have, with the model's own output head, and every storage is tracked while it lives. The kernel that searches
the pivot is left out; its buffer is made by the code around it. Writes `sampler.csv`: the most that lives beside
weights and the hidden states that are given (`peak`), and what stays for the next step (`kept`).
"""

import csv
import sys
import traceback
import types
from importlib.metadata import version

import card
import configs
import torch
import track
from vllm.v1.sample.ops import topk_topp_sampler, topk_topp_triton
from vllm.v1.sample.sampler import Sampler
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

MODELS = "qwen2.5-0.5b qwen2.5-7b llama-3.1-8b gemma-2-9b gemma-3-1b mistral-7b-v0.1 command-r-v01 granite-3.1-8b starcoder2-7b gpt-oss-20b".split()
COLUMNS = "vllm card model ranks sampled hidden vocab peak kept"


class Kernel:
    """A Triton kernel that is not run."""

    def __getitem__(self, grid):
        return lambda *_, **__: None


topk_topp_triton._topk_topp_kernel = Kernel()
topk_topp_triton.num_compute_units = lambda index: card.Card.units
# Triton is not offered without a driver.
topk_topp_sampler.HAS_TRITON = True
topk_topp_sampler.apply_top_k_top_p_triton = topk_topp_triton.apply_top_k_top_p_triton


def cases():
    """Card, model, ranks, sequences."""
    for model in MODELS:
        for ranks in (1, 2):
            yield "h100", model, ranks, 1024
    for name in ("a100-80gb", "l4", "b200"):
        for sampled in (64, 256, 1024):
            yield name, "qwen2.5-7b", 1, sampled


def ask(name, model, ranks, sampled):
    card.insert(name)
    topk_topp_triton.reset_buffer_cache()
    made = configs.of(model)
    # The head is all that is needed of the model.
    made.num_hidden_layers = min(made.num_hidden_layers, 2)
    if getattr(made, "layer_types", None):
        made.layer_types = made.layer_types[: made.num_hidden_layers]
    vllm_config = card.engine(made, ranks, 1, None, max_num_seqs=sampled)
    with card.ranks(vllm_config):
        built = card.build(vllm_config)
        runner = types.SimpleNamespace(vllm_config=vllm_config, model=built, device="meta", sampler=Sampler(), speculative_config=None)
        dtype = vllm_config.model_config.dtype
        given = torch.empty(sampled, made.hidden_size, dtype=dtype, device="meta")
        with torch.no_grad(), track.LiveStorages([given, *built.parameters(), *built.buffers()]) as live:
            GPUModelRunner._dummy_sampler_run(runner, given)
    return made.hidden_size, made.vocab_size, live.peak, live.bytes


def main():
    made = csv.writer(open(card.HERE / "sampler.csv", "w", encoding="utf-8", buffering=1), lineterminator="\n")
    made.writerow(COLUMNS.split())
    for case in cases():
        try:
            hidden, vocab, peak, kept = ask(*case)
        except Exception:
            print(*case, traceback.format_exc(), file=sys.stderr)
            continue
        name, model, ranks, sampled = case
        made.writerow([version("vllm"), name, model, ranks, sampled, hidden, vocab, peak, kept])


if __name__ == "__main__":
    main()
