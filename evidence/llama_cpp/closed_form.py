"""Closed forms for the device compute buffer: max over moments of sums of named buffers. Good to about 1% where the simulation (ggml_sim.py) is exact;
what they miss is fragmentation (which hole of the buffer a tensor falls into), mostly with all outputs."""
QUANT = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
def compute(m, n_ctx, ub, n_seq=1, fa=True, tk="f16", tv="f16", n_out=None, unified=False, swa_full=False, **_):
    a, H, nh, kv, hd, F, V = (m[k] for k in ("arch", "H", "nh", "kv", "hd", "F", "V"))
    A = lambda x: -(-x // 128) * 128
    n_ctx = -(-n_ctx // 256) * 256
    if not unified: n_ctx = -(-(n_ctx // n_seq) // 256) * 256 * n_seq
    cells = n_ctx if unified else n_ctx // n_seq                       # cells of one stream
    ubc = ub = min(ub, n_ctx); n_out = n_seq if n_out is None else min(n_out, ub); ub = -(-ub // n_seq) * n_seq
    nq, kvd, U, Fe, hyb, mla = nh * hd, kv * hd, m.get("U", 0), m.get("Fe", 0), "nk" in m, a == "deepseek2"
    caches = [cells]
    if m.get("swa") and a != "phi3": caches.append(cells if swa_full else -(-min(cells, m["swa"] * (n_seq if unified else 1) + ubc) // 256) * 256)
    st = 1 if unified else n_seq
    # I: the inputs copied to the device, alive during the whole graph
    I = A(4 * ub * (4 if hyb and a != "qwen3next" else 1)) + A(4 * n_out) + (128 if hyb else 0)
    for n in caches:
        I += A(8 * ub) + (0 if mla else A(8 * ub * (1 if fa else kvd))) + A((2 if fa else 4) * ub * n)
        if not mla and hd % 64 == 0: I += (4 * next(x for x in (512, 256, 128, 64) if hd % x == 0) ** 2 if tk in QUANT else 0) + (16384 if tv in QUANT else 0)
    f = 4 * ub; n = max(caches)
    mom = {}
    # feed-forward: hole of the residual stream (H) + hole of Q (nq) + ffn_inp (H) + gate, up, glu
    base = I + f * (H + (0 if a == "phi3" else nq if not mla else H) + H)
    if hyb: base = I + f * 3 * H if m.get("E") else I + f * 2 * H
    if not U or m.get("dense"): mom["ffn"] = base + f * 3 * F
    if U:
        mom["moe"] = base + f * U * 3 * Fe + 0
        if H > 2 * Fe: mom["moe down"] = base + f * U * (3 * Fe + H)
        mom["moe weighted"] = I + f * (3 * H + 2 * U * H + U * max(0, 2 * Fe - 0) * (H < 2 * Fe or m.get("dense", 0) or hyb))
        if a == "gpt-oss": mom.pop("moe weighted")
    # attention
    if mla:
        if fa: mom["attn"] = I + f * (2 * H + 2 * nh * 576 + nh * 512)
        else: mom["attn"] = I + f * (2 * H + nh * 576 * 2 + nh * 128) + 2 * 512 * n + f * nh * n
    elif fa:
        ex = sum(2 * kvd * n * st for t in (tk, tv) if t in QUANT)
        mom["attn"] = I + f * (H + H + 2 * nq) + ex
    else:
        mom["attn"] = I + f * (H + (0 if a == "phi3" else H + (0 if tk in QUANT else nq)) + nq) + f * nh * n   # K rotated: Q moves into the hole
        if hyb: mom["attn"] = I + f * (H + 2 * nq + nq + nq) + f * nh * n
    if hyb:
        cd = (2 * m["nk"] + m["nv"]) * m["ds"]; z = m["nv"] * m["ds"]
        mom["gated delta net"] = I + f * (2 * H + cd + z + cd) + 12 * n_seq * cd + 4 * n_seq * z * m["ds"]
    # output
    extra = a in ("gpt-oss", "qwen35", "qwen35moe", "qwen3next")       # the last hidden state is kept for all tokens
    mom["output"] = 4 * n_out * (V + H) + (f * H if extra else 0)
    k = max(mom, key=mom.get)
    return mom[k], k
