#!/usr/bin/env python3
"""Compare the formulas with llama_cpp.csv (and quantize.csv): prints, per architecture, rows, exact matches, median, 90th percentile and worst relative error."""
import csv, os, sys, collections
import shapes, ggml_sim, closed_form, mixture, holdout
here = os.path.dirname(os.path.abspath(__file__))
BPE = dict(f16=(1, 2), bf16=(1, 2), f32=(1, 4), q8_0=(32, 34), q4_0=(32, 18), q4_1=(32, 20), q5_0=(32, 22), q5_1=(32, 24))
def kv(m, n_ctx, ub, n_seq, tk, tv, unified, swa_full):
    """-> (full cells, swa cells, full bytes, swa bytes, recurrent bytes)"""
    n_ctx = -(-n_ctx // 256) * 256
    cells = n_ctx if unified else -(-(n_ctx // n_seq) // 256) * 256
    streams = 1 if unified else n_seq
    a, L = m["arch"], m["L"] - m.get("nextn", 0)
    ub = min(ub, cells * streams)
    def tensor(t, width, cells):
        bs, ts = BPE[t]
        pad = (512 - width % 512) // bs * ts if bs > 1 and width % 512 else 0
        return -(-(cells * streams * (width // bs * ts) + pad) // 128) * 128
    kvd = m["kv"] * m["hd"]
    layer = (lambda c: tensor(tk, m["lora"] + m["rope"], c)) if a == "deepseek2" else (lambda c: tensor(tk, kvd, c) + tensor(tv, kvd, c))
    if "nk" in m:
        n_full, n_swa = sum((i + 1) % 4 == 0 for i in range(L)), 0
        conv = 3 * (2 * m["nk"] + m["nv"]) * m["ds"]; state = m["nv"] * m["ds"] ** 2
        rec = (L - n_full) * (-(-4 * conv * n_seq // 128) * 128 + -(-4 * state * n_seq // 128) * 128)
    else:
        rec = 0
        sw = {"gemma2": lambda i: i % 2 == 0, "gpt-oss": lambda i: i % 2 == 0, "gemma3": lambda i: (i + 1) % 6 != 0}.get(a, lambda i: False)
        n_swa = sum(sw(i) for i in range(L)); n_full = L - n_swa
    sc = 0
    if n_swa: sc = cells if swa_full else -(-min(cells, m["swa"] * (n_seq if unified else 1) + ub) // 256) * 256
    return cells, sc, n_full * layer(cells), n_swa * layer(sc) if n_swa else 0, rec
S = collections.OrderedDict()
def note(what, arch, got, want, label):
    S.setdefault(what, collections.OrderedDict()).setdefault(arch, []).append((got / want - 1 if want else float(got != want), label, got, want))
wcache = {}
for r in csv.DictReader(open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "llama_cpp.csv"))):
    m = shapes.MODELS[r["model"]]; I = lambda k: int(r[k])
    n_out = I("n_outputs_max") or I("n_batch"); fa = r["flash_attn"] == "on"; uni, sf = r["kv_unified"] == "1", r["swa_full"] == "1"
    lab = f'{r["model"]} ctx {r["n_ctx"]} ub {r["n_ubatch"]} seq {r["n_seq_max"]}{"u" if uni else ""} fa {r["flash_attn"]} {r["type_k"]}/{r["type_v"]} {r["outputs"]}'
    args = (m, I("n_ctx"), I("n_ubatch"), I("n_seq_max"), fa, r["type_k"], r["type_v"], n_out, uni, sf)
    d, h = ggml_sim.compute(*args)
    note("compute, device: simulated ggml-alloc", m["arch"], d, I("compute_gpu_bytes"), lab)
    note("compute, host: sum of inputs", m["arch"], h, I("compute_host_bytes"), lab)
    c, k = closed_form.compute(*args)
    note(f"compute, device: closed form, {r['outputs']} outputs, flash attention {r['flash_attn']}", m["arch"], c, I("compute_gpu_bytes"), lab + " " + k)
    cells, sc, full, swa, rec = kv(m, I("n_ctx"), I("n_ubatch"), I("n_seq_max"), r["type_k"], r["type_v"], uni, sf)
    note("cache bytes (full + sliding + recurrent)", m["arch"], full + swa + rec, I("kv_bytes"), lab)
    assert (full, swa, rec) == (I("kv_full_bytes"), I("kv_swa_bytes"), I("recurrent_bytes")), lab
    if r["model"] not in wcache:
        ty = {n: ("MXFP4" if "_exps.weight" in n else "F16" if q else "F32") for n, s, q in shapes.tensors(m)} if r["file_type"] == "MXFP4" else mixture.types(m, r["file_type"])
        wcache[r["model"]] = w = mixture.weights(m, ty)
        note("weights, device", m["arch"], w[0], I("weights_gpu_bytes"), r["model"]); note("weights, host", m["arch"], w[1], I("weights_host_bytes"), r["model"])
for r in csv.DictReader(open(os.path.join(here, "quantize.csv"))):
    m = shapes.MODELS[r["model"]]; ty = mixture.types(m, r["file_type"], r["imatrix"] == "1")
    note("file types: total tensor bytes", m["arch"], sum(mixture.bytes_of(ty[n], s) for n, s, q in shapes.tensors(m)), int(r["total_tensor_bytes"]), r["model"] + " " + r["file_type"])
for what, by in S.items():
    allv = [x for v in by.values() for x in v]
    print(what)
    for a, v in list(by.items()) + [("ALL", allv)]:
        e = sorted(abs(x[0]) for x in v); w = max(v, key=lambda x: abs(x[0]))
        print(f"  {a:10s} rows {len(v):5d}  exact {sum(x[2] == x[3] for x in v):5d}  median {e[len(e) // 2]:.5f}  p90 {e[int(len(e) * .9)]:.5f}  worst {w[0]:+.4f}" + (f"  ({w[1]}: {w[2]} for {w[3]})" if w[0] else ""))
