#!/usr/bin/env python3
"""A Qwen2.5 shape with random weights through transformers: prefill 3×512 + 480, 32 tokens decoded. Prints what PyTorch counts after
each phase and what the card says, in MiB, and fails where PyTorch's reserved memory is not what the card gave out.
usage: qwen2.py 0.5b|14b sdpa|eager dynamic|static CONTEXT_MIB"""
import gc, sys, time
import torch
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM, StaticCache

SHAPES = {
    "0.5b": dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True),
    "14b": dict(vocab_size=152064, hidden_size=5120, intermediate_size=13824, num_hidden_layers=48, num_attention_heads=40, num_key_value_heads=8, tie_word_embeddings=False),
}
MIB = 1 << 20

def phase(name, context, begun):
    cuda = torch.cuda
    cuda.synchronize()
    stats, (free, total) = cuda.memory_stats(), cuda.mem_get_info()
    card = (total - free) / MIB - context
    print(f"{name:9} requested {stats['requested_bytes.all.current'] / MIB:9.2f} peak {stats['requested_bytes.all.peak'] / MIB:9.2f} "
          f"allocated peak {cuda.max_memory_allocated() / MIB:9.2f} reserved {cuda.memory_reserved() / MIB:6.0f} card {card:6.0f} at {time.time() - begun:.2f} s", flush=True)
    assert card == cuda.memory_reserved() / MIB, "reserved is not what the card gave out"
    cuda.reset_peak_memory_stats()

@torch.no_grad()
def main():
    shape, attention, cache, context = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    config = Qwen2Config(**SHAPES[shape], max_position_embeddings=32768, dtype="bfloat16", attn_implementation=attention)
    begun = time.time()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    gc.collect()
    phase("load", context, begun)
    kept = DynamicCache(config=config) if cache == "dynamic" else StaticCache(config=config, max_cache_len=2048)
    def go(n):
        ids = torch.randint(0, config.vocab_size, (1, n), device="cuda")
        model(input_ids=ids, past_key_values=kept, use_cache=True, logits_to_keep=1)
    for n in (512, 512, 512, 480):
        go(n)
        phase("prefill", context, begun)
    for _ in range(32):
        go(1)
    phase("decode", context, begun)

main()
