#!/usr/bin/env python3
"""Random jobs of the real llama.cpp on cards that are not there: what it says it takes, and what the card handed out.
usage: rehearse.py WORKDIR REHEARSE VRAMPLAN OUT.csv SEED JOBS VERSION=BIN [VERSION=BIN ...]
  WORKDIR   for models of holes and other files       REHEARSE  target/debug/examples/rehearse, beside the two libraries
  VRAMPLAN  writes the models, and knows the cards     BIN       of scripts/build-llama-cuda, for instance 0.8.0=WORK8/bin
Appends to OUT.csv; a job that is there already is not run again."""
import csv, json, os, random, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

COLUMNS = ("seed,llama_cpp_version,cards,vmm,model,file_type,n_ctx,n_batch,n_ubatch,n_seq_max,kv_unified,swa_full,flash_attn,type_k,type_v,ngl,n_cpu_moe,overrides,tensor_split,"
           "no_kv_offload,no_op_offload,all_outputs,outcome,said_mib,buffer_bytes,context_bytes,pool_prefill_bytes,pool_bytes,library_bytes,peak_bytes").split(",")
# Families by name of a profile, with formats of the weights; the experts of bf16 are multiplied one by one.
MODELS = {
    "llama-3.2-1b": ["q4_k_m", "q8_0", "bf16", "f16"], "llama-3.1-8b": ["q4_k_m", "q6_k", "q4_0"], "qwen2.5-7b": ["q4_k_m", "q5_k_m"], "qwen3-4b": ["q4_k_m", "bf16"],
    "qwen3-30b-a3b": ["q4_k_m", "q8_0"], "gemma-2b": ["f16"], "gemma-2-9b": ["q4_k_m"], "gemma-3-4b": ["q4_k_m", "f16"], "phi-4-mini": ["q4_k_m"], "phi-3-mini-4k": ["q8_0"],
    "gpt-oss-20b": ["mxfp4_moe"], "mixtral-8x7b": ["q4_k_m", "q3_k_m"], "olmo-2-7b": ["q4_k_m"], "qwen1.5-moe-a2.7b": ["q4_k_m", "bf16", "f16"], "deepseek-v2-lite": ["q4_k_m", "bf16"],
    "granite-3.1-8b": ["q4_k_m"], "command-r-08-2024": ["q4_k_m"], "starcoder2-3b": ["q4_k_m", "q8_0"], "qwen3.5-4b": ["q4_k_m"], "qwen3.5-35b-a3b": ["q4_k_m"],
    "mistral-nemo-2407": ["q4_k_m", "iq4_xs"], "glm-4.5-air": ["q4_k_m"], "smollm2-360m": ["q8_0", "f16"], "ministral-3-3b-2512": ["q4_k_m"], "smollm3-3b": ["q4_k_m"],
}
EXPERTS = {"qwen3-30b-a3b": 128, "gpt-oss-20b": 32, "mixtral-8x7b": 8, "qwen1.5-moe-a2.7b": 60, "deepseek-v2-lite": 64, "qwen3.5-35b-a3b": 256, "glm-4.5-air": 128}
LAYERS = {"llama-3.2-1b": 16, "llama-3.1-8b": 32, "qwen2.5-7b": 28, "qwen3-4b": 36, "qwen3-30b-a3b": 48, "gemma-2b": 18, "gemma-2-9b": 42, "gemma-3-4b": 34, "phi-4-mini": 32, "phi-3-mini-4k": 32,
          "gpt-oss-20b": 24, "mixtral-8x7b": 32, "olmo-2-7b": 32, "qwen1.5-moe-a2.7b": 24, "deepseek-v2-lite": 27, "granite-3.1-8b": 40, "command-r-08-2024": 40, "starcoder2-3b": 30,
          "qwen3.5-4b": 32, "qwen3.5-35b-a3b": 40, "mistral-nemo-2407": 40, "glm-4.5-air": 46, "smollm2-360m": 32, "ministral-3-3b-2512": 26, "smollm3-3b": 36}
# Where a model was trained on less than the longest that is drawn.
CONTEXTS = {"gemma-2b": 8192, "gemma-2-9b": 8192, "smollm2-360m": 8192, "phi-3-mini-4k": 4096, "olmo-2-7b": 4096, "starcoder2-3b": 16384}
# More families, which seeds of three figures draw from, too: formats, layers, experts, the longest that is drawn.
MORE = {
    "gemma-3-12b": (["q4_k_m"], 48, 0, 32768), "gemma-3-1b": (["q8_0", "f16"], 26, 0, 32768), "qwen3-next-80b-a3b": (["q4_k_m"], 48, 512, 32768), "qwen3.5-9b": (["q5_k_m"], 32, 0, 32768),
    "starcoder2-7b": (["q4_k_m"], 32, 0, 16384), "mistral-small-3.2-24b-2506": (["q4_k_m"], 40, 0, 32768), "phi-4": (["q4_k_m", "q6_k"], 40, 0, 16384), "gpt-oss-120b": (["mxfp4_moe"], 36, 128, 32768),
    "qwen2-57b-a14b": (["q4_k_m"], 28, 64, 32768), "gemma-7b": (["q8_0"], 28, 0, 8192), "moonlight-16b-a3b": (["q4_k_m", "bf16", "f16"], 27, 64, 8192), "smollm-135m": (["q8_0", "bf16"], 30, 0, 2048),
}
CARDS = ["P40", "GTX 1080", "RTX 2080 Ti", "T4", "RTX 3060", "RTX 3090", "A100-80GB", "RTX 4090", "L4", "H100", "RTX 5090"]
PAIRS = ["RTX 3090,RTX 3060", "RTX 3060,RTX 3060", "RTX 4090,RTX 4090", "P40,P40", "A100-80GB,A100-80GB", "RTX 2080 Ti,RTX 4090"]
SMALL = {"P40": 22, "GTX 1080": 7, "RTX 2080 Ti": 10, "T4": 14, "RTX 3060": 11, "RTX 3090": 23, "RTX 4090": 23, "L4": 21, "RTX 5090": 31}   # GiB
PATTERNS = [r"ffn_.*=CPU", r"blk\.[0-9]\.=CPU", r"attn_(q|k|v|output)=CPU", r"output\.weight=CPU", r"ffn_down=CPU"]
MOE_PATTERNS = [r"exps=CPU", r"blk\.([0-9]|1[0-5])\.ffn_.*_exps\.=CPU", r"ffn_(up|gate)_exps=CPU"]

def experts_of(model): return MORE[model][2] if model in MORE else EXPERTS.get(model)

def job(seed, number, versions, size):
    rnd = random.Random(f"{seed}/{number}")
    model = rnd.choice(sorted(MODELS) + (sorted(MORE) if int(seed) >= 100 else []))
    moe, layers = bool(experts_of(model)), MORE[model][1] if model in MORE else LAYERS[model]
    cards = rnd.choice(CARDS if rnd.random() < 0.75 else PAIRS)
    row = dict(seed=f"{seed}/{number}", llama_cpp_version=rnd.choice(sorted(versions)), cards=cards, vmm=int(rnd.random() < 0.75), model=model, file_type=rnd.choice(MORE[model][0] if model in MORE else MODELS[model]))
    slots = rnd.choice([1, 1, 1, 1, 2, 4])
    row.update(n_ctx=rnd.choice([2048, 4096, 8192, 8192, 16384, 32768]), n_ubatch=rnd.choice([128, 512, 512, 512, 1024, 2048]), n_batch=2048, n_seq_max=slots,
               kv_unified=int(slots > 1 and rnd.random() < 0.5), swa_full=int(rnd.random() < 0.15), flash_attn=rnd.choice(["auto", "auto", "on", "off", "off"]))
    row["n_ctx"] = min(row["n_ctx"], MORE[model][3] if model in MORE else CONTEXTS.get(model, row["n_ctx"]))
    kv = rnd.choice(["f16", "f16", "f16", "q8_0", "q8_0", "q4_0", "bf16", "q5_1", "f32"])
    values = kv if rnd.random() < 0.85 else rnd.choice(["f16", "q8_0"])
    if row["flash_attn"] == "off" and values not in ("f16", "bf16", "f32"): values = "f16"
    row.update(type_k=kv, type_v=values, ngl=999, n_cpu_moe=0, overrides="", tensor_split="")
    kind = rnd.choice(["all"] * 6 + ["ngl", "moe" if moe else "ngl", "ot"])
    if kind == "ngl": row["ngl"] = rnd.randint(0, layers + 1)
    if kind == "moe": row["n_cpu_moe"] = rnd.randint(1, layers)
    if kind == "ot": row["overrides"] = rnd.choice(MOE_PATTERNS + PATTERNS if moe else PATTERNS)
    if "," in cards and rnd.random() < 0.4: row["tensor_split"] = f"{rnd.randint(1, 9)},{rnd.randint(1, 9)}"
    # What is refused says little: a model that does not fit goes on a larger card.
    wanted = size(model, row["file_type"]) * 1.2 + (2 << 30)
    if row["n_ctx"] * layers * (1 if kv != "f32" else 2) > 8192 * 40: wanted += 6 << 30
    if kind in ("all", "ngl") and "," not in cards and wanted > SMALL.get(cards, 80) << 30: row["cards"] = "A100-80GB" if rnd.random() < 0.5 else "H100"
    if kind in ("all", "ngl") and "," in cards and wanted > 40 << 30: row["cards"] = "A100-80GB,A100-80GB"
    row.update(no_kv_offload=int(rnd.random() < 0.05), no_op_offload=int(rnd.random() < 0.1), all_outputs=int(rnd.random() < 0.07))
    return row

class Bench:
    def __init__(self, work, rehearse, vramplan):
        self.work, self.rehearse, self.vramplan = os.path.abspath(work), os.path.abspath(rehearse), os.path.abspath(vramplan)
        self.env = dict(os.environ, VRAMPLAN_VIRTUAL_GPU_LIBRARIES=os.path.dirname(os.path.dirname(self.rehearse)))
        self.known = {}
        os.makedirs(self.work, exist_ok=True)

    def model(self, name, file_type):
        path = os.path.join(self.work, f"{name}.{file_type}.gguf")
        if not os.path.exists(path):
            subprocess.run([self.vramplan, "sparse", name, path + ".part.gguf", "--weights", file_type, "--offline"], check=True, capture_output=True)
            os.rename(path + ".part.gguf", path)
        return path

    def card(self, name):
        """As `vramplan rehearse` describes it: what the profile says, and the context that it expects."""
        if name not in self.known:
            said = subprocess.run([self.vramplan, "budget", "--gpu", name, "--model", "llama-3.2-1b", "--runtime", "llama.cpp", "-c", "512", "--offline", "--json"], capture_output=True, text=True).stdout
            plan = json.loads(said)
            context = next(b for c in plan["components"] for b in c["buffers"] if b["name"].startswith("CUDA context"))
            profile = subprocess.run([self.vramplan, "profiles", "show", name], capture_output=True, text=True).stdout
            capability = re.search(r'compute_capability = "(\d+)\.(\d+)"', profile)
            multiprocessors = re.search(r"\[sm_count\]\s+value = (\d+)", profile)
            self.known[name] = dict(name="NVIDIA " + name, total=plan["capacity"]["total"], reserved=plan["capacity"]["reserved"], context=context["expected"],
                                    compute_capability=[int(capability[1]), int(capability[2])], sm_count=int(multiprocessors[1]))
        return self.known[name]

    def command(self, row, path, binary):
        flags = {"-c": "n_ctx", "-b": "n_batch", "-ub": "n_ubatch", "-np": "n_seq_max", "-kvu": "kv_unified", "--swa-full": "swa_full", "-fa": "flash_attn", "-ctk": "type_k", "-ctv": "type_v",
                 "-ngl": "ngl", "--n-cpu-moe": "n_cpu_moe", "-nkvo": "no_kv_offload", "--no-op-offload": "no_op_offload", "--all-outputs": "all_outputs", "-ot": "overrides", "-ts": "tensor_split"}
        made = [os.path.join(binary, "rehearsal"), path]
        # Patterns that somebody wrote come before those of --n-cpu-moe.
        for flag in ("-ot",) + tuple(f for f in flags if f != "-ot"):
            if row[flags[flag]] != "": made += [flag, str(row[flags[flag]])]
        return made + ["-p", "-1", "-n", "2"]

    def run(self, row, binary):
        cards = [dict(self.card(name)) for name in row["cards"].split(",")]
        name = os.path.join(self.work, row["seed"].replace("/", "-"))
        machine, events = name + ".json", name + ".events"
        experts = experts_of(row["model"])
        json.dump(dict(cards=cards, virtual_memory=bool(row["vmm"]), driver_version=13000, unwritten={"counting": experts} if experts else "zeros"), open(machine, "w"))
        path = self.model(row["model"], row["file_type"])
        done = subprocess.run([self.rehearse, machine, "--events", events, "--"] + self.command(row, path, binary), capture_output=True, text=True, env=self.env, errors="replace")
        row.update(measured(done, [json.loads(line) for line in open(events)] if os.path.exists(events) else [], cards))
        for f in (machine, events):
            if os.path.exists(f): os.remove(f)
        return row

SAID = re.compile(r" CUDA(\d) +(model|KV|RS|compute|rotation) buffer size = +([\d.]+) MiB")
POOLS = ("virtual", "malloc")
# Ends of its own, by what it says: numbers that no kernel computed; NVIDIA's CUDA 13, which knows no Pascal; and two limits of ggml's.
FAILURES = {"id < n_expert": "expert numbers", "ids_to_sorted_host": "expert numbers", "no kernel image": "no code for Pascal", "ggml_is_contiguously_allocated": "contiguously allocated",
            "ggml-impl.h:330": "hash set is full"}

def measured(done, events, cards):
    """What the log says and the card saw, by card."""
    n = len(cards)
    said = [dict(model=0.0, KV=0.0, rotation=0.0, RS=0.0, compute=0.0) for _ in cards]
    for device, kind, mib in SAID.findall(done.stderr): said[int(device)][kind] += float(mib)
    held, library, top = [0] * n, [0] * n, [0] * n
    at_mark = {}
    peak_of_pool = [0] * n
    for event in events:
        if event["event"] == "mark": at_mark[event["phase"]] = list(held)
        if event["event"] not in ("take", "give") or event.get("kind") in ("pinned", "registered"): continue
        card, sign = event["card"], 1 if event["event"] == "take" else -1
        # Newer builds take cuBLAS's workspace themselves, before its first product.
        own = event["kind"] == "malloc" and "prefill" in at_mark and not library[card] and event["asked"] == (32 if cards[card]["compute_capability"][0] >= 9 else 4) << 20
        if own or event["kind"] == "library": library[card] += sign * event["bytes"]
        if event["kind"] in POOLS and not own: held[card] += sign * event["bytes"]
        top[card] = max(top[card], event["held"] - cards[card]["context"])
        if "prefill" in at_mark: peak_of_pool[card] = max(peak_of_pool[card], held[card] - at_mark["prefill"][card])
    outcome = "done"
    refused = re.search(r'\{"refused": "(\w+)"', done.stdout)
    told = re.search(r'\{"n_ctx": .*\}', done.stdout)
    buffers = json.loads(told[0])["buffers"] if told else {}
    if refused: outcome = refused[1]
    elif done.returncode:
        known = next((name for text, name in FAILURES.items() if text in done.stderr), None)
        outcome = "out of memory" if "out of memory" in done.stderr else "failed: " + (known or done.stderr.strip().replace("\n", " ")[-160:])
    before = at_mark.get("prefill", held)
    in_prefill = [h - b for h, b in zip(at_mark["decode"], before)] if "decode" in at_mark else []
    listed = lambda values: ";".join(map(str, values))
    return dict(outcome=outcome, said_mib=listed("+".join(f"{s[k]:.2f}" for k in ("model", "KV", "rotation", "RS", "compute")) for s in said),
                buffer_bytes=listed(buffers.get(f"CUDA{card}", 0) for card in range(n)) if buffers else "", context_bytes=listed(before), pool_prefill_bytes=listed(in_prefill),
                pool_bytes=listed(peak_of_pool), library_bytes=listed(library), peak_bytes=listed(top))

def main():
    work, rehearse, vramplan, out, seed, jobs = sys.argv[1:7]
    builds = dict(part.split("=", 1) for part in sys.argv[7:])
    bench = Bench(work, rehearse, vramplan)
    there = {row["seed"] for row in csv.DictReader(open(out))} if os.path.exists(out) else set()
    size = lambda model, file_type: os.path.getsize(bench.model(model, file_type))
    wanted = [job(seed, number, builds, size) for number in range(int(jobs))]
    wanted = [row for row in wanted if row["seed"] not in there]
    for row in wanted: bench.model(row["model"], row["file_type"])
    fresh = not os.path.exists(out)
    with open(out, "a") as file, ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh: table.writeheader()
        for row in pool.map(lambda row: bench.run(row, builds[row["llama_cpp_version"]]), wanted):
            table.writerow(row)
            file.flush()
            print(row["seed"], row["llama_cpp_version"], row["model"], row["cards"], row["outcome"], row["pool_bytes"], flush=True)

if __name__ == "__main__": main()
