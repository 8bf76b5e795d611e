#!/usr/bin/env python3
"""Layers, experts, tensors and caches in main memory: random placements, asked of the real library.
usage: placement.py MEMPROBE WORKDIR OUT.csv SEED CONFIGURATIONS_PER_MODEL [MODEL ...]
environment: WIDE=1 draws from more cards and formats of keys and values; SLOTS=1,1,2,8 from these numbers of slots"""
import csv, os, random, sys
import shapes, matrix, holdout, families
COLS = ("model,file_type,free_mib,ngl,n_cpu_moe,overrides,tensor_split,no_kv_offload,no_op_offload,n_ctx,n_ubatch,n_batch,n_seq_max,kv_unified,swa_full,flash_attn,type_k,type_v,n_outputs_max,"
  "weights_bytes,kv_bytes,compute_bytes,llama_cpp_version").split(",")
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
FREE = [[24000], [12000], [24000, 24000], [24000, 12000], [16000, 80000, 24000]]
FORMATS = ["f16", "f16", "q8_0", "q4_0"]
if os.environ.get("WIDE"):
    FREE += [[8000, 8000], [24000] * 4, [48000, 12000, 8000, 24000]]
    FORMATS += ["f16", "q8_0", "bf16", "q5_1"]
SLOTS = [1, 1, 1, 2, 4]
if os.environ.get("SLOTS"): SLOTS = [int(n) for n in os.environ["SLOTS"].split(",")]
# Patterns that people write: of all layers, of some, of one side of attention, of the head
PATTERNS = [r"ffn_.*=CPU", r"blk\.[0-9]\.=CPU", r"attn_(q|k|v|output)=CPU", r"blk\.1[0-9]\.ffn_(up|down)=CPU", r"output\.weight=CPU", r"ffn_down=CPU", r"norm=CPU", r"token_embd\.weight=CUDA0"]
MOE_PATTERNS = [r"exps=CPU", r"blk\.([0-9]|1[0-5])\.ffn_.*_exps\.=CPU", r"ffn_(up|gate)_exps=CPU", r"blk\.[0-3]\.ffn_.*exps=CUDA0;exps=CPU"]

def load(rnd, m):
    """how the model is loaded: (GPUs' free MiB, ngl, n_cpu_moe, overrides, tensor_split)"""
    layers, moe = m["L"], m.get("E", 0) > 0
    free = rnd.choice(FREE)
    ngl, ncmoe, ot, ts = 999, 0, "", ""
    kind = rnd.choice(["ngl", "ngl", "moe" if moe else "ngl", "moe" if moe else "ot", "ot", "both", "all"])
    if kind in ("ngl", "both"): ngl = rnd.randint(0, layers + 1)
    if kind in ("moe",) or (kind == "both" and moe): ncmoe = rnd.randint(1, layers)
    if kind == "ot" or (kind == "both" and not moe): ot = rnd.choice(MOE_PATTERNS + PATTERNS if moe else PATTERNS)
    if len(free) > 1 and rnd.random() < 0.4: ts = ",".join(str(rnd.randint(0 if k else 1, 9)) for k in range(len(free)))
    return free, ngl, ncmoe, ot, ts

def jobs_of(rnd, m, count, plain):
    jobs = []
    for _ in range(count):
        fa = rnd.random() < 0.75
        mla = m["arch"] == "deepseek2"
        q = FORMATS
        tk = rnd.choice(q) if fa or not mla else "f16"
        tv = (tk if mla else rnd.choice(q)) if fa else "f16"
        seq = rnd.choice(SLOTS); ub = rnd.choice([16, 64, 128, 256, 512, 512, 1024, 2048])
        n = rnd.choice([4096, 8192, 16384, rnd.randint(600, 40000)])
        no = rnd.choice([0, seq, seq, seq])
        # what is in main memory anyway leaves nothing to these two
        nkvo = 0 if plain else int(rnd.random() < 0.2)
        noop = int(rnd.random() < 0.15)
        jobs.append(f"{n} {ub} {max(2048, ub)} {seq} {int(fa)} {tk} {tv} {no} {rnd.randint(0, 1)} {rnd.randint(0, 1) if m.get('swa') else 0} {nkvo} {noop}")
    return jobs

def rows_of(memprobe, path, name, ftype, loaded, jobs):
    free, ngl, ncmoe, ot, ts = loaded
    # One pattern where llama.cpp has one a layer, which takes long to match: it says the same.
    experts = [rf"blk\.({'|'.join(map(str, range(ncmoe)))}){EXPERTS}=CPU"] if ncmoe else []
    env = dict(MEMPROBE_GPUS=str(len(free)), MEMPROBE_FREE=",".join(map(str, free)), MEMPROBE_NGL=str(ngl))
    if ot or experts: env["MEMPROBE_OT"] = ";".join(([ot] if ot else []) + experts)
    if ts: env["MEMPROBE_TS"] = ts
    for job, d in zip(jobs, matrix.probe(memprobe, path, jobs, env)):
        if "error" in d:
            print(name, loaded, job, d.get("stderr", str(d))[-200:]); continue
        n, ub, nb, seq, fa, tk, tv, no, uni, swaf, nkvo, noop = job.split()
        nb = str(min(int(nb), int(n))); ub = str(min(int(ub), int(nb)))
        host = [a + b for a, b in zip(d["bufs"].get("CUDA_Host", [0] * 3), d["bufs"].get("CPU", [0] * 3))]
        devices = [d["bufs"].get(f"CUDA{i}", [0, 0, 0]) for i in range(len(free))] + [host]
        of = lambda part: ";".join(str(dev[part]) for dev in devices)
        yield [name, ftype, ";".join(map(str, free)), ngl, ncmoe, ot, ts.replace(",", ";"), nkvo, noop, n, ub, nb, seq, uni, swaf, "on" if fa == "1" else "off", tk, tv, no,
            of(0), of(1), of(2), d["version"]]

if __name__ == "__main__":
    memprobe, work, out, seed, per = sys.argv[1:6]
    os.makedirs(work, exist_ok=True)
    with open(out, "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(COLS); f.flush()
        for name in sys.argv[6:] or sorted(shapes.MODELS):
            m = shapes.MODELS[name]
            rnd = random.Random(f"{seed} {name}")
            ftype = "MXFP4" if m["arch"] == "gpt-oss" else "Q4_K_M"
            path = matrix.typed_file(memprobe, work, name, ftype)
            n = 0
            for _ in range(int(per)):
                loaded = load(rnd, m)
                # State-space layers on several cards are asked for by name only.
                if m["arch"] == "granitehybrid" and not sys.argv[6:]: loaded = (loaded[0][:1],) + loaded[1:4] + ("",)
                for r in rows_of(memprobe, path, name, ftype, loaded, jobs_of(rnd, m, 3, False)): w.writerow(r); n += 1
            print(name, n, flush=True); f.flush()
            if work.startswith("/tmp"): os.remove(path)
