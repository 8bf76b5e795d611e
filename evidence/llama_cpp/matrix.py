#!/usr/bin/env python3
"""Run memprobe over the models and context parameters; writes llama_cpp.csv.   usage: matrix.py MEMPROBE WORKDIR [MODEL ...]"""
import csv, json, os, re, subprocess, sys, zlib
import shapes, quantize
COLS = ("model,architecture,file_type,n_ctx,n_ubatch,n_batch,n_seq_max,kv_unified,swa_full,flash_attn,type_k,type_v,outputs,n_outputs_max,weights_gpu_bytes,weights_host_bytes,"
  "kv_bytes,kv_full_bytes,kv_swa_bytes,recurrent_bytes,kv_full_cells,kv_swa_cells,compute_gpu_bytes,compute_host_bytes,output_host_bytes,llama_cpp_version").split(",")
BPE = dict(f16=(1, 2), f32=(1, 4), q8_0=(32, 34), q4_0=(32, 18), q4_1=(32, 20), q5_0=(32, 22), q5_1=(32, 24), bf16=(1, 2))

def typed_file(memprobe, work, model, ftype):
    p = os.path.join(work, f"{model}.{ftype}.gguf")
    if not os.path.exists(p):
        f16 = os.path.join(work, model + ".f16.gguf")
        if not os.path.exists(f16): shapes.write(model, f16)
        if ftype == "MXFP4":   # gpt-oss as published: experts MXFP4, the rest F16
            types = {n: "MXFP4" for n, s, m in shapes.tensors(shapes.MODELS[model]) if "_exps.weight" in n}
        else: types = quantize.types_of(memprobe, f16, ftype)[0]
        shapes.write(model, p, types)
    return p

def probe(memprobe, path, jobs, env=None):
    out, rest = [], list(jobs)
    while rest:                                        # a job on which the library aborts is recorded as an error
        r = subprocess.run(["nice", "-n", os.environ.get("NICE", "5"), memprobe, path], input="\n".join(rest) + "\n", capture_output=True, text=True, env=dict(os.environ, **(env or {})))
        got = [json.loads(l) for l in r.stdout.splitlines() if l.startswith('{"job"')]
        out += got; rest = rest[len(got):]
        if rest: out.append({"job": rest.pop(0), "error": "abort", "stderr": r.stderr[-300:]})
    return out

def kv_parts(lines):
    """[(cells, layers, MiB)] in the order full, swa; recurrent MiB"""
    c, rs, names = [], 0.0, []
    for l in lines:
        m = re.search(r"llama_kv_cache\S*: size = +(\S+) MiB \( *(\d+) cells, +(\d+) layers", l)
        if m: c.append((int(m[2]), int(m[3]), float(m[1])))
        m = re.search(r"llama_memory_recurrent: size = +(\S+) MiB", l)
        if m: rs = float(m[1])
    return c, rs

def row(model, ftype, job, d, vocab):
    n_ctx, ub, nb, seq, fa, tk, tv, no, uni, swaf = job.split()
    if "error" in d: return None
    nb = str(min(int(nb), int(n_ctx))); ub = str(min(int(ub), int(nb)))      # as llama_context clamps them (before n_ctx is padded)
    dev, host = d["bufs"].get("CUDA0", [0, 0, 0]), d["bufs"].get("CUDA_Host", [0, 0, 0])
    cpu = d["bufs"].get("CPU", [0, 0, 0])
    c, rs = kv_parts(d["lines"])
    ctx = dev[1]
    m = shapes.MODELS[model]
    # exact split of the context bytes, from cells and layers (the log rounds)
    streams = 1 if int(uni) else int(seq)
    def tensor(t, n, cells):      # one K or V tensor: CUDA pads quantised rows to 512 elements once per tensor, then 128-byte alignment
        bs, ts = BPE[t]
        pad = (512 - n % 512) // bs * ts if bs > 1 and n % 512 else 0
        return -(-(cells * streams * (n // bs * ts) + pad) // 128) * 128
    def cache(cells, layers):
        if m["arch"] == "deepseek2": return layers * tensor(tk, m["lora"] + m["rope"], cells)
        width = m["kv"] * m["hd"]
        if "kvf" in m and layers == m["L"] // 6: width = m["kvf"] * m["hdf"]
        # Transposed values have room for the widest layer's.
        values = m["kv"] * m["hd"] if "kvf" in m and fa == "0" else width
        return layers * (tensor(tk, width, cells) + tensor(tv, values, cells))
    full = cache(c[0][0], c[0][1]) if c else 0
    swa = cache(c[1][0], c[1][1]) if len(c) > 1 else 0
    rec = ctx - full - swa
    # Since 0.8.0 the rotations of a quantized cache lie with it: what is left after the states that the log names.
    if not abs(rec / 2**20 - rs) < 0.01: rec = round(rs * 2**20)
    outb = [float(re.search(r"= +(\S+) MiB", l)[1]) for l in d["lines"] if "output buffer size" in l][0]
    ob = 4 * vocab * int(seq)
    assert abs(ob / 2**20 - outb) < 0.006, (model, job, outb)
    ver = d["version"]
    return [model, m["arch"], ftype, d["n_ctx"], ub, nb, seq, uni, swaf, "on" if fa == "1" else "off", tk, tv, "all" if no == "0" else "few", no, dev[0], host[0] + cpu[0],
            ctx, full, swa, rec, c[0][0] if c else 0, c[1][0] if len(c) > 1 else 0, dev[2], host[2] + cpu[2], ob, ver]

def jobs_of(m):
    js = []
    ctxs = [c for c in (2048, 8192, 32768, 131072) if c <= max(m["ctx"], 2048)]
    def j(n, ub, seq, fa, tk, tv, out, uni=0, swaf=0): js.append(f"{n} {ub} {max(2048, ub)} {seq} {fa} {tk} {tv} {0 if out == 'all' else seq} {uni} {swaf}")
    for n in ctxs:
        for ub in (64, 512, 2048):
            for fa in (1, 0):
                for out in ("few", "all"): j(n, ub, 1, fa, "f16", "f16", out)
    for n in ctxs:                                        # quantised caches (V only with flash attention)
        for ub in (64, 512, 2048):
            j(n, ub, 1, 1, "q8_0", "q8_0", "few"); j(n, ub, 1, 0, "q8_0", "f16", "few")
        j(n, 512, 1, 1, "q8_0", "q8_0", "all"); j(n, 512, 1, 1, "q4_0", "q4_0", "few")
    n = min(8192, ctxs[-1])
    for fa in (1, 0):
        j(n, 512, 4, fa, "f16", "f16", "few", 1); j(n, 512, 4, fa, "f16", "f16", "few", 0); j(n, 512, 4, fa, "f16", "f16", "all", 1)
    j(n, 512, 8, 1, "f16", "f16", "few", 0); j(n + 100, 512, 3, 1, "f16", "f16", "few", 0); j(n - 1000, 512, 1, 1, "f16", "f16", "few"); j(n, 200, 1, 1, "f16", "f16", "few")
    if m.get("swa"): j(n, 512, 1, 1, "f16", "f16", "few", 0, 1); j(n, 512, 4, 1, "f16", "f16", "few", 1, 1)
    return js

if __name__ == "__main__":
    memprobe, work = sys.argv[1:3]
    os.makedirs(work, exist_ok=True)
    models = sys.argv[3:] or [m for m in shapes.MODELS if m not in shapes.FAMILIES]
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_cpp.csv")
    rows = []
    for model in models:
        ftype = "MXFP4" if model == "gpt-oss-20b" else "Q4_K_M"
        m = shapes.MODELS[model]
        p = typed_file(memprobe, work, model, ftype)
        js = jobs_of(m); bad = 0
        for job, d in zip(js, probe(memprobe, p, js)):
            r = row(model, ftype, job, d, m["V"])
            if r: rows.append(r)
            else: bad += 1
        print(model, len(js), "jobs", bad, "failed", flush=True)
    def put(path, rows):
        with open(path, "w") as f:
            w = csv.writer(f, lineterminator="\n"); w.writerow(COLS); w.writerows(rows)
    put(out.replace("llama_cpp.csv", "llama_cpp_full.csv"), rows)
    # the fixture: every variant at n_ctx 8192 / n_ubatch 512, and a fixed quarter of the rest
    put(out, [r for r in rows if (r[3], r[4]) == (8192, "512") or zlib.crc32(",".join(map(str, r[:14])).encode()) % 4 == 0])
