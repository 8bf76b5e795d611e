"""Asks other calculators about the rows of `tests/corpus`: writes `peers.csv` to standard output.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python peers.py > peers.csv

Each is asked for what it claims to predict, by its own command line, offline: the model as a `config.json`
of the shape in `profiles/models` (vramcalc, vramscout), or by its name in the tool's own list (llmfit). A row
that a tool cannot express is left out for that tool.
"""

import csv
import json
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MIB = 1 << 20

# One sequence of so many tokens, prefilled at once: what vLLM's profile run of its log processes.
VLLM_TOKENS = 8192

TYPES = {"mistral": "mistral", "deepseek2": "deepseek_v2", "qwen2_moe": "qwen2_moe"}
FAMILIES = {"llama", "mistral", "qwen2", "gemma", "gemma2"}  # that vramcalc reads

LLMFIT = {
    "codellama-7b": "codellama/CodeLlama-7b-hf",
    "codestral-22b-v0.1": "mistralai/Codestral-22B-v0.1",
    "codegemma-7b": "google/codegemma-7b-it",
    "deepseek-r1-distill-qwen-32b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-v2-lite": "deepseek-ai/DeepSeek-V2-Lite-Chat",
    "gemma-2-27b": "google/gemma-2-27b-it",
    "gemma-7b": "google/gemma-7b-it",
    "granite-3.1-8b": "ibm-granite/granite-3.1-8b-instruct",
    "granite-3.3-8b": "ibm-granite/granite-3.3-8b-instruct",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "mixtral-8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "phi-4": "microsoft/phi-4",
    "qwen1.5-moe-a2.7b": "Qwen/Qwen1.5-MoE-A2.7B-Chat",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
}
LLMFIT_FORMATS = {"bf16": "BF16", "q4_k_m": "Q4_K_M", "q4_0": "Q4_0", "q8_0": "Q8_0"}
VRAMSCOUT_FORMATS = {"bf16": "bf16", "q4_k_m": "int4", "q4_0": "int4", "q8_0": "int8"}


def config(profile):
    """A `config.json` of a profile's shape."""
    shape = tomllib.loads((ROOT / f"profiles/models/{profile}.toml").read_text())["shape"]
    arch = shape["architecture"]
    made = {
        "model_type": TYPES.get(arch, arch),
        "architectures": ["ForCausalLM"],
        "num_hidden_layers": shape["n_layers"],
        "hidden_size": shape["hidden_size"],
        "num_attention_heads": shape["n_heads"],
        "num_key_value_heads": shape["kv_heads"],
        "head_dim": shape["head_dim"],
        "intermediate_size": shape["ffn_size"],
        "vocab_size": shape["vocab_size"],
        "max_position_embeddings": shape["context_len"],
        "tie_word_embeddings": shape["tied_embeddings"],
        "attention_bias": shape.get("qkv_bias", False),
        "torch_dtype": "bfloat16",
    }
    if window := shape.get("window"):
        made["sliding_window"] = window["size"]
    if moe := shape.get("moe"):
        made |= {
            "num_experts": moe["n_experts"],
            "num_local_experts": moe["n_experts"],
            "n_routed_experts": moe["n_experts"],
            "num_experts_per_tok": moe["n_experts_used"],
            "moe_intermediate_size": moe["expert_ffn_size"],
            "shared_expert_intermediate_size": moe.get("shared_ffn_size", 0),
            "first_k_dense_replace": moe.get("leading_dense_layers", 0),
            "n_shared_experts": moe.get("shared_ffn_size", 0) // moe["expert_ffn_size"],
        }
    if mla := shape.get("mla"):
        made |= {k: mla.get(k) for k in (
            "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")}
    return made


def ask(*command):
    """The JSON that a command prints, or nothing where it refuses."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return None


def llmfit(profile, weights, tokens, _config):
    """Weights by a constant per parameter, KV, and half a GB."""
    if weights not in LLMFIT_FORMATS or profile not in LLMFIT:
        return None
    answer = ask(BIN / "llmfit", "plan", LLMFIT[profile], "--context", tokens,
                 "--quant", LLMFIT_FORMATS[weights], "--json")
    # It adds decimal GB of weights to GiB of KV; taken as GB, as it prints them.
    return answer and answer["minimum"]["vram_gb"] * 1e9 / MIB


def vramcalc(profile, weights, tokens, path):
    """Unquantized weights, KV, activations, and 0.75 GB."""
    family = json.loads(path.read_text())["model_type"]
    if weights != "bf16" or family not in FAMILIES:
        return None
    answer = ask(BIN / "vramcalc", "estimate", path, "--dtype", "bf16", "--seq", tokens,
                 "--attn", "flash", "--json")
    if not answer:
        return None
    estimate = answer["estimate"]
    return (estimate["total"] + estimate["overhead"]) / MIB


def vramscout(profile, weights, tokens, path):
    """Weights, KV, 0.75 GiB or 3%, and prefill scratch; its safety reserve is no prediction."""
    if weights not in VRAMSCOUT_FORMATS:
        return None
    engine = ["--engine", "vllm"] if weights == "bf16" else []
    answer = ask(BIN / "vramscout", path, "--context", tokens, "--dtype", VRAMSCOUT_FORMATS[weights],
                 "--kv-dtype", "bf16", *engine, "--prefill-chunk", min(tokens, VLLM_TOKENS),
                 "--vram-gib", 80, "--json")
    if not answer or "parts_gib" not in answer:
        return None
    parts = answer["parts_gib"]
    return sum(size for name, size in parts.items() if name != "Safety reserve") * 1024


def asked():
    """(runtime, row, profile, weights, tokens) of every row with a total."""
    with open(ROOT / "tests/corpus/llama_cpp.csv") as file:
        for n, row in enumerate(csv.DictReader(file), 1):
            if not row["left_out"] and row["kv_mib"]:
                yield "llama.cpp", n, row["model"], row["weights"], int(row["n_ctx"])
    with open(ROOT / "tests/corpus/vllm.csv") as file:
        for n, row in enumerate(csv.DictReader(file), 1):
            plain = (row["ranks"], row["pipeline"], row["lora"], row["vision"]) == ("1", "1", "0", "0")
            if plain and not row["left_out"] and row["context_gib"] and row["kv"] == "bf16":
                yield "vllm", n, row["profile"], row["weights"], VLLM_TOKENS


def main():
    print("runtime,row,model,weights,tokens,peer,version,predicted_mib")
    known = {}
    with tempfile.TemporaryDirectory() as folder:
        for runtime, n, profile, weights, tokens in asked():
            path = Path(folder) / profile / "config.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(config(profile)))
            for peer in (llmfit, vramcalc, vramscout):
                name = peer.__name__
                key = name, profile, weights, tokens
                if key not in known:
                    known[key] = peer(profile, weights, tokens, path)
                if known[key]:
                    print(f"{runtime},{n},{profile},{weights},{tokens},{name},{version(name)},{known[key]:.1f}")


if __name__ == "__main__":
    main()
