#!/usr/bin/env python3
"""Random jobs of llama-server on cards that are not there: slots that are busy at once, drafts, encoders, `--fit`.
usage: rehearse_server.py WORKDIR REHEARSE VRAMPLAN OUT.csv SEED JOBS VERSION=BIN [VERSION=BIN ...]
  SEED   one that begins with `users` draws what a plan of `--users` emits
  WORKDIR, REHEARSE, VRAMPLAN   as of rehearse.py       BIN   of scripts/build-llama-cuda with TOOLS=llama-server, and interposed.so in it
Appends to OUT.csv; a job that is there already is not run again. A row says the flags as they were given, so that a plan is of the
command itself."""
import collections, csv, json, os, random, re, signal, subprocess, sys, threading, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
from rehearse import Bench, CONTEXTS, EXPERTS, FAILURES, LAYERS, MOE_PATTERNS, PATTERNS, SMALL

COLUMNS = ("seed,llama_cpp_version,cards,vmm,model,file_type,draft,draft_type,mmproj,flags,outcome,slots,slot_tokens,busy,said_mib,buffer_bytes,host_bytes,pool_bytes,library_bytes,"
           "peak_bytes,chosen").split(",")
# Models of dense layers, windows, experts, latent attention and recurrent states.
MODELS = {"llama-3.2-1b": ["q4_k_m", "q8_0"], "llama-3.1-8b": ["q4_k_m", "q6_k"], "qwen2.5-7b": ["q4_k_m"], "qwen3-4b": ["q4_k_m", "bf16"], "qwen3-30b-a3b": ["q4_k_m"], "gemma-3-4b": ["q4_k_m"],
          "gpt-oss-20b": ["mxfp4_moe"], "mistral-nemo-2407": ["q4_k_m"], "phi-4-mini": ["q4_k_m"], "qwen3.5-4b": ["q4_k_m"], "qwen3.5-35b-a3b": ["q4_k_m"], "deepseek-v2-lite": ["q4_k_m"],
          "granite-3.1-8b": ["q4_k_m"], "smollm3-3b": ["q4_k_m"], "command-r-08-2024": ["q4_k_m"], "glm-4.5-air": ["q4_k_m"]}
# Drafts are in q4_k_m, as a plan has one that is told by its name.
DRAFTS = {"llama-3.1-8b": "llama-3.2-1b", "qwen2.5-7b": "qwen2.5-0.5b", "qwen3-4b": "qwen3-0.6b", "qwen3-30b-a3b": "qwen3-0.6b", "gemma-3-4b": "gemma-3-1b", "qwen3.5-35b-a3b": "qwen3.5-0.8b"}
CARDS = ["T4", "RTX 3060", "RTX 3090", "A100-80GB", "RTX 4090", "L4", "H100", "RTX 5090", "RTX 2080 Ti"]
PAIRS = ["RTX 3090,RTX 3060", "RTX 4090,RTX 4090", "A100-80GB,A100-80GB", "RTX 3090,RTX 3090,RTX 3090"]

def job(seed, number, versions, size):
    rnd = random.Random(f"server/{seed}/{number}")
    kind = rnd.choice(["slots"] * 4 + ["draft"] * 3 + ["fit"] * 2 + ["mmproj"] * 2)
    model = rnd.choice(sorted(DRAFTS if kind == "draft" else ["gemma-3-4b"] if kind == "mmproj" else MODELS))
    moe, layers = model in EXPERTS, LAYERS[model]
    row = dict(seed=f"{seed}/{number}", llama_cpp_version=rnd.choice(sorted(versions)), vmm=1, model=model, file_type=rnd.choice(MODELS[model]), draft="", draft_type="", mmproj="")
    row["cards"] = rnd.choice(CARDS if rnd.random() < 0.7 else PAIRS)
    flags = []
    def maybe(chance, *words):
        if rnd.random() < chance: flags.extend(map(str, words))
    slots = rnd.choice([None, 1, 2, 3, 4, 8])
    if slots: flags += ["-np", str(slots)]
    if slots and slots > 1: maybe(0.35, "-kvu")
    each = min(rnd.choice([1024, 2048, 4096, 8192]), CONTEXTS.get(model, 8192))
    if kind != "fit" or rnd.random() < 0.4: flags += ["-c", str(each * (slots or 1))]
    maybe(0.4, "-ub", rnd.choice([128, 256, 1024, 2048]))
    maybe(0.15, "-b", rnd.choice([512, 1024, 4096]))
    attention = rnd.choice(["auto", "auto", "on", "off"])
    if attention != "auto": flags += ["-fa", attention]
    if rnd.random() < 0.5:
        keys = rnd.choice(["q8_0", "q8_0", "q4_0", "bf16"])
        flags += ["-ctk", keys] + (["-ctv", keys] if attention != "off" or keys == "bf16" else [])
    if "gemma" in model or "gpt-oss" in model: maybe(0.3, "--swa-full")
    if kind != "fit":
        flags += ["--fit", "off"]
        placed = rnd.choice(["all", "all", "all", "ngl", "moe" if moe else "all", "ot"])
        if placed == "ngl": flags += ["-ngl", str(rnd.randint(layers // 2, layers + 1))]
        elif placed == "moe": flags += ["--n-cpu-moe", str(rnd.randint(1, layers))]
        elif placed == "ot": flags += ["-ot", rnd.choice(MOE_PATTERNS if moe else PATTERNS)]
    if "," in row["cards"]: maybe(0.3, "-ts", ",".join(str(rnd.randint(1, 6)) for _ in row["cards"].split(",")))
    maybe(0.05, "--no-op-offload")
    maybe(0.05, "--no-kv-offload")
    if kind == "draft":
        row["draft"], row["draft_type"] = DRAFTS[model], "q4_k_m"
        # Without it the draft is loaded, and given back before the first request.
        flags += ["--spec-type", "draft-simple"]
        maybe(0.5, "--spec-draft-n-max", rnd.choice([1, 4, 8, 16]))
    if kind == "mmproj": row["mmproj"] = "gemma-3-4b"
    wanted = size(model, row["file_type"]) * 1.1 + (6 << 30) + each * (slots or 1) * layers * 4096
    if kind != "fit" and "," not in row["cards"] and wanted > SMALL.get(row["cards"], 80) << 30: row["cards"] = rnd.choice(["A100-80GB", "H100"])
    if kind != "fit" and "," in row["cards"] and wanted > 34 << 30: row["cards"] = "A100-80GB,A100-80GB"
    row["flags"] = " ".join(flags)
    return row

def users_job(seed, number, versions, bench):
    """As many users as a plan has room for, or fewer, by the command that the plan emits."""
    rnd = random.Random(f"server/{seed}/{number}")
    model = rnd.choice(["llama-3.2-1b", "llama-3.1-8b", "qwen2.5-7b", "qwen3-4b", "gemma-3-4b", "gpt-oss-20b", "mistral-nemo-2407", "phi-4-mini", "qwen3.5-4b", "deepseek-v2-lite", "granite-3.1-8b"])
    row = dict(seed=f"{seed}/{number}", llama_cpp_version=rnd.choice(sorted(versions)), vmm=1, model=model, file_type=MODELS[model][0], draft="", draft_type="", mmproj="",
               cards=rnd.choice(["RTX 3060", "RTX 2080 Ti", "T4", "RTX 4090", "RTX 3090", "L4", "RTX 3060,RTX 3060"]))
    context = rnd.choice([1000, 2048, 3000, 4096, 8192])
    ask = ["budget", "--gpu", row["cards"], "--model", model, "--weights", row["file_type"], "--runtime", "llama.cpp", "--runtime-version", row["llama_cpp_version"], "--context-per-user", str(context), "--offline"]
    if rnd.random() < 0.3: ask += ["--kv", rnd.choice(["q8_0", "q4_0"])]
    said = lambda *more: subprocess.run([bench.vramplan] + ask + list(more), capture_output=True, text=True).stdout
    safe = json.loads(said("--json"))["users"]["safe"]
    users = min(safe if rnd.random() < 0.7 else rnd.randint(1, max(safe, 1)), 48, max(1, 200_000 // context))
    emitted = said("--users", str(users), "--emit", "llama.cpp").splitlines()[-1]
    row["flags"] = emitted.split('"$MODEL" ')[1] + " --fit off"
    row["busy"] = context
    return row

def asked(port, path, body=None, timeout=300):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body is not None else None, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer: return json.loads(answer.read())

class Servers(Bench):
    def __init__(self, *paths):
        super().__init__(*paths)
        self.port = 18080
        self.lock = threading.Lock()

    def next_port(self):
        with self.lock:
            self.port += 1
            return self.port

    def run(self, row, binary):
        cards = [dict(self.card(name)) for name in row["cards"].split(",")]
        name = os.path.join(self.work, "server-" + row["seed"].replace("/", "-"))
        machine, events, buffers, log = (name + end for end in (".json", ".events", ".buffers", ".log"))
        for path in (events, buffers): open(path, "w").close()
        experts = EXPERTS.get(row["model"])
        json.dump(dict(cards=cards, virtual_memory=bool(row["vmm"]), driver_version=13000, unwritten={"counting": experts} if experts else "zeros"), open(machine, "w"))
        port = self.next_port()
        command = [os.path.join(binary, "llama-server"), "-m", self.model(row["model"], row["file_type"])] + row["flags"].split()
        if row["draft"]: command += ["-md", self.model(row["draft"], row["draft_type"])]
        if row["mmproj"]: command += ["--mmproj", self.encoder(row["mmproj"])]
        # What the log says of buffers it says at this verbosity only.
        command += ["--host", "127.0.0.1", "--port", str(port), "-lv", "4", "--offline", "-t", "1", "-tb", "1"]
        env = dict(self.env, BUFFERS=buffers, LD_PRELOAD=os.path.join(binary, "interposed.so"))
        wrapped = [self.rehearse, machine, "--events", events, "--"] + command
        with open(log, "w") as out: child = subprocess.Popen(wrapped, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        told = {}
        try: told = self.asks(row, child, port, buffers)
        except Exception as error: told = dict(outcome=f"failed: {error}"[:160])
        finally:
            # The server ends; what ran it reads what it did.
            server = [pid for pid in children(child.pid) if "llama-server" in command_of(pid)]
            for pid in server: os.kill(pid, signal.SIGKILL)
            try: child.wait(60)
            except subprocess.TimeoutExpired: os.killpg(child.pid, signal.SIGKILL)
        text = open(log, errors="replace").read()
        if told.get("outcome", "").startswith("failed"):
            known = next((f"failed: {name}" for said, name in FAILURES.items() if said in text), told["outcome"])
            told["outcome"] = "out of memory" if "out of memory" in text else known
        row.update(told)
        row.update(measured(text, [json.loads(line) for line in open(events)], cards))
        row["chosen"] = chosen(row, text)
        if row.get("outcome") == "done" or os.environ.get("TIDY"):
            for path in (machine, events, buffers) + (() if os.environ.get("KEEP") else (log,)):
                if os.path.exists(path): os.remove(path)
        return row

    def asks(self, row, child, port, buffers):
        """Waits for the server, then has every slot read a prompt that fills it, all at once."""
        began = time.time()
        while True:
            if child.poll() is not None: return dict(outcome=f"failed: ended with {child.returncode}")
            if time.time() - began > 240: return dict(outcome="failed: not ready")
            try:
                asked(port, "/health", timeout=5)
                break
            except OSError: time.sleep(0.1)
        held = held_by_device(buffers)
        properties = asked(port, "/props")
        slots, each = properties["total_slots"], properties["default_generation_settings"]["n_ctx"]
        # Where slots share a cache, all of them together fill it.
        is_shared = slots > 1 and ("-kvu" in row["flags"].split() or "-np" not in row["flags"].split())
        tokens = (row.get("busy") or min(each // slots if is_shared else each, 8192)) - 20
        body = dict(prompt=[1] * tokens, n_predict=4, cache_prompt=False, temperature=0, ignore_eos=True)
        failures = []
        def ask(_):
            try: asked(port, "/completion", body)
            except Exception as error: failures.append(str(error))
        with ThreadPoolExecutor(slots) as pool: list(pool.map(ask, range(slots)))
        outcome = "failed: " + failures[0] if failures else "done"
        return dict(outcome=outcome[:160], slots=slots, slot_tokens=each, busy=tokens * slots, buffer_bytes=";".join(str(held[f"CUDA{card}"]) for card in range(len(row["cards"].split(",")))),
                    host_bytes=sum(size for device, size in held.items() if not device.startswith("CUDA") or device == "CUDA_Host"))

    def encoder(self, name):
        path = os.path.join(self.work, f"mmproj-{name}.gguf")
        if not os.path.exists(path):
            import encoder
            encoder.write(name, path + ".part")
            os.rename(path + ".part", path)
        return path

def chosen(row, text):
    """What `--fit` chose of what the command leaves open, as flags of the same meaning."""
    given, made = row["flags"].split(), []
    if "--fit" in given or not row.get("slots"): return ""
    # Experts of some layers in main memory are no flag of these.
    if any(int(layers) for layers in re.findall(r"\( *(\d+) overflowing\)", text)): return "overrides"
    if "-c" not in given: made += ["-c", str(row["slot_tokens"] * (row["slots"] if "-np" in given and "-kvu" not in given else 1))]
    # The model itself is the first that is loaded in earnest; what is only tried says no such line.
    layers = re.search(r"offloaded (\d+)/(\d+) layers to GPU", text)
    if "-ngl" not in given and layers: made += ["-ngl", layers[1]]
    return " ".join(made)

def children(pid):
    found = []
    for tid in os.listdir(f"/proc/{pid}/task") if os.path.exists(f"/proc/{pid}/task") else []:
        try: own = [int(word) for word in open(f"/proc/{pid}/task/{tid}/children").read().split()]
        except OSError: own = []
        for child in own: found += [child] + children(child)
    return found

def command_of(pid):
    try: return open(f"/proc/{pid}/cmdline").read()
    except OSError: return ""

def held_by_device(path):
    sums = collections.Counter()
    for line in open(path):
        sign, device, size = line.split()
        sums[device] += int(size) if sign == "+" else -int(size)
    return sums

SAID = re.compile(r"(\w+): +CUDA(\d) +(\w+) buffer size = +([\d.]+) MiB")

def measured(text, events, cards):
    """What the log says, and the cards saw. Each context has a pool and a workspace of cuBLAS of its own, which builds from 0.5.0 on take themselves."""
    n = len(cards)
    said = [[] for _ in cards]
    for by, device, kind, mib in SAID.findall(text):
        said[int(device)].append(f"{'encoder' if kind == 'compute' and by != 'sched_reserve' else kind}={mib}")
    held, pool, top, library = [0] * n, [0] * n, [0] * n, [0] * n
    for event in events:
        if event["event"] not in ("take", "give") or event.get("kind") in ("pinned", "registered"): continue
        card, sign = event["card"], 1 if event["event"] == "take" else -1
        own = event["kind"] == "malloc" and event["asked"] == (32 if cards[card]["compute_capability"][0] >= 9 else 4) << 20
        if own or event["kind"] == "library": library[card] += sign * event["bytes"]
        # With virtual memory management nothing but the pool is of that kind.
        held[card] += sign * event["bytes"] * (event["kind"] == "virtual")
        pool[card] = max(pool[card], held[card])
        top[card] = max(top[card], event["held"] - cards[card]["context"])
    listed = lambda values: ";".join(map(str, values))
    return dict(said_mib=listed("+".join(parts) for parts in said), library_bytes=listed(library), peak_bytes=listed(top), pool_bytes=listed(pool))

def main():
    work, rehearse, vramplan, out, seed, jobs = sys.argv[1:7]
    builds = dict(part.split("=", 1) for part in sys.argv[7:])
    bench = Servers(work, rehearse, vramplan)
    there = {row["seed"] for row in csv.DictReader(open(out))} if os.path.exists(out) else set()
    size = lambda model, file_type: os.path.getsize(bench.model(model, file_type))
    drawn = lambda number: users_job(seed, number, builds, bench) if seed.startswith("users") else job(seed, number, builds, size)
    wanted = [row for row in map(drawn, range(int(jobs))) if row["seed"] not in there]
    fresh = not os.path.exists(out)
    with open(out, "a") as file, ThreadPoolExecutor(int(os.environ.get("JOBS", "1"))) as pool:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh: table.writeheader()
        for row in pool.map(lambda row: bench.run(row, builds[row["llama_cpp_version"]]), wanted):
            table.writerow(row)
            file.flush()
            print(row["seed"], row["llama_cpp_version"], row["model"], row["cards"], row.get("outcome"), row["flags"], row.get("buffer_bytes"), flush=True)

if __name__ == "__main__": main()
