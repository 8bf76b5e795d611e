#!/usr/bin/env python3
"""What vLLM leaves for its pool when it starts on a virtual card: its own engine, loader, profile run and graphs.

    cargo run -p vramplan-virtual-gpu --example rehearse -- MACHINE.json -- python start.py CARD CASES.csv >> starts.csv

`CASES.csv` has a line for every start: model, max_num_seqs, max_num_batched_tokens, `eager` or `compiled`. The engine stops
once it has decided how much its cache may take, and the next starts in the same process. What is real: vLLM, PyTorch and its allocator, Triton; what is not: the driver and NVIDIA's libraries, so that what
these take by themselves is not in any figure. FlashInfer's sampler is off: it compiles its kernels with NVIDIA's compiler.
"""

import contextlib
import csv
import gc
import json
import os
import pathlib
import sys
import tempfile
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "transformers")]
os.environ |= {
    "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_USE_FLASHINFER_SAMPLER": "0", "CUDA_MODULE_LOADING": "LAZY",
}

COLUMNS = "vllm card model weights max_seqs chunk mode share total loaded consumed transient graphs available".split()


class Decided(Exception):
    """The engine knows what its cache may take."""


def architecture(config):
    if config.architectures:
        return config.architectures[0]
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]


def watch(found):
    """Has the worker say what it measured, and stop."""
    from vllm.v1.worker.gpu_worker import Worker

    decide = Worker.determine_available_memory

    def decided(worker):
        available = decide(worker)
        graphs = getattr(worker, "cudagraph_memory_estimate", 0)
        found.update(
            total=worker.init_snapshot.total_memory,
            loaded=int(worker.model_runner.model_memory_usage),
            consumed=worker.total_consumed,
            transient=worker.peak_activation_memory - graphs,
            graphs=graphs,
            available=available,
        )
        raise Decided

    Worker.determine_available_memory = decided


def start(name, max_seqs, chunk, mode, found):
    import configs
    from vllm import LLM

    config = configs.of(name)
    told = config.to_dict() | {"architectures": [architecture(config)], "dtype": "bfloat16"}
    told.pop("quantization_config", None)
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(told, default=str))
        try:
            LLM(
                model=folder, load_format="dummy", skip_tokenizer_init=True, max_model_len=2048, max_num_seqs=max_seqs,
                max_num_batched_tokens=chunk, enforce_eager=mode == "eager",
            )
        except Exception:
            if not found:
                print(name, traceback.format_exc()[-1500:], file=sys.stderr)


def forget():
    """Gives back what an engine held, so that the next finds the card empty."""
    import torch
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
    from vllm.v1.sample.ops import topk_topp_triton

    sys.last_value = sys.last_traceback = sys.last_exc = None
    gc.unfreeze()
    gc.collect()
    # Whoever still refers to a tensor has no use for what is in it.
    for held in gc.get_objects():
        if isinstance(held, torch.Tensor) and held.is_cuda:
            with contextlib.suppress(RuntimeError):
                held.data = torch.empty(0)
    topk_topp_triton.reset_buffer_cache()
    cleanup_dist_env_and_memory()
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


def main():
    card, cases = sys.argv[1:]
    import vllm
    import vllm.model_executor.models.registry as registry

    # A model's class is looked at in this process, not in one of its own that imports everything again.
    registry._run_in_subprocess = lambda look: look()
    made, found, left = csv.writer(sys.stdout, lineterminator="\n"), {}, None
    watch(found)
    for line in csv.reader(open(cases, encoding="utf-8")):
        name, max_seqs, chunk, mode = line[0], int(line[1]), int(line[2]), line[3]
        found.clear()
        start(name, max_seqs, chunk, mode, found)
        parts = [found.get(key) for key in ("total", "loaded", "consumed", "transient", "graphs", "available")]
        if found:
            made.writerow([vllm.__version__, card, name, "bf16", max_seqs, chunk, mode, 0.92, *parts])
            sys.stdout.flush()
        left = forget() if left is None else max(left, forget())
        print(line, "left behind", left, file=sys.stderr, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
