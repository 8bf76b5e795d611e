"""What a look-up of a model costs that is nowhere local: requests, bytes and time. Writes `lookups.csv` to standard output.

    python -m venv venv && venv/bin/pip install -r lookups.txt
    venv/bin/python lookups.py PATH/TO/vramplan > lookups.csv

hf-mem and kvfit talk to huggingface.co only, vramplan to `HF_ENDPOINT`. A server on 127.0.0.1 stands in for it, as in
`hub.py`: nothing else of the three is changed. Every answer begins DELAY later than it could, as over a network, and bytes
count that the server could write before it was hung up on, headers of HTTP left out. The repositories hold a real header
and a hole behind it: a GGUF file as `vramplan synth --sparse` writes it, and checkpoints of bf16 shards with the tensors
of the same models. Cold is a first look-up, with empty caches; warm the same once more. Time is that of the whole
command, the median of RUNS.
"""

import http.server
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import hub

DELAY = 0.05
RUNS = 5
CHUNK = 1 << 14
SHARD = 5 * 10**9
LAYER = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


class Counting(hub.Hub):
    """The same answers, counted and delayed."""

    requests = sent = 0
    lock = threading.Lock()

    def do_GET(self, body=True):
        time.sleep(DELAY)
        self.count(requests=1)
        super().do_GET(body)

    def count(self, requests=0, sent=0):
        with self.lock:
            Counting.requests += requests
            Counting.sent += sent

    def file(self, file, body):
        size, first, last = file.stat().st_size, 0, None
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), int(wanted[2] or size - 1)
        last = min(size - 1, size - 1 if last is None else last)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        for name, value in {"ETag": '"0"', "X-Repo-Commit": "0" * 40, "Content-Length": last - first + 1}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body:
            self.stream(file, first, last)

    def stream(self, file, first, last):
        """As much as is read: who has enough hangs up."""
        with open(file, "rb") as opened:
            opened.seek(first)
            while first <= last:
                part = opened.read(min(CHUNK, last - first + 1))
                try:
                    self.wfile.write(part)
                except OSError:
                    self.close_connection = True
                    return
                self.count(sent=len(part))
                first += len(part)

    def answer(self, code, content, body, headers, length=None):
        self.count(sent=len(content) if body else 0)
        super().answer(code, content, body, headers, length)


def dense(hidden, ffn, layers, heads, kv, head_dim, vocab):
    """The tensors of a model with Llama's layers, by name."""
    widths = [(heads * head_dim, hidden), (kv * head_dim, hidden), (kv * head_dim, hidden), (hidden, heads * head_dim),
              (ffn, hidden), (ffn, hidden), (hidden, ffn)]
    tensors = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        for name, shape in zip(LAYER, widths):
            tensors[f"model.layers.{layer}.{name}.weight"] = shape
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{name}.weight"] = (hidden,)
    return tensors


def checkpoint(folder, config, tensors):
    """Shards of at most SHARD bytes, whose headers are real, and their index."""
    shards, at = [{}], 0
    for name, shape in tensors.items():
        size = 2
        for n in shape:
            size *= n
        if at + size > SHARD and shards[-1]:
            shards.append({})
            at = 0
        shards[-1][name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at := at + size]}
    index = {}
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        index |= dict.fromkeys(shard, file)
        text = json.dumps(shard).encode()
        with open(folder / file, "wb") as opened:
            opened.write(struct.pack("<Q", len(text)) + text)
            opened.truncate(8 + len(text) + max(tensor["data_offsets"][1] for tensor in shard.values()))
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config))


def llama(hidden, ffn, layers, heads, kv, vocab):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocab,
            "head_dim": 128, "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}


def repositories(root, vramplan):
    """Name and repository of what is looked up."""
    made = {}
    for name, shape in (("llama-8b", (4096, 14336, 32, 32, 8, 128256)), ("llama-70b", (8192, 28672, 80, 64, 8, 128256))):
        hidden, ffn, layers, heads, kv, vocab = shape
        folder = root / hub.OWNER / name
        folder.mkdir(parents=True)
        checkpoint(folder, llama(*shape), dense(hidden, ffn, layers, heads, kv, 128, vocab))
        made[f"{name}, bf16, {len(list(folder.glob('*.safetensors')))} shards"] = name, None
    folder = root / hub.OWNER / "llama-8b-GGUF"
    folder.mkdir(parents=True)
    command = [vramplan, "synth", "--sparse", "--model", "llama-3.1-8b", "--weights", "q4_k_m", "-o", folder / "llama-8b-Q4_K_M.gguf"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "config.json").write_text("{}")
    made["llama-8b, GGUF q4_k_m"] = "llama-8b-GGUF", "llama-8b-Q4_K_M.gguf"
    return made


def commands(vramplan, name, file, endpoint):
    """The command line of each; hf-mem and kvfit are pointed to the server as in `hub.py`."""
    repo = f"{hub.OWNER}/{name}"
    of_file = ["--gguf-file", file] if file else []
    model = f"https://huggingface.co/{repo}/blob/main/{file}" if file else repo
    yield "vramplan", [vramplan, "budget", "--gpu", "H200", "--model", f"hf:{repo}{':Q4_K_M' if file else ''}", "-q"]
    yield "hf-mem", [sys.executable, "-c", hub.HF_MEM, "--model-id", repo, "--experimental", "--json-output", *of_file]
    yield "kvfit", [sys.executable, "-c", hub.KVFIT, model, "--hardware", "custom:141", "--context", "8192", "--tp", "1", "--json"]


def measure(command, endpoint, home):
    """Requests, bytes and seconds of one command."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HOME": home, "HF_HUB_DISABLE_TELEMETRY": "1", "XDG_CACHE_HOME": f"{home}/.cache"}
    requests, sent, begun = Counting.requests, Counting.sent, time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    seconds = time.monotonic() - begun
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{command[:4]}: {(done.stderr or done.stdout).strip()[-400:]}")
    return Counting.requests - requests, Counting.sent - sent, seconds


def main():
    vramplan = Path(sys.argv[1]).resolve()
    said = subprocess.run([vramplan, "--version"], capture_output=True, text=True).stdout.split()[1]
    print("model,tool,version,lookup,requests,bytes,seconds")
    with tempfile.TemporaryDirectory() as folder:
        Counting.root = Path(folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        for label, (name, file) in repositories(Counting.root, vramplan).items():
            for tool, command in commands(vramplan, name, file, endpoint):
                rows = {"cold": [], "warm": []}
                try:
                    for _ in range(RUNS):
                        with tempfile.TemporaryDirectory() as home:
                            for row in rows.values():
                                row.append(measure(command, endpoint, home))
                except RuntimeError as error:
                    print(error, file=sys.stderr)
                    continue
                release = said if tool == "vramplan" else version(tool)
                for lookup, runs in rows.items():
                    requests, sent, seconds = (statistics.median(column) for column in zip(*runs))
                    print(f'"{label}",{tool},{release},{lookup},{requests:.0f},{sent:.0f},{seconds:.2f}', flush=True)


if __name__ == "__main__":
    main()
