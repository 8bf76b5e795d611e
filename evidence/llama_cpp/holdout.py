#!/usr/bin/env python3
"""Random context parameters on models that the matrix does not contain, against the real library.   usage: holdout.py MEMPROBE WORKDIR [JOBS_PER_MODEL] [SEED]"""
import csv, os, random, sys
import shapes, matrix, ggml_sim, mixture
from shapes import M
EXTRA = {
 "Qwen2.5-1.5B": M("qwen2", 28, 1536, 12, 2, 128, 8960, 151936, 32768, tied=1, qkvb=1),
 "Qwen2.5-72B": M("qwen2", 80, 8192, 64, 8, 128, 29568, 152064, 32768, qkvb=1),
 "Qwen3-1.7B": M("qwen3", 28, 2048, 16, 8, 128, 6144, 151936, 40960, tied=1, qkn=1),
 "Qwen3-235B-A22B": M("qwen3moe", 94, 4096, 64, 4, 128, 12288, 151936, 40960, qkn=1, E=128, U=8, Fe=1536),
 "SmolLM2-360M": M("llama", 32, 960, 15, 5, 64, 2560, 49152, 8192, tied=1),
 "SmolLM2-1.7B": M("llama", 24, 2048, 32, 32, 64, 8192, 49152, 8192, tied=1),
 "Mistral-Small-24B": M("llama", 40, 5120, 32, 8, 128, 32768, 131072, 32768),
 "Mixtral-8x22B": M("llama", 56, 6144, 48, 8, 128, 16384, 32768, 65536, E=8, U=2, Fe=16384),
 "gemma-2b": M("gemma", 18, 2048, 8, 1, 256, 16384, 256000, 8192, tied=1),
 "Gemma-2-2B": M("gemma2", 26, 2304, 8, 4, 256, 9216, 256000, 8192, tied=1, swa=4096, post=1),
 "Gemma-2-27B": M("gemma2", 46, 4608, 32, 16, 128, 36864, 256000, 8192, tied=1, swa=4096, post=1),
 "Gemma-3-270M": M("gemma3", 18, 640, 4, 1, 256, 2048, 262144, 32768, tied=1, swa=512, post=1, qkn=1),
 "Gemma-3-12B": M("gemma3", 48, 3840, 16, 8, 256, 15360, 262208, 131072, tied=1, swa=1024, post=1, qkn=1),
 "Phi-3-medium": M("phi3", 40, 5120, 40, 10, 128, 17920, 32064, 4096),
 "gpt-oss-120b": M("gpt-oss", 36, 2880, 64, 8, 64, 2880, 201088, 131072, swa=128, E=128, U=4, Fe=2880),
 "Qwen3.5-2B": M("qwen35", 24, 2048, 8, 2, 256, 6144, 248320, 262144, tied=1, qkn=1, nk=16, nv=16, ds=128),
 "Qwen3.5-9B": M("qwen35", 32, 4096, 16, 4, 256, 12288, 248320, 262144, qkn=1, nk=16, nv=32, ds=128),
}
shapes.MODELS.update(EXTRA)
if __name__ == "__main__":
    memprobe, work = sys.argv[1:3]
    per = int(sys.argv[3]) if len(sys.argv) > 3 else 40
    rnd = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    tot = ok = okh = 0
    rows = []
    for name in list(EXTRA) + ["Qwen2.5-7B", "DeepSeek-V2-Lite", "GLM-4.5-Air", "Qwen3-Next-80B-A3B", "Qwen3.5-35B-A3B"]:
        m = shapes.MODELS[name]
        ft = "MXFP4" if m["arch"] == "gpt-oss" else "Q4_K_M"
        p = matrix.typed_file(memprobe, work, name, ft)
        jobs = []
        for _ in range(per):
            fa = rnd.random() < 0.7
            q = ["f16", "q8_0", "q4_0", "q5_1"]
            tk = rnd.choice(q); tv = (tk if m["arch"] == "deepseek2" else rnd.choice(q)) if fa else "f16"
            if m["arch"] == "deepseek2" and not fa: tk = "f16"
            seq = rnd.choice([1, 1, 1, 2, 3, 4, 7]); ub = rnd.choice([1, 32, 100, 128, 256, 300, 512, 1000, 1024, 2048])
            nb = max(ub, rnd.choice([512, 2048])); n = rnd.randint(300, 40000)
            no = rnd.choice([0, seq, seq, 5 * seq])
            jobs.append(f"{n} {ub} {nb} {seq} {int(fa)} {tk} {tv} {no} {rnd.randint(0, 1)} {rnd.randint(0, 1) if m.get('swa') else 0}")
        bad = []
        n_ok = 0; n_h = 0; n_all = 0
        for job, d in zip(jobs, matrix.probe(memprobe, p, jobs)):
            if "error" in d: bad.append((job, d.get("stderr", d["error"]))); continue
            last = d
            rows.append(matrix.row(name, ft, job, d, m["V"]))
            n_ctx, ub, nb, seq, fa, tk, tv, no, uni, sf = job.split()
            n_out = min(int(nb), int(n_ctx)) if no == "0" else min(int(no), int(nb))
            ub_eff = min(int(ub), int(nb), int(n_ctx))
            dev, host = ggml_sim.compute(m, int(n_ctx), ub_eff, int(seq), fa == "1", tk, tv, n_out, uni == "1", sf == "1")
            r = d["bufs"]["CUDA0"][2], d["bufs"]["CUDA_Host"][2]
            n_all += 1; n_ok += dev == r[0]; n_h += host == r[1]
            if (dev, host) != r: bad.append((job, dev, r[0], host - r[1]))
        w = mixture.weights(m, {n: ("MXFP4" if "_exps.weight" in n else "F16" if q else "F32") for n, s, q in shapes.tensors(m)} if ft == "MXFP4" else mixture.types(m, ft))
        print(f"{name:20s} jobs {n_all:3d} device exact {n_ok:3d} host exact {n_h:3d} weights {'exact' if w[0] == last['bufs']['CUDA0'][0] else w[0] - last['bufs']['CUDA0'][0]}", *bad[:3])
        tot += n_all; ok += n_ok; okh += n_h
    print("all", tot, ok, okh)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_cpp_holdout.csv"), "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(matrix.COLS); w.writerows(rows)
