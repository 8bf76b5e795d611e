"""Asks calculators that read the Hub about the rows of `tests/corpus`: writes `hub.csv` to standard output.

    python -m venv venv && venv/bin/pip install -r hub.txt
    venv/bin/python hub.py PATH/TO/vramplan > hub.csv

They talk to huggingface.co only. A server on 127.0.0.1 stands in for it: repositories with a `config.json`
of the shape in `profiles/models`, and weights that are a real header with a hole behind it: safetensors with
the tensors that transformers makes of that configuration, GGUF as `vramplan synth --sparse` writes it.
Base addresses are pointed there (accelerate: HF_ENDPOINT; hf-mem and kvfit have the address in their code);
nothing else of them is changed.

- *hf-mem*, *kvfit*: weights as stored, and the cache of one sequence; nothing else.
- *accelerate* (`estimate-memory`): weights, from the configuration.
"""

import http.server
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

import peers

MIB = 1 << 20
OWNER = "loopback"


class Hub(http.server.BaseHTTPRequestHandler):
    """The answers of the Hub that the three ask for, from a folder of repositories."""

    root = None
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        path = self.path.partition("?")[0]
        if found := re.fullmatch(rf"/api/models/({OWNER}/[^/]+)(/tree/[^/]+|/revision/[^/]+)?", path):
            return self.listing(found[1], found[2] or "", body)
        if found := re.fullmatch(rf"/({OWNER}/[^/]+)/resolve/[^/]+/(.+)", path):
            file = self.root / found[1] / found[2]
            if file.is_file():
                return self.file(file, body)
        self.answer(404, b'{"error": "Entry not found"}', body, {"X-Error-Code": "EntryNotFound"})

    def listing(self, repo, what, body):
        files = sorted((self.root / repo).iterdir()) if (self.root / repo).is_dir() else []
        sizes = {file.name: file.stat().st_size for file in files}
        if what.startswith("/tree"):
            made = [{"type": "file", "path": name, "size": size, "oid": "0"} for name, size in sizes.items()]
        else:
            siblings = [{"rfilename": name, "size": size, "blobId": "0"} for name, size in sizes.items()]
            made = {"id": repo, "modelId": repo, "sha": "0" * 40, "siblings": siblings, "tags": [], "downloads": 0}
            made |= {"library_name": "transformers", "private": False, "gated": False, "disabled": False}
            made["config"] = json.loads((self.root / repo / "config.json").read_text()) if files else {}
        self.answer(200, json.dumps(made).encode(), body, {"Content-Type": "application/json"})

    def file(self, file, body):
        size, first, last = file.stat().st_size, 0, None
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or size - 1)
        last = min(size - 1, size - 1 if last is None else last)
        headers = {"ETag": '"0"', "X-Repo-Commit": "0" * 40, "Accept-Ranges": "bytes"}
        if self.headers.get("Range"):
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        with open(file, "rb") as opened:
            opened.seek(first)
            content = opened.read(min(last - first + 1, 256 * MIB)) if body else b""
        self.answer(206 if self.headers.get("Range") else 200, content, body, headers, last - first + 1)

    def answer(self, code, content, body, headers, length=None):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if body or length is None else length))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def safetensors(config, path):
    """The header of a bf16 checkpoint, and a hole."""
    import torch
    import transformers

    made = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    header, at = {}, 0
    tied = {"lm_head.weight"} if config["tie_word_embeddings"] else set()
    for name, tensor in model.state_dict().items():
        if name not in tied:
            header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at := at + 2 * tensor.numel()]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def repository(root, vramplan, profile, weights):
    """`owner/name` of a repository with this model; nothing where it cannot be made."""
    name = f"{profile}-{weights}"
    folder = root / OWNER / name
    if not folder.exists():
        folder.mkdir(parents=True)
        config = peers.config(profile)
        config["architectures"] = [config["model_type"].title().replace("_", "") + "ForCausalLM"]
        (folder / "config.json").write_text(json.dumps(config))
        try:
            if weights == "bf16":
                safetensors(config, folder / "model.safetensors")
            else:
                command = [vramplan, "synth", "--sparse", "--model", profile, "--weights", weights, "-o", folder / "model.gguf"]
                subprocess.run(command, check=True, capture_output=True)
        except Exception as error:  # a family that transformers has under another name
            print(f"{name}: {error!r}"[:200], file=sys.stderr)
    return f"{OWNER}/{name}" if len(list(folder.iterdir())) > 1 else None


def run(code, *arguments, endpoint):
    environment = dict(os.environ, HF_ENDPOINT=endpoint, HF_HUB_DISABLE_TELEMETRY="1", HF_HOME=tempfile.mkdtemp())
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    start = done.stdout.find("{")
    try:
        return json.loads(done.stdout[start:])
    except json.JSONDecodeError:
        print(f"{arguments}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None


HF_MEM = """
import os, httpx2, sys
from hf_mem.cli import main
build = httpx2.AsyncClient.build_request
def pointed(self, method, url, **more):
    return build(self, method, str(url).replace("https://huggingface.co", os.environ["HF_ENDPOINT"]), **more)
httpx2.AsyncClient.build_request = pointed
sys.argv[0] = "hf-mem"
main()
"""


def hf_mem(repo, weights, tokens, endpoint):
    flags = ["--model-id", repo, "--experimental", "--max-model-len", tokens, "--json-output"]
    flags += ["--gguf-file", "model.gguf", "--kv-cache-dtype", "F16"] if weights != "bf16" else []
    answer = run(HF_MEM, *flags, endpoint=endpoint)
    return answer and answer["total_memory"]


KVFIT = """
import os, sys
import kvfit.hf
kvfit.hf.HF_BASE = os.environ["HF_ENDPOINT"]
from kvfit.cli import main
sys.argv[0] = "kvfit"
main()
"""


def kvfit(repo, weights, tokens, endpoint):
    file = "" if weights == "bf16" else "/blob/main/model.gguf"
    model = f"https://huggingface.co/{repo}{file}" if file else repo
    flags = [model, "--hardware", "custom:80", "--context", tokens, "--kv-dtype", "fp16", "--tp", 1, "--json"]
    answer = run(KVFIT, *flags, endpoint=endpoint)
    return answer and answer["model"]["weight_bytes"] + answer["cache"]["bytes_per_sequence"]


ACCELERATE = """
import json, sys
from accelerate.commands.estimate import estimate_command_parser, gather_data
args = estimate_command_parser().parse_args([sys.argv[1], "--dtypes", sys.argv[2], "--library_name", "transformers"])
print(json.dumps({"total": gather_data(args)[0][2]}))
"""


def accelerate(repo, weights, tokens, endpoint):
    dtypes = {"bf16": "float16", "q8_0": "int8", "q4_k_m": "int4", "q4_0": "int4"}
    answer = run(ACCELERATE, repo, dtypes[weights], endpoint=endpoint) if weights in dtypes else None
    return answer and answer["total"]


def main():
    vramplan = Path(sys.argv[1]).resolve()
    print("runtime,row,model,weights,tokens,peer,version,predicted_mib")
    known = {}
    with tempfile.TemporaryDirectory() as folder:
        Hub.root = Path(folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        for runtime, n, profile, weights, tokens in peers.asked():
            for peer in (hf_mem, kvfit, accelerate):
                key = peer.__name__, profile, weights, tokens
                if key not in known:
                    repo = repository(Hub.root, vramplan, profile, weights)
                    known[key] = repo and peer(repo, weights, tokens, endpoint)
                if known[key]:
                    name = peer.__name__.replace("_", "-")
                    print(f"{runtime},{n},{profile},{weights},{tokens},{name},{version(name)},{known[key] / MIB:.1f}", flush=True)


if __name__ == "__main__":
    main()
