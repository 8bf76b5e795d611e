#!/usr/bin/env python3
"""What llama.cpp's own `--fit` chooses on stub cards, and what that takes: fit.csv.
usage: fit.py MEMPROBE WORKDIR OUT.csv SEED CONFIGURATIONS_PER_MODEL [MODEL ...]      (MEMPROBE of a source that has common/fit.cpp)"""
import csv, json, math, os, random, subprocess, sys
import shapes, matrix, holdout
COLS = "model,file_type,free_mib,margin_mib,n_ctx,n_ubatch,n_batch,n_seq_max,type_k,type_v,status,ngl,tensor_split,overrides,weights_bytes,kv_bytes,compute_bytes,llama_cpp_version".split(",")
FREE = [[6000], [11000], [15000], [23000], [46000], [23000, 11000], [15000, 15000], [8000, 46000], [23000, 23000, 23000]]

def size_of(m):
    """MiB of the matrices in 16 bits, of which no bound is needed"""
    return sum(math.prod(s) for _, s, is_matrix in shapes.tensors(m) if is_matrix) * (2 if m["arch"] != "gpt-oss" else 0.6) / 2**20

def fit(memprobe, path, job, free):
    env = dict(os.environ, MEMPROBE_GPUS=str(len(free)), MEMPROBE_FREE=",".join(map(str, free)))
    r = subprocess.run(["nice", "-n", "5", memprobe, "--fit", path], input=job + "\n", capture_output=True, text=True, env=env)
    lines = [json.loads(l) for l in r.stdout.splitlines() if l.startswith('{"job"')]
    return lines[0] if lines else None

if __name__ == "__main__":
    memprobe, work, out, seed, per = sys.argv[1:6]
    os.makedirs(work, exist_ok=True)
    with open(out, "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(COLS)
        for name in sys.argv[6:] or sorted(shapes.MODELS):
            m = shapes.MODELS[name]
            rnd = random.Random(f"{seed} {name}")
            ftype = "MXFP4" if m["arch"] == "gpt-oss" else "F16"
            if m["arch"] == "granitehybrid": continue      # not placed beside main memory
            # Cards on which the whole model does not fit, but some of it does.
            cards = [free for free in FREE if sum(free) < size_of(m) * 1.15 and sum(free) > size_of(m) * 0.04]
            if not cards: continue
            if ftype == "MXFP4": path = matrix.typed_file(memprobe, work, name, ftype)
            else:
                path = os.path.join(work, name + ".f16.gguf")
                if not os.path.exists(path): shapes.write(name, path)
            n = 0
            for _ in range(int(per)):
                free, margin = rnd.choice(cards), 1024
                ub = rnd.choice([512, 512, 1024, 2048]); kv = rnd.choice(["f16", "q8_0"])
                n_ctx = rnd.choice([4096, 8192, 16384, 32768])
                d = fit(memprobe, path, f"{n_ctx} {ub} {max(2048, ub)} 1 1 {kv} {kv} 0 {margin}", free)
                if d is None: print(name, free, n_ctx, "abort"); continue
                split = ",".join("%g" % x for x in d["split"]) if len(free) > 1 else ""
                env = dict(MEMPROBE_GPUS=str(len(free)), MEMPROBE_FREE=",".join(map(str, free)), MEMPROBE_NGL=str(d["ngl"]))
                if split: env["MEMPROBE_TS"] = split
                if d["overrides"]: env["MEMPROBE_OT"] = ";".join(d["overrides"])
                got = matrix.probe(memprobe, path, [f"{n_ctx} {ub} {max(2048, ub)} 1 1 {kv} {kv} 1 0 0"], env)[0]
                if "error" in got: print(name, free, "probe", str(got)[-200:]); continue
                host = [a + b for a, b in zip(got["bufs"].get("CUDA_Host", [0] * 3), got["bufs"].get("CPU", [0] * 3))]
                devices = [got["bufs"].get(f"CUDA{i}", [0, 0, 0]) for i in range(len(free))] + [host]
                of = lambda part: ";".join(str(dev[part]) for dev in devices)
                w.writerow([name, ftype, ";".join(map(str, free)), margin, n_ctx, ub, max(2048, ub), 1, kv, kv, d["status"], d["ngl"], split.replace(",", ";"), ";".join(d["overrides"]),
                            of(0), of(1), of(2), got["version"]]); n += 1
            print(name, n, flush=True); f.flush()
