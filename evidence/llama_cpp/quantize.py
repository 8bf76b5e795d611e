#!/usr/bin/env python3
"""What llama_model_quantize (dry_run) makes of each model and file type. Writes quantize.csv; with models named, quantize_families.csv.
usage: quantize.py MEMPROBE WORKDIR [MODEL ...]      (types_of() is also used by matrix.py)"""
import csv, json, os, re, subprocess, sys
import gguf
import shapes
FTYPES = dict(Q4_0=2, Q4_1=3, Q8_0=7, Q5_0=8, Q5_1=9, Q2_K=10, Q3_K_S=11, Q3_K_M=12, Q3_K_L=13, Q4_K_S=14, Q4_K_M=15, Q5_K_S=16, Q5_K_M=17,
  Q6_K=18, IQ2_XXS=19, IQ2_XS=20, Q2_K_S=21, IQ3_XS=22, IQ3_XXS=23, IQ1_S=24, IQ4_NL=25, IQ3_S=26, IQ3_M=27, IQ2_S=28, IQ2_M=29, IQ4_XS=30, IQ1_M=31,
  BF16=32, F16=1, TQ1_0=36, TQ2_0=37, MXFP4_MOE=38)
SIZES = {t.name.lower(): v for t, v in gguf.GGML_QUANT_SIZES.items()}
LINE = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +- \[ *(\d+), *(\d+), *(\d+), *(\d+)\], type = +(\S+), size = +\S+ MiB(?: -> +\S+ MiB \((\S+)\))?")
def size(ty, ne):
    bs, ts = SIZES[ty.lower()]
    n = 1
    for x in ne: n *= x
    return n // bs * ts
def types_of(memprobe, path, ftype, imatrix=False):
    """{tensor: type}, total bytes, the total the library printed (MiB)"""
    r = subprocess.run([memprobe, "--quantize", path, str(FTYPES[ftype])] + (["imatrix"] if imatrix else []), capture_output=True, text=True)
    d = json.loads(r.stdout)
    if d["rc"]: raise RuntimeError(f"{path} {ftype}: rc {d['rc']} {r.stderr[-300:]}")
    types, total, said = {}, 0, None
    for l in d["lines"]:
        m = LINE.search(l)
        if m:
            ty = (m[7] or m[6]).rstrip(",")
            types[m[1]] = next(t.name for t in gguf.GGML_QUANT_SIZES if t.name.lower() == ty.lower())
            total += size(ty, [int(x) for x in m.groups()[1:5]])
        if "quant size" in l: said = float(re.search(r"= +(\S+) MiB", l)[1])
    return types, total, said
if __name__ == "__main__":
    memprobe, work = sys.argv[1:3]
    models = sys.argv[3:] or ["Qwen2.5-0.5B", "Qwen2.5-14B", "Qwen3-30B-A3B", "Llama-3.1-8B", "Llama-3.2-1B", "Llama-3.1-70B", "Mixtral-8x7B", "SmolLM2-135M", "Gemma-2-9B",
        "Gemma-3-1B", "Phi-3-mini-4k", "Phi-4", "gpt-oss-20b", "DeepSeek-V2-Lite", "GLM-4.5-Air", "Qwen3.5-27B", "Qwen3.5-35B-A3B"]
    os.makedirs(work, exist_ok=True)
    w = csv.writer(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantize_families.csv" if sys.argv[3:] else "quantize.csv"), "w"), lineterminator="\n")
    w.writerow("model,architecture,file_type,imatrix,total_tensor_bytes,n_types".split(","))
    for m in models:
        p = os.path.join(work, m + ".f16.gguf")
        if not os.path.exists(p): shapes.write(m, p)
        for f in FTYPES:
            a = b = None
            try: a = types_of(memprobe, p, f)
            except RuntimeError as e: print(str(e)[:300]); continue
            assert abs(a[1] / 2**20 - a[2]) < 0.006, (m, f, a[1] / 2**20, a[2])
            b = types_of(memprobe, p, f, True)
            cnt = lambda t: " ".join(f"{k}:{list(t.values()).count(k)}" for k in sorted(set(t.values())))
            w.writerow([m, shapes.MODELS[m]["arch"], f, 0, a[1], cnt(a[0])])
            if b[1] != a[1]: w.writerow([m, shapes.MODELS[m]["arch"], f, 1, b[1], cnt(b[0])])
        print(m, "done", flush=True)
