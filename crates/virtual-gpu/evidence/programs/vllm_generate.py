"""vllm_generate.py JSON...: starts vLLM with each set of arguments and generates, each in a child of its own.

JSON holds arguments of `vllm.LLM` and: `tokens`, `prompts`, `prompt_tokens`. Weights are made up
(`load_format="dummy"`); the machine needs neither nvcc nor FlashInfer with VLLM_USE_FLASHINFER_SAMPLER=0.
"""
import json
import os
import sys
import time
import traceback

import torch
from vllm import LLM, SamplingParams

DEFAULTS = dict(load_format="dummy", skip_tokenizer_init=True, max_model_len=2048, gpu_memory_utilization=0.9,
                enforce_eager=True)


def one(arguments):
    began = time.time()
    count, prompts = arguments.pop("tokens", 8), arguments.pop("prompts", 1)
    prompt = list(range(3, 3 + arguments.pop("prompt_tokens", 57)))
    llm = LLM(**{**DEFAULTS, **arguments})
    print(f"up after {time.time() - began:.1f} s", flush=True)
    sampling = SamplingParams(max_tokens=count, detokenize=False, ignore_eos=True)
    for answer in llm.generate([{"prompt_token_ids": prompt}] * prompts, sampling, use_tqdm=False):
        ids = answer.outputs[0].token_ids
        print(f"{len(ids)} tokens: {list(ids)[:8]}")
    reserved, peak = torch.cuda.memory_reserved(), torch.cuda.max_memory_allocated()
    print(f"reserved {reserved / 2**20:.2f} MiB, allocated at most {peak / 2**20:.2f} MiB", flush=True)


def main(sets):
    import atexit
    for text in sets:
        began, child = time.time(), os.fork()
        if child == 0:
            code = 1
            try:
                one(json.loads(text))
                code = 0
            except BaseException:
                traceback.print_exc()
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(code)
        _, status, used = os.wait4(child, 0)
        print(f"{text}: exit {os.waitstatus_to_exitcode(status)}, {time.time() - began:.1f} s, "
              f"{used.ru_utime + used.ru_stime:.1f} s of the CPU, {used.ru_maxrss // 1024} MiB of the host",
              flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
