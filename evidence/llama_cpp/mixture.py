#!/usr/bin/env python3
"""Which ggml type llama-quantize gives each tensor (src/llama-quant.cpp: tensor_allows_quantization, llama_tensor_get_type_impl,
tensor_type_fallback), from shapes alone, and the bytes the model takes on one CUDA device and on the host.
   types(model, file_type, imatrix=False) -> {name: type};   weights(model, types) -> (gpu bytes, host bytes)"""
import shapes
BLK = dict(F32=(1, 4), F16=(1, 2), BF16=(1, 2), Q4_0=(32, 18), Q4_1=(32, 20), Q5_0=(32, 22), Q5_1=(32, 24), Q8_0=(32, 34), Q2_K=(256, 84), Q3_K=(256, 110),
  Q4_K=(256, 144), Q5_K=(256, 176), Q6_K=(256, 210), IQ1_S=(256, 50), IQ1_M=(256, 56), IQ2_XXS=(256, 66), IQ2_XS=(256, 74), IQ2_S=(256, 82), IQ3_XXS=(256, 98),
  IQ3_S=(256, 110), IQ4_XS=(256, 136), IQ4_NL=(32, 18), TQ1_0=(256, 54), TQ2_0=(256, 66), MXFP4=(32, 17))
BASE = dict(Q2_K_S="Q2_K", Q3_K_S="Q3_K", Q3_K_M="Q3_K", Q3_K_L="Q3_K", Q4_K_S="Q4_K", Q4_K_M="Q4_K", Q5_K_S="Q5_K", Q5_K_M="Q5_K", IQ2_S="IQ2_XS", IQ2_M="IQ2_S",
  IQ3_XS="IQ3_S", IQ3_M="IQ3_S", MXFP4_MOE="MXFP4")                       # the others are their own base type
LOW = ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ2_S", "IQ2_M", "IQ1_M")
FALL = dict(IQ1_S="IQ4_NL", IQ1_M="IQ4_NL", IQ2_XXS="IQ4_NL", IQ2_XS="IQ4_NL", IQ2_S="IQ4_NL", IQ3_XXS="IQ4_NL", IQ3_S="IQ4_NL", IQ4_XS="IQ4_NL",
  Q2_K="Q4_0", Q3_K="Q4_0", TQ1_0="Q4_0", TQ2_0="Q4_0", Q4_K="Q5_0", Q5_K="Q5_1", Q6_K="Q8_0")
def bytes_of(ty, shape):
    n = 1
    for x in shape: n *= x
    return n // BLK[ty][0] * BLK[ty][1]
def types(m, ft, imatrix=False):
    base = BASE.get(ft, ft)
    ts = shapes.tensors(m); out = {}
    L = m["L"]; nexp = m.get("E", 0); gqa = m["nh"] // m["kv"]
    is70 = L == 80 and m["arch"] in ("llama", "qwen2") and (m["arch"] == "qwen2" or m["nh"] != m["kv"])       # LLM_TYPE_70B
    tied = not any(n == "output.weight" for n, s, q in ts)
    def cat(n):
        if n == "output.weight": return "output"
        if n == "token_embd.weight": return "embd"
        for k, c in (("attn_qkv.weight", "v"), ("attn_kv_b.weight", "v"), ("attn_v.weight", "v"), ("attn_k.weight", "k"), ("attn_q.weight", "q"), ("attn_output.weight", "o"),
                     ("ffn_up", "up"), ("ffn_gate", "gate"), ("ffn_down", "down")):
            if k in n: return c
        return "other"
    n_v = sum(cat(n) == "v" for n, s, q in ts)
    i_v = i_down = i_gate = i_up = 0
    more = lambda i, n: i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
    def key(t):                                                            # the loader's order: by layer, then by name
        p = t[0].split(".")
        return (int(p[1]) if p[0] == "blk" else -1, t[0])
    for n, s, q in sorted(ts, key=key):
        c = cat(n)
        ok = len(s) >= 2 and s[1] * (s[2] if len(s) > 2 else 1) > 1 and n.endswith("weight") and "_norm.weight" not in n and "ffn_gate_inp.weight" not in n and "ssm_conv1d" not in n
        if not ok: out[n] = "F32"; continue
        if base in ("F16", "BF16", "F32"): out[n] = base; continue
        t = base; il = int(n.split(".")[1]) if n.startswith("blk.") else 0
        lay = lambda i: il if nexp > 1 else i                              # MoE: the layer comes from the name, else from a counter
        if c == "output" or (tied and c == "embd"):
            if ft == "MXFP4_MOE" or s[0] % BLK[t][0]: t = "Q8_0"
            elif ft in ("IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ2_S", "IQ2_M", "IQ1_M"): t = "Q5_K"
            elif t != "Q8_0": t = "Q6_K"
        elif ft == "MXFP4_MOE": t = "MXFP4" if len(s) > 2 else "Q8_0"
        elif c == "embd":
            if ft in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"): t = "Q2_K"
            elif ft in ("IQ2_S", "IQ2_M", "IQ3_XXS"): t = "IQ3_S"
            elif ft in ("TQ1_0", "TQ2_0"): t = "Q4_K"
        elif ft in LOW:
            if c == "v": t = "Q4_K" if gqa >= 4 or nexp >= 4 else "IQ3_S" if ft in ("IQ2_S", "IQ2_M") else "Q2_K"
            elif nexp == 8 and c == "k": t = "Q4_K"
            elif c == "down":
                if i_down < L // 8: t = "IQ3_S" if ft in ("IQ2_S", "IQ2_M") else "Q2_K"
                i_down += 1
            elif c == "o":
                if nexp == 8: t = "Q5_K"
                elif ft in ("IQ1_S", "IQ1_M"): t = "IQ2_XXS"
                elif ft in ("IQ2_S", "IQ2_M"): t = "IQ3_S"
        elif c == "v":
            if ft == "Q2_K": t = "Q4_K" if gqa >= 4 else "Q3_K"
            elif ft == "Q2_K_S" and gqa >= 4: t = "Q4_K"
            elif ft == "IQ3_XXS": t = "Q4_K" if gqa >= 4 else "IQ3_XXS" if imatrix else "IQ3_S"
            elif ft in ("IQ3_XS", "IQ3_S") and gqa >= 4: t = "Q4_K"
            elif ft == "IQ3_M": t = "Q4_K"
            elif ft == "Q3_K_M": t = "Q5_K" if i_v < 2 else "Q4_K"
            elif ft == "Q3_K_L": t = "Q5_K"
            elif ft in ("IQ4_NL", "IQ4_XS") and gqa >= 4: t = "Q5_K"
            elif ft in ("Q4_K_M", "Q5_K_M") and more(i_v, n_v): t = "Q6_K"
            elif ft == "Q4_K_S" and i_v < 4: t = "Q5_K"
            if is70 and t in ("Q3_K", "Q4_K"): t = "Q5_K"
            if nexp == 8: t = "Q8_0"
            i_v += 1
        elif c in ("k", "q"):
            if c == "k" and nexp == 8: t = "Q8_0"
            elif ft == "IQ3_XS": t = "IQ3_XXS"
            elif ft == "IQ3_XXS": t = "IQ2_S"
        elif c == "down":
            i = lay(i_down)
            if ft == "Q2_K": t = "Q3_K"
            elif ft == "Q2_K_S": t = "Q4_K" if i < L // 8 else t
            elif ft == "IQ3_XXS" and not imatrix: t = "Q4_K" if i < L // 8 else "Q3_K"
            elif ft == "Q3_K_M": t = "Q5_K" if i < L // 16 else "Q4_K"
            elif ft == "IQ3_M" and (i < L // 8 or (nexp == 8 and more(i, L))): t = "Q4_K"
            elif ft == "Q3_K_L": t = "Q5_K"
            elif ft == "Q4_K_M": t = "Q6_K" if more(i, L) else t
            elif i < L // 8 and ft in ("IQ4_NL", "IQ4_XS") and not imatrix: t = "Q5_K"
            elif ft == "Q5_K_M" and more(i, L): t = "Q6_K"
            elif ft == "Q4_K_S" and i < L // 8: t = "Q5_K"
            elif ft in ("Q4_0", "Q5_0") and imatrix and i < L // 8: t = "Q4_1" if ft == "Q4_0" else "Q5_1"
            i_down += 1
        elif c == "o":
            if nexp == 8:
                if ft in ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS"): t = "Q5_K"
            else: t = dict(Q2_K="Q3_K", IQ3_XXS="IQ3_S", Q3_K_M="Q4_K", Q3_K_L="Q5_K", IQ3_M="Q4_K").get(ft, t)
        elif c in ("gate", "up"):
            i = lay(i_gate if c == "gate" else i_up)
            if ft == "IQ3_XS" and L // 8 <= i < 7 * L // 8: t = "IQ3_XXS"
            if c == "gate": i_gate += 1
            else: i_up += 1
        if s[0] % BLK[t][0]:
            t = FALL.get(t, t)
            if s[0] % BLK[t][0]: t = "F16"
        out[n] = t
    return out
def weights(m, ty):
    """bytes in the CUDA model buffer (rows of quantised tensors padded to 512 once per tensor, tensors aligned to 128) and in the host one"""
    gpu = host = 0
    for n, s, q in shapes.tensors(m):
        if m.get("nextn") and n.startswith("blk.") and int(n.split(".")[1]) >= m["L"] - m["nextn"]: continue      # MTP layers are not loaded by default
        t = ty[n]; b = bytes_of(t, s)
        pad = (512 - s[0] % 512) // BLK[t][0] * BLK[t][1] if BLK[t][0] > 1 and s[0] % 512 else 0
        dev = -(-(b + pad) // 128) * 128
        if n == "token_embd.weight":
            host += -(-b // 32) * 32
            if any(x[0] == "output.weight" for x in shapes.tensors(m)): continue       # tied: a second copy goes to the GPU as the output matrix
        gpu += dev
    return gpu, host
