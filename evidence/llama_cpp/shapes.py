#!/usr/bin/env python3
"""Shape-exact, weightless GGUF files: the header is real, the tensor data is a hole (the file is truncate()d to its full size).
usage: shapes.py MODEL OUT.gguf [TYPES.json]     TYPES.json: {tensor name: ggml type name} (default: F16 for matrices, F32 for the rest)
       shapes.py --list"""
import json, sys, os
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

def M(arch, L, H, nh, kv, hd, F, V, ctx, **k):
    return dict(arch=arch, L=L, H=H, nh=nh, kv=kv, hd=hd, F=F, V=V, ctx=ctx, **k)

MODELS = {
 "Qwen2.5-0.5B":   M("qwen2", 24, 896, 14, 2, 64, 4864, 151936, 32768, tied=1, qkvb=1),
 "Qwen2.5-7B":     M("qwen2", 28, 3584, 28, 4, 128, 18944, 152064, 32768, qkvb=1),
 "Qwen2.5-14B":    M("qwen2", 48, 5120, 40, 8, 128, 13824, 152064, 32768, qkvb=1),
 "Qwen2.5-32B":    M("qwen2", 64, 5120, 40, 8, 128, 27648, 152064, 32768, qkvb=1),
 "Qwen3-0.6B":     M("qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, tied=1, qkn=1),
 "Qwen3-4B":       M("qwen3", 36, 2560, 32, 8, 128, 9728, 151936, 40960, tied=1, qkn=1),
 "Qwen3-8B":       M("qwen3", 36, 4096, 32, 8, 128, 12288, 151936, 40960, qkn=1),
 "Qwen3-14B":      M("qwen3", 40, 5120, 40, 8, 128, 17408, 151936, 40960, qkn=1),
 "Qwen3-32B":      M("qwen3", 64, 5120, 64, 8, 128, 25600, 151936, 40960, qkn=1),
 "Qwen3-30B-A3B":  M("qwen3moe", 48, 2048, 32, 4, 128, 6144, 151936, 40960, qkn=1, E=128, U=8, Fe=768),
 "Llama-3.1-8B":   M("llama", 32, 4096, 32, 8, 128, 14336, 128256, 131072, ropef=1),
 "Llama-3.2-1B":   M("llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, tied=1, ropef=1),
 "Llama-3.2-3B":   M("llama", 28, 3072, 24, 8, 128, 8192, 128256, 131072, tied=1, ropef=1),
 "Llama-3.1-70B":  M("llama", 80, 8192, 64, 8, 128, 28672, 128256, 131072, ropef=1),
 "Mistral-7B-v0.3":M("llama", 32, 4096, 32, 8, 128, 14336, 32768, 32768),
 "Codestral-22B":  M("llama", 56, 6144, 48, 8, 128, 16384, 32768, 32768),
 "Mistral-Nemo-12B": M("llama", 40, 5120, 32, 8, 128, 14336, 131072, 131072),
 "Mixtral-8x7B":   M("llama", 32, 4096, 32, 8, 128, 14336, 32000, 32768, E=8, U=2, Fe=14336),
 "SmolLM2-135M":   M("llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, tied=1),
 "gemma-7b":       M("gemma", 28, 3072, 16, 16, 256, 24576, 256000, 8192, tied=1),
 "Gemma-2-9B":     M("gemma2", 42, 3584, 16, 8, 256, 14336, 256000, 8192, tied=1, swa=4096, post=1),
 "Gemma-3-1B":     M("gemma3", 26, 1152, 4, 1, 256, 6912, 262144, 32768, tied=1, swa=512, post=1, qkn=1),
 "Gemma-3-4B":     M("gemma3", 34, 2560, 8, 4, 256, 10240, 262208, 131072, tied=1, swa=1024, post=1, qkn=1),
 "Gemma-3-27B":    M("gemma3", 62, 5376, 32, 16, 128, 21504, 262208, 131072, tied=1, swa=1024, post=1, qkn=1),
 "Phi-3-mini-4k":  M("phi3", 32, 3072, 32, 32, 96, 8192, 32064, 4096),
 "Phi-4":          M("phi3", 40, 5120, 40, 10, 128, 17920, 100352, 16384),
 "gpt-oss-20b":    M("gpt-oss", 24, 2880, 64, 8, 64, 2880, 201088, 131072, swa=128, E=32, U=4, Fe=2880),
 "DeepSeek-V2-Lite": M("deepseek2", 27, 2048, 16, 1, 576, 10944, 102400, 163840, E=64, U=6, Fe=1408, sh=2, dense=1, lora=512, rope=64, nope=128, vh=128),
 "GLM-4.5-Air":    M("glm4moe", 47, 4096, 96, 8, 128, 10944, 151552, 131072, qkvb=1, E=128, U=8, Fe=1408, sh=1, dense=1, nextn=1),
 "Qwen3.5-0.8B":   M("qwen35", 24, 1024, 8, 2, 256, 3584, 248320, 262144, tied=1, qkn=1, nk=16, nv=16, ds=128),
 "Qwen3.5-4B":     M("qwen35", 32, 2560, 16, 4, 256, 9216, 248320, 262144, tied=1, qkn=1, nk=16, nv=32, ds=128),
 "Qwen3.5-27B":    M("qwen35", 64, 5120, 24, 4, 256, 17408, 248320, 262144, qkn=1, nk=16, nv=48, ds=128),
 "Qwen3.5-35B-A3B":M("qwen35moe", 40, 2048, 16, 2, 256, 512, 248320, 262144, qkn=1, nk=16, nv=32, ds=128, E=256, U=8, Fe=512, Fs=512),
 "Qwen3-Next-80B-A3B": M("qwen3next", 48, 2048, 16, 2, 256, 5120, 151936, 262144, qkn=1, nk=16, nv=32, ds=128, E=512, U=10, Fe=512, Fs=512),
}

FAMILIES = {         # families whose graph differs in small things (families.py)
 "Granite-3.1-8B": M("granite", 40, 4096, 32, 8, 128, 12800, 49155, 131072, tied=1),
 "Granite-3.1-2B": M("granite", 40, 2048, 32, 8, 64, 8192, 49155, 131072, tied=1),
 "OLMo-2-7B":      M("olmo2", 32, 4096, 32, 32, 128, 11008, 100352, 4096),
 "OLMo-2-13B":     M("olmo2", 40, 5120, 40, 40, 128, 13824, 100352, 4096),
 "Command-R":      M("command-r", 40, 8192, 64, 64, 128, 22528, 256000, 131072, tied=1),
 "Command-R-0824": M("command-r", 40, 8192, 64, 8, 128, 24576, 256000, 131072, tied=1),
 "StarCoder2-3B":  M("starcoder2", 30, 3072, 24, 2, 128, 12288, 49152, 16384, tied=1, qkvb=1, ob=1, fb=1, nb=1),
 "StarCoder2-15B": M("starcoder2", 40, 6144, 48, 4, 128, 24576, 49152, 16384, tied=1, qkvb=1, ob=1, fb=1, nb=1),
 "Qwen1.5-MoE-A2.7B": M("qwen2moe", 24, 2048, 16, 16, 128, 5632, 151936, 32768, qkvb=1, E=60, U=4, Fe=1408, Fs=5632),
 "Qwen2-57B-A14B": M("qwen2moe", 28, 3584, 28, 4, 128, 18944, 151936, 32768, qkvb=1, E=64, U=8, Fe=2560, Fs=20480),
 "DeepSeek-V2":    M("deepseek2", 60, 5120, 128, 1, 576, 12288, 102400, 163840, E=160, U=6, Fe=1536, sh=2, dense=1, lora=512, rope=64, nope=128, vh=128, qlora=1536, scale=16),
 "DeepSeek-V3":    M("deepseek2", 61, 7168, 128, 1, 576, 18432, 129280, 163840, E=256, U=8, Fe=2048, sh=1, dense=3, lora=512, rope=64, nope=128, vh=128, qlora=1536, ebias=1, scale=2.5),
 "DeepSeek-V3-groups": M("deepseek2", 61, 7168, 128, 1, 576, 18432, 129280, 163840, E=256, U=8, Fe=2048, sh=1, dense=3, lora=512, rope=64, nope=128, vh=128, qlora=1536, ebias=1, scale=2.5, groups=8, gused=4),
 # kvf, hdf: heads of full layers, which have no values; inner, state, sgroups, sheads: Mamba-2, but for layers 5, 15, 25, ...
 "Gemma-4-31B":    M("gemma4", 60, 5376, 32, 16, 256, 21504, 262144, 262144, tied=1, swa=1024, post=1, qkn=1, kvf=4, hdf=512, cap=30),
 "Granite-4.0-H-1B": M("granitehybrid", 40, 1536, 12, 4, 128, 4096, 100352, 131072, tied=1, inner=3072, state=128, sgroups=1, sheads=48),
 "Qwen2.5-VL-7B":  M("qwen2vl", 28, 3584, 28, 4, 128, 18944, 152064, 128000, qkvb=1),
 "Qwen3-VL-8B":    M("qwen3vl", 36, 4096, 32, 8, 128, 12288, 151936, 262144, qkn=1, deep=3),
 "GLM-4.5":        M("glm4moe", 93, 5120, 96, 8, 128, 12288, 151552, 131072, qkvb=1, qkn=1, E=160, U=8, Fe=1536, sh=1, dense=3, nextn=1, scale=2.5),
}
MODELS.update(FAMILIES)

MORE = {             # further sizes of the same families (placement.py)
 "Qwen2.5-3B":     M("qwen2", 36, 2048, 16, 2, 128, 11008, 151936, 32768, tied=1, qkvb=1),
 "Qwen3-Coder-480B-A35B": M("qwen3moe", 62, 6144, 96, 8, 128, 8192, 151936, 262144, qkn=1, E=160, U=8, Fe=2560),
 "Llama-3.1-405B": M("llama", 126, 16384, 128, 8, 128, 53248, 128256, 131072, ropef=1),
 "Kimi-K2":        M("deepseek2", 61, 7168, 64, 1, 576, 18432, 163840, 131072, E=384, U=8, Fe=2048, sh=1, dense=1, lora=512, rope=64, nope=128, vh=128, qlora=1536, ebias=1, scale=2.827),
 "Qwen3.5-122B-A10B": M("qwen35moe", 48, 3072, 32, 2, 256, 1024, 248320, 262144, qkn=1, nk=16, nv=64, ds=128, E=256, U=8, Fe=1024, Fs=1024),
}
MODELS.update(MORE)

def tensors(m):
    """[(name, shape in ggml order (ne0 first), is_matrix)]"""
    L, H, nh, kv, hd, F, V, a = (m[k] for k in ("L", "H", "nh", "kv", "hd", "F", "V", "arch"))
    g = m.get
    t = []
    def w(n, *s): t.append((n + ".weight", s, 1))
    def v(n, *s): t.append((n, s, 0))
    w("token_embd", H, V); v("output_norm.weight", H)
    if g("nb"): v("output_norm.bias", H)
    if not g("tied"): w("output", H, V)
    if g("ropef"): v("rope_freqs.weight", hd // 2)
    if g("hdf"): v("rope_freqs.weight", m["hdf"] // 2)
    for i in range(L):
        b = f"blk.{i}."
        recr = "nk" in m and (i + 1) % 4 != 0
        if a != "olmo2": v(b + "attn_norm.weight", H)
        if g("nb"): v(b + "attn_norm.bias", H)
        if recr:
            kd, vd = m["nk"] * m["ds"], m["nv"] * m["ds"]
            w(b + "attn_qkv", H, 2 * kd + vd); w(b + "attn_gate", H, vd)
            v(b + "ssm_conv1d.weight", 4, 2 * kd + vd); v(b + "ssm_dt.bias", m["nv"]); v(b + "ssm_a", m["nv"])
            if a == "qwen3next": w(b + "ssm_ba", H, 2 * m["nv"])
            else: w(b + "ssm_beta", H, m["nv"]); w(b + "ssm_alpha", H, m["nv"])
            v(b + "ssm_norm.weight", m["ds"]); w(b + "ssm_out", vd, H)
        elif "inner" in m and i % 10 != 5:
            inner, conv = m["inner"], m["inner"] + 2 * m["sgroups"] * m["state"]
            w(b + "ssm_in", H, inner + conv + m["sheads"]); v(b + "ssm_conv1d.weight", 4, conv); v(b + "ssm_conv1d.bias", conv)
            v(b + "ssm_dt.bias", m["sheads"]); v(b + "ssm_a", 1, m["sheads"]); v(b + "ssm_d", 1, m["sheads"])
            v(b + "ssm_norm.weight", inner // m["sgroups"], m["sgroups"]); w(b + "ssm_out", inner, H)
        elif "kvf" in m and (i + 1) % 6 == 0:
            w(b + "attn_q", H, nh * m["hdf"]); w(b + "attn_k", H, m["kvf"] * m["hdf"]); w(b + "attn_output", nh * m["hdf"], H)
            v(b + "attn_q_norm.weight", m["hdf"]); v(b + "attn_k_norm.weight", m["hdf"])
        elif a == "deepseek2":
            if g("qlora"): w(b + "attn_q_a", H, m["qlora"]); v(b + "attn_q_a_norm.weight", m["qlora"]); w(b + "attn_q_b", m["qlora"], nh * (m["nope"] + m["rope"]))
            else: w(b + "attn_q", H, nh * (m["nope"] + m["rope"]))
            w(b + "attn_kv_a_mqa", H, m["lora"] + m["rope"]); v(b + "attn_kv_a_norm.weight", m["lora"])
            w(b + "attn_k_b", m["nope"], m["lora"], nh); w(b + "attn_v_b", m["lora"], m["vh"], nh); w(b + "attn_output", nh * m["vh"], H)
        elif a == "phi3":
            w(b + "attn_qkv", H, H + 2 * kv * hd); w(b + "attn_output", H, H)
        else:
            q = nh * hd * (2 if "nk" in m else 1)
            w(b + "attn_q", H, q); w(b + "attn_k", H, kv * hd); w(b + "attn_v", H, kv * hd); w(b + "attn_output", nh * hd, H)
            if g("qkvb") or a == "gpt-oss":
                v(b + "attn_q.bias", q); v(b + "attn_k.bias", kv * hd); v(b + "attn_v.bias", kv * hd)
            if a == "gpt-oss": v(b + "attn_sinks.weight", nh)
            if a == "gpt-oss" or g("ob"): v(b + "attn_output.bias", H)
            if a == "olmo2": v(b + "attn_q_norm.weight", q); v(b + "attn_k_norm.weight", kv * hd)
            if g("qkn"): v(b + "attn_q_norm.weight", hd); v(b + "attn_k_norm.weight", hd)
        if a in ("gpt-oss", "glm4moe") or "nk" in m: v(b + "post_attention_norm.weight", H)
        else:
            if g("post") or a == "olmo2": v(b + "post_attention_norm.weight", H); v(b + "post_ffw_norm.weight", H)
            if a not in ("olmo2", "command-r"): v(b + "ffn_norm.weight", H)
            if g("nb"): v(b + "ffn_norm.bias", H)
        if g("E") and i >= g("dense", 0):
            E, Fe = m["E"], m["Fe"]
            v(b + "ffn_gate_inp.weight", H, E)
            w(b + "ffn_gate_exps", H, Fe, E); w(b + "ffn_up_exps", H, Fe, E); w(b + "ffn_down_exps", Fe, H, E)
            if a == "gpt-oss":
                v(b + "ffn_gate_inp.bias", E); v(b + "ffn_gate_exps.bias", Fe, E); v(b + "ffn_up_exps.bias", Fe, E); v(b + "ffn_down_exps.bias", H, E)
            if a == "glm4moe" or g("ebias"): v(b + "exp_probs_b.bias", E)
            fs = g("Fs") or (g("sh", 0) * Fe)
            if fs: w(b + "ffn_gate_shexp", H, fs); w(b + "ffn_up_shexp", H, fs); w(b + "ffn_down_shexp", fs, H)
            if g("Fs"): v(b + "ffn_gate_inp_shexp.weight", H)
        elif a == "phi3": w(b + "ffn_up", H, 2 * F); w(b + "ffn_down", F, H)
        else:
            if a != "starcoder2": w(b + "ffn_gate", H, F)
            w(b + "ffn_up", H, F); w(b + "ffn_down", F, H)
            if g("fb"): v(b + "ffn_up.bias", F); v(b + "ffn_down.bias", H)
        if a == "gemma4": v(b + "layer_output_scale.weight", 1)
        if g("nextn") and i >= L - m["nextn"]:
            w(b + "nextn.eh_proj", 2 * H, H); v(b + "nextn.enorm.weight", H); v(b + "nextn.hnorm.weight", H)
            w(b + "nextn.embed_tokens", H, V); w(b + "nextn.shared_head_head", H, V); v(b + "nextn.shared_head_norm.weight", H)
    return t

def write(name, path, types=None):
    m = MODELS[name]; a = m["arch"]; g = m.get
    wr = gguf.GGUFWriter(path, a, use_temp_file=False)
    u = lambda k, x: wr.add_uint32(f"{a}.{k}", x)
    wr.add_name(name)
    u("context_length", m["ctx"]); u("embedding_length", m["H"]); u("block_count", m["L"]); u("feed_forward_length", m["F"])
    u("attention.head_count", m["nh"]); u("vocab_size", m["V"])
    if "kvf" in m: wr.add_array(f"{a}.attention.head_count_kv", [m["kvf"] if (i + 1) % 6 == 0 else m["kv"] for i in range(m["L"])])
    elif "inner" in m: wr.add_array(f"{a}.attention.head_count_kv", [m["kv"] if i % 10 == 5 else 0 for i in range(m["L"])])
    else: u("attention.head_count_kv", m["kv"])
    wr.add_float32(f"{a}.attention.layer_norm_rms_epsilon", 1e-6); wr.add_float32(f"{a}.attention.layer_norm_epsilon", 1e-5)
    if a == "granite":
        for k in ("logit_scale", "residual_scale", "embedding_scale", "attention.scale"): wr.add_float32(f"{a}.{k}", 0.5)
    if a == "command-r": wr.add_float32(f"{a}.logit_scale", 0.0625)
    if a == "deepseek2":
        u("attention.key_length", 576); u("attention.value_length", 512); u("attention.key_length_mla", 192); u("attention.value_length_mla", 128)
        u("attention.kv_lora_rank", m["lora"]); u("rope.dimension_count", m["rope"]); wr.add_float32(f"{a}.expert_weights_scale", float(g("scale", 1)))
        if g("qlora"): u("attention.q_lora_rank", m["qlora"])
        if g("ebias"): u("expert_gating_func", 2); wr.add_bool(f"{a}.expert_weights_norm", True)
        if g("groups"): u("expert_group_count", m["groups"]); u("expert_group_used_count", m["gused"])
    else:
        u("attention.key_length", g("hdf") or m["hd"]); u("attention.value_length", g("hdf") or m["hd"])
        if "hdf" in m:
            u("embedding_length_per_layer_input", 0); u("attention.shared_kv_layers", 0)
            u("attention.key_length_swa", m["hd"]); u("attention.value_length_swa", m["hd"]); u("rope.dimension_count_swa", m["hd"])
            wr.add_array(f"{a}.attention.sliding_window_pattern", [(i + 1) % 6 != 0 for i in range(m["L"])])
        if "inner" in m:
            u("ssm.conv_kernel", 4); u("ssm.inner_size", m["inner"]); u("ssm.state_size", m["state"]); u("ssm.time_step_rank", m["sheads"]); u("ssm.group_count", m["sgroups"])
            wr.add_bool(f"{a}.rope.scaling.finetuned", False)
            for k in ("logit_scale", "residual_scale", "embedding_scale", "attention.scale"): wr.add_float32(f"{a}.{k}", 0.5)
        if g("cap"): wr.add_float32(f"{a}.final_logit_softcapping", float(m["cap"]))
        if g("deep"): u("n_deepstack_layers", m["deep"])
        if a in ("qwen2vl", "qwen3vl"): wr.add_array(f"{a}.rope.dimension_sections", [24, 20, 20, 0])
        u("rope.dimension_count", m["hdf"] if "hdf" in m else 64 if a == "glm4moe" or "nk" in m else m["hd"])
    if g("swa"): u("attention.sliding_window", m["swa"])
    if g("E"):
        u("expert_count", m["E"]); u("expert_used_count", m["U"])
        if a != "llama": u("expert_feed_forward_length", m["Fe"])
        if g("sh"): u("expert_shared_count", m["sh"])
        if g("Fs"): u("expert_shared_feed_forward_length", m["Fs"])
        if g("dense"): u("leading_dense_block_count", m["dense"])
        if a == "glm4moe": wr.add_float32(f"{a}.expert_weights_scale", float(g("scale", 1))); wr.add_bool(f"{a}.expert_weights_norm", True)
    if g("nextn"): u("nextn_predict_layers", m["nextn"])
    if "nk" in m:
        u("ssm.conv_kernel", 4); u("ssm.inner_size", m["nv"] * m["ds"]); u("ssm.state_size", m["ds"]); u("ssm.time_step_rank", m["nv"]); u("ssm.group_count", m["nk"])
        u("full_attention_interval", 4)
        if a != "qwen3next": wr.add_array(f"{a}.rope.dimension_sections", [11, 11, 10, 0])
    wr.add_string("tokenizer.ggml.model", "no_vocab")
    off = 0
    for n, s, mat in tensors(m):
        ty = T[types[n]] if types and n in types else (T.F16 if mat else T.F32)
        bs, ts = gguf.GGML_QUANT_SIZES[ty]
        ne = int(np.prod(s)); assert s[0] % bs == 0, (n, s, ty)
        nb = ne // bs * ts
        wr.add_tensor_info(n, list(reversed(s)), np.dtype(np.float16 if ty == T.F16 else np.float32), nb, raw_dtype=ty) if ty in (T.F16, T.F32) else _qinfo(wr, n, s, ty, nb)
        off += (nb + 31) // 32 * 32
    wr.write_header_to_file(); wr.write_kv_data_to_file(); wr.write_ti_data_to_file()
    f = wr.fout[0]; f.flush()
    end = (f.tell() + 31) // 32 * 32
    os.truncate(path, end + off)
    wr.close()

def _qinfo(wr, n, s, ty, nb):
    # GGUFWriter wants byte shapes for raw quantised data
    bs, ts = gguf.GGML_QUANT_SIZES[ty]
    sh = list(reversed(s)); sh[-1] = sh[-1] // bs * ts
    wr.add_tensor_info(n, sh, np.dtype(np.uint8), nb, raw_dtype=ty)

if __name__ == "__main__":
    if sys.argv[1] == "--list": print("\n".join(MODELS))
    else: write(sys.argv[1], sys.argv[2], json.load(open(sys.argv[3])) if len(sys.argv) > 3 else None)
