#!/usr/bin/env python3
"""Every architecture of the library, in random shapes, asked for its buffers; writes archs.jsonl (what the files hold) and archs.csv.
The keys are those under which the library's own test makes models of every architecture (tests/test-llama-archs.cpp, get_gguf_ctx); the tensors are
those the library itself asks for under them (memprobe --skeleton).

usage: archs.py WORKDIR SEED MODELS_PER_ARCH JOBS_PER_MODEL VERSION=MEMPROBE... [-- ARCH...]
The first VERSION makes the files; every VERSION answers every job. SEED is part of a model's name, so that rows of several seeds go into one file."""
import csv, json, os, random, re, subprocess, sys
import gguf
os.environ["GGML_NO_BACKTRACE"] = "1"

COLS = "model,architecture,n_ctx,n_ubatch,n_batch,n_seq_max,kv_unified,swa_full,flash_attn,type_k,type_v,n_outputs_max,weights_gpu_bytes,weights_host_bytes,kv_bytes,compute_gpu_bytes,compute_host_bytes,splits,llama_cpp_version".split(",")
MLA = "deepseek2 deepseek32 glm-dsa dots3note kimi-linear bailingmoe3 kimi-k3 glm5-next mistral4 hy_v4 mistral-large4 minicpm3 plm deepseek41".split()
HYBRID = "plamo2 jamba nemotron_h nemotron_h_moe granitehybrid lfm2 lfm2moe lfm3 kimi-linear bailingmoe3 kimi-k3 glm5-next minimax-01".split()
SWA_LIST = "cohere2moe mimo2 step35 spark2_5 muse-glimmer muse-spark granite_swa dots3note maple laguna gemma4 kolibri1 k2-horizon".split()

def keys(arch, rnd):
    """metadata: name -> value; integers are u32, floats f32, lists arrays"""
    k = {}
    hd = rnd.choice([64, 128, 128, 128])
    nh = rnd.choice([4, 8, 16, 24])
    kv = rnd.choice([n for n in (1, 2, 4, 8) if nh % n == 0]) if rnd.random() < 0.8 else nh
    H = nh * hd if rnd.random() < 0.8 else 256 * rnd.randint(2, 10)
    L = rnd.choice([4, 6, 8, 12])
    F = 256 * rnd.randint(4, 24)
    V = 256 * rnd.randint(60, 600)
    U = rnd.choice([2, 4, 6, 8]); E = rnd.choice([16, 32, 60, 64, 128]); Fe = 128 * rnd.randint(2, 8)
    moe = rnd.random() < 0.6
    same = H == nh * hd
    if arch in ("gemma3n",): L = 24; H = 2048; nh = 8; kv = 2; hd = 256
    if arch == "llama4": L = rnd.choice([4, 8, 12])
    if arch == "gemma4": L = rnd.choice([6, 12])
    if arch == "hrm_text": L = 6
    if arch in ("rwkv6", "rwkv7", "arwkv7", "rwkv6qwen2"): H = 64 * rnd.choice([8, 16, 32]); hd = 64; nh = kv = H // 64
    if arch in ("gpt2", "bloom", "mpt", "starcoder", "falcon", "gptneox", "codeshell", "phi2", "chameleon", "cogvlm", "bert", "nomic-bert", "jina-bert-v2", "plamo", "internlm2", "grok", "dbrx", "baichuan", "stablelm", "phi3", "deepseek", "t5", "t5encoder", "dots1", "olmoe", "lfm2", "lfm3", "plm", "qwen"): H = nh * hd
    if arch in ("gpt2", "bloom", "gptneox", "mpt", "phi2", "jais", "qwen", "cogvlm", "bert", "plm", "chameleon", "olmoe", "t5", "t5encoder"): kv = nh
    if arch == "starcoder" or arch == "gemma4-assistant": kv = 1
    u = lambda key, v: k.__setitem__(f"{arch}.{key}", v)
    ctx = 131072
    u("vocab_size", V); u("context_length", ctx); u("embedding_length", H); u("features_length", H); u("block_count", L)
    u("leading_dense_block_count", rnd.choice([0, 1, 1, 2]) if moe else 1)
    if arch in ("bailingmoe3",): u("leading_dense_block_count", 1)
    u("feed_forward_length", [0 if i % 3 < 2 else F for i in range(L)] if arch.startswith("nemotron_h") else F)
    u("use_parallel_residual", rnd.random() < 0.5)
    u("logit_scale", rnd.choice([1.0, 0.5])); u("time_mix_extra_dim", 64); u("time_decay_extra_dim", 128); u("full_attention_interval", rnd.choice([2, 4]))
    if arch in HYBRID:
        n = [nh if i % 2 == 0 else 0 for i in range(L)] if arch != "granitehybrid" else [nh if i % 4 == 1 else 0 for i in range(L)]
        kvs = [kv if x else 0 for x in n]
        u("attention.head_count", nh if arch in ("glm5-next", "granitehybrid") else n)
        u("attention.head_count_kv", kvs)
        if arch in MLA: u("attention.head_count_kv", [1 if x else 0 for x in n])
    else:
        u("attention.head_count", nh); u("attention.head_count_kv", 1 if arch in ("deepseek4", "deepseek41") else kv)
    u("attention.max_alibi_bias", 8.0)
    if arch in ("deepseek4", "deepseek41"):
        u("attention.key_length", 128); u("attention.value_length", 128); u("rope.dimension_count", 64)
    elif arch in MLA and arch not in ("minicpm3", "plm"):
        g5 = arch == "glm5-next"
        u("attention.key_length", 512 if g5 else 576); u("attention.value_length", 512); u("rope.dimension_count", 0 if g5 else 64)
        u("attention.key_length_mla", 192); u("attention.value_length_mla", 128)
        if arch not in HYBRID: u("attention.head_count_kv", 1)
        if arch == "dots3note":
            u("attention.kv_lora_rank_swa", 512); u("attention.key_length_swa", 576); u("attention.value_length_swa", 512); u("attention.key_length_mla_swa", 192); u("attention.value_length_mla_swa", 128)
            u("attention.indexer.types", [1 if i % 2 == 0 else 0 for i in range(L)]); u("rope.freq_base_swa", 10000.0)
    elif not same or rnd.random() < 0.5:
        u("attention.key_length", hd); u("attention.value_length", hd)
        u("rope.dimension_count", 64 if arch == "minimax-m3" else hd)
    elif arch == "minimax-m3": u("rope.dimension_count", 64)
    u("attention.clamp_kqv", 1.0); u("attention.layer_norm_epsilon", 1e-5); u("attention.layer_norm_rms_epsilon", 1e-5); u("attention.group_norm_epsilon", 1e-5); u("attention.group_norm_groups", 8)
    u("attention.q_lora_rank", 64 if arch in ("deepseek4", "deepseek41") else rnd.choice([512, 768])); u("attention.kv_lora_rank", 512); u("attention.relative_buckets_count", 8)
    u("attention.sliding_window", rnd.choice([512, 1024, 4096]))
    if arch == "gemma4":
        u("embedding_length_per_layer_input", rnd.choice([0, 256])); u("attention.shared_kv_layers", 0); u("attention.key_length_swa", hd); u("attention.value_length_swa", hd); u("rope.freq_base_swa", 10000.0)
        u("attention.key_length", hd); u("attention.value_length", hd); u("rope.dimension_count", hd); u("rope.dimension_count_swa", hd)
        u("attention.sliding_window_pattern", [(i + 1) % 6 != 0 for i in range(L)])
    elif arch in SWA_LIST: u("attention.sliding_window_pattern", [i % 2 for i in range(L)])
    elif arch in ("gemma3n",): u("attention.sliding_window_pattern", [(i + 1) % 5 != 0 for i in range(L)]); u("embedding_length_per_layer_input", 256)
    elif rnd.random() < 0.5: u("attention.sliding_window_pattern", 2)
    if arch in ("qwen4exp", "glm5-next"):
        u("hyper_connection.count", 4); u("hyper_connection.sinkhorn_iterations", 2); u("hyper_connection.epsilon", 1e-6); u("hyper_connection.low_rank", 8); u("attention.compress_ratios", [4] * L)
        u("ple.layers", [0]); u("ple.ngram_size", 3); u("ple.heads_per_ngram", 2); u("ple.conv_kernel", 4); u("ple.eos_token_id", 0); u("embedding_length_per_layer_input", H // 4)
        for key, v in (("ple.layer_multipliers", [1, 3, 5]), ("ple.head_offsets", [i * V for i in range(4)]), ("ple.head_vocab_sizes", [V] * 4)): k[f"{arch}.{key}"] = ("u64", v)
    u("attention.indexer.head_count", nh if arch == "minimax-m3" else 64)
    if arch == "minimax-m3": u("attention.indexer.head_count", kv)
    u("attention.indexer.key_length", hd if arch == "qwen4exp" else 128); u("attention.indexer.top_k", 2048); u("attention.indexer.block_size", 4); u("attention.indexer.kpool", 4); u("attention.indexer.kpool_select_tail", True); u("attention.indexer.local_blocks", 1)
    u("rope.dimension_sections", [8, 12, 12, 0] if arch == "bailingmoe3" else [hd // 8] * 4)
    if arch == "hy_v4":
        u("hyper_connection.count", 4); u("hyper_connection.epsilon", 1e-6); u("hyper_connection.magnitude", 2.0); u("swiglu_clamp_exp", 10.0); u("attention.indexer.types", [1 if i % 2 == 0 else 0 for i in range(L)])
    if arch in ("deepseek4", "deepseek41"):
        u("attention.output_group_count", nh if nh < 8 else 8); u("attention.output_lora_rank", 32); u("attention.compress_ratios", [0, 0, 4, 128] + [4, 128] * ((L - 4) // 2)); u("attention.compress_rope_freq_base", 160000.0)
        u("hyper_connection.count", 4); u("hyper_connection.sinkhorn_iterations", 2); u("hyper_connection.epsilon", 1e-6); u("hash_layer_count", 0); u("swiglu_clamp_exp", 10.0)
    if arch == "hrm_text": u("hrm.layers_per_stack", 1); u("hrm.h_cycles", 2); u("hrm.l_cycles", 2)
    if arch == "maple": u("swiglu_clamp_exp", 7.0)
    if moe or arch.endswith("moe") or arch in MOE_ONLY:
        u("expert_feed_forward_length", Fe); u("expert_shared_feed_forward_length", rnd.choice([Fe, Fe // 2])); u("expert_latent_length", 512); u("moe_latent_size", 512); u("interleave_moe_layer_step", rnd.choice([1, 2]))
        u("expert_count", E); u("expert_used_count", U); u("expert_shared_count", 1); u("expert_gating_func", 4 if arch.startswith("deepseek4") else rnd.choice([1, 2])); u("expert_group_scale", 1.0); u("experts_per_group", 1)
        u("expert_weights_scale", rnd.choice([1.0, 2.5])); u("expert_weights_norm", rnd.random() < 0.7)
    u("posnet.embedding_length", H); u("posnet.block_count", L); u("convnext.embedding_length", H); u("convnext.block_count", L)
    for n in ("alpha_n", "alpha_p", "beta"): k[f"xielu.{n}"] = [1.0] * L
    k["xielu.eps"] = [1e-7] * L
    qn = arch in ("qwen3next", "qwen35", "qwen35moe", "qwen4exp")
    u("ssm.inner_size", 128 * nh if qn else 2 * H); u("ssm.conv_kernel", 4); u("ssm.state_size", 128); u("ssm.time_step_rank", nh if qn or arch in ("jamba", "mamba") else 2 * H // 64); u("ssm.group_count", 0 if arch == "plamo2" else nh // 2 if qn else 2)
    if arch == "mamba2" or arch == "granitehybrid" or arch.startswith("nemotron_h") or arch == "falcon-h1": u("ssm.group_count", rnd.choice([1, 2]))
    if arch in ("mamba", "jamba"): u("ssm.state_size", 16)
    u("kda.head_dim", 128); u("kda.safe_gate", True); u("kda.gate_lower_bound", -5.0)
    if arch == "bailingmoe3": u("swiglu_clamp_exp", [0.0] + [4.0] * (L - 1)); u("swiglu_clamp_shexp", [0.0] + [5.0] * (L - 1))
    u("wkv.head_size", 64); u("shortconv.l_cache", 3); u("residual_scale", 3.5); u("embedding_scale", rnd.choice([1.0, 12.0])); u("attn_res.block_size", 12); u("activation.situ_beta", 4.0); u("activation.situ_linear_beta", 25.0)
    for n in ("decay", "iclr", "value_residual_mix", "gate"): u(f"attention.{n}_lora_rank", 64)
    u("token_shift_count", 1 if arch in ("rwkv6qwen2", "arwkv7") else 2); u("rope.freq_base", 10000.0)
    # as published: Granite 4 H has no positions, Qwen3-VL gives images to three layers, GLM-4.5's positions are plain
    if arch == "granitehybrid": u("rope.scaling.finetuned", False)
    if arch in ("qwen3vl", "qwen3vlmoe"): u("n_deepstack_layers", 3)
    if arch == "glm4moe": del k["glm4moe.rope.dimension_sections"]
    u("rope.freq_base_spatial", 10000.0); u("tokenizer.ggml.token_type_count", 2)
    return k
MOE_ONLY = "qwen3moe qwen2moe qwen3vlmoe qwen35moe qwen3next mixtral glm4moe glm-dsa minimax-m2 minimax-m3 gpt-oss dots1 arctic grok dbrx olmoe phimoe deepseek deepseek2 deepseek32 deepseek4 deepseek41 llama4 granitemoe ernie4_5-moe hunyuan-moe bailingmoe bailingmoe2 bailingmoe3 mimo2 step35 grovemoe afmoe llada-moe nemotron_h_moe lfm2moe exaone-moe smallthinker kimi-linear kimi-k3 laguna hy_v3 hy_v4 cohere2moe nomic-bert-moe qwen4exp glm5-next dots3note mistral4 mistral-large4 maple mellum rnd1 flint minimax-01".split()

def write_meta(path, arch, k):
    w = gguf.GGUFWriter(path, arch, use_temp_file=False)
    for key, v in k.items():
        if isinstance(v, tuple): w.add_key_value(key, v[1], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT64)
        elif isinstance(v, bool): w.add_bool(key, v)
        elif isinstance(v, int): w.add_uint32(key, v)
        elif isinstance(v, float): w.add_float32(key, v)
        elif isinstance(v[0], bool): w.add_key_value(key, v, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.BOOL)
        elif isinstance(v[0], int): w.add_key_value(key, v, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT32)
        else: w.add_key_value(key, v, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.FLOAT32)
    w.add_string("tokenizer.ggml.model", "no_vocab")
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_ti_data_to_file(); w.close()

def job(rnd):
    seq = rnd.choice([1, 1, 1, 1, 2, 4]); ub = rnd.choice([128, 256, 512, 512, 512, 1024, 2048]); n = rnd.choice([4096, 8192, 16384, 32768, rnd.randint(2048, 60000)])
    fa = rnd.random() < 0.85
    t = rnd.choice(["f16", "f16", "f16", "q8_0", "q4_0"]) if fa else "f16"
    return f"{n} {ub} {max(2048, ub)} {seq} {2 if fa else 0} {t} {t} {rnd.choice([0, seq, seq])} {int(seq > 1 and rnd.random() < 0.4)} {int(rnd.random() < 0.1)}"

def probe(memprobe, path, jobs):
    p = subprocess.run([memprobe, path], input="\n".join(jobs) + "\n", capture_output=True, text=True)
    rows = [json.loads(l) for l in p.stdout.splitlines() if l.startswith("{")]
    return rows, p.stderr[-300:]

def row(name, arch, job, d, version):
    if "error" in d: return None
    n_ctx, ub, nb, seq, fa, tk, tv, no, uni, sf = job.split()
    gpu, host = d["bufs"].get("CUDA0", [0, 0, 0]), [0, 0, 0]
    for b, v in d["bufs"].items():
        if b != "CUDA0": host = [x + y for x, y in zip(host, v)]
    lines = " ".join(d["lines"])
    # `auto` keeps flash attention only where the GPU runs it
    if fa == "2": fa = "0" if re.search(r"lash [Aa]ttention.*(not supported|set to disabled)", lines) or arch == "grok" else "1"
    splits = re.search(r"splits += +(\d+)", lines)
    return [name, arch, n_ctx, ub, nb, seq, uni, sf, fa, tk, tv, no, gpu[0], host[0], gpu[1], gpu[2], host[2], splits.group(1) if splits else "", version]

def compact(tensors):
    """tensors of layers with equal lists once: {"blk": {"0-3": [...]}, "": [...]}"""
    layers, rest = {}, []
    for n, t, d in tensors:
        while len(d) > 1 and d[-1] == 1: d = d[:-1]
        m = re.match(r"blk\.(\d+)\.(.*)", n)
        (layers.setdefault(int(m.group(1)), []) if m else rest).append([m.group(2) if m else n, t, d])
    out = {}
    for i in sorted(layers): out.setdefault(json.dumps(layers[i]), []).append(i)
    return {"rest": rest, "layers": [[ix, json.loads(l)] for l, ix in out.items()]}

if __name__ == "__main__":
    work, seed, per, n_jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    args = sys.argv[5:]; only = args[args.index("--") + 1:] if "--" in args else None
    versions = dict(a.split("=") for a in (args[:args.index("--")] if only is not None else args))
    first = next(iter(versions.values()))
    os.makedirs(work, exist_ok=True)
    here = os.environ.get("OUT", os.path.dirname(os.path.abspath(__file__)))
    names = only or open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "archs.txt")).read().split()
    fail = open(os.path.join(work, f"failed-{seed}.txt"), "w")
    with open(os.path.join(here, f"archs-{seed}.jsonl"), "w") as shapes, open(os.path.join(here, f"archs-{seed}.csv"), "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(COLS)
        for arch in names:
            for i in range(per):
                rnd = random.Random(f"{seed} {arch} {i}")
                k = keys(arch, rnd); name = f"{arch}-{seed}-{i}"
                meta, path = os.path.join(work, "meta.gguf"), os.path.join(work, "model.gguf")
                write_meta(meta, arch, k)
                kinds = str(rnd.randint(0, 99))
                p = subprocess.run([first, "--skeleton", meta, path, kinds], capture_output=True, text=True)
                # without biases, unless the architecture cannot do without some
                if p.returncode == 0 and subprocess.run([first, path], input="", capture_output=True).returncode:
                    p = subprocess.run([first, "--skeleton", meta, path, kinds, "biases"], capture_output=True, text=True)
                if p.returncode or not p.stdout.startswith("["): print(name, "skeleton", p.stderr[-300:], file=fail, flush=True); continue
                tensors = json.loads(p.stdout)
                jobs = [job(rnd) for _ in range(n_jobs)]
                rows = []
                for version, memprobe in versions.items():
                    answers, err = probe(memprobe, path, jobs)
                    if len(answers) < len(jobs): print(name, version, "probe", answers[-1:] if answers and "error" in answers[-1] else "", err, file=fail, flush=True)
                    for j, d in zip(jobs, answers):
                        r = row(name, arch, j, d, version)
                        if r: rows.append(r)
                        else: print(name, version, j, d, file=fail, flush=True)
                if rows:
                    meta_kept = {key.split(".", 1)[1] if key.startswith(arch + ".") else key: (v[1] if isinstance(v, tuple) else v) for key, v in k.items()}
                    print(json.dumps({"name": name, "arch": arch, "keys": meta_kept, **compact(tensors)}, separators=(",", ":")), file=shapes, flush=True)
                    w.writerows(rows); f.flush()
