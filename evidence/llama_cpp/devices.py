#!/usr/bin/env python3
"""Several GPUs: buffers of each device under a layer split; writes llama_cpp_devices.csv.   usage: devices.py MEMPROBE WORKDIR [MODEL ...]"""
import csv, os, sys
import shapes, matrix
COLS = ("model,file_type,split,free_mib,n_ctx,n_ubatch,n_batch,n_seq_max,kv_unified,flash_attn,type_k,type_v,n_outputs_max,"
  "weights_bytes,kv_bytes,compute_bytes,compute_host_bytes,llama_cpp_version").split(",")
MODELS = ["Qwen2.5-0.5B", "Qwen2.5-14B", "Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-8B", "Qwen3-30B-A3B", "Mixtral-8x7B", "gemma-7b", "Gemma-2-9B", "Gemma-3-27B", "Phi-4", "gpt-oss-20b",
  "DeepSeek-V2-Lite", "GLM-4.5-Air", "Qwen3.5-27B", "Qwen3.5-35B-A3B", "Qwen3-Next-80B-A3B", "Granite-3.1-8B", "OLMo-2-7B", "Command-R", "StarCoder2-15B", "Qwen1.5-MoE-A2.7B", "DeepSeek-V3",
  "Gemma-4-31B", "Granite-4.0-H-1B", "Qwen2.5-VL-7B", "Qwen3-VL-8B"]
# two and four equal cards, an L4 beside a 3090, a large card beside a small one, three of different sizes
FREE = [[22000, 22000], [22000] * 4, [22048, 23570], [80640, 14600], [11000, 40000, 22000]]
JOBS = [(8192, 512, 1, 1, "f16", "f16", 0, 0), (8192, 512, 1, 1, "q8_0", "q8_0", 1, 0), (16384, 512, 4, 1, "f16", "f16", 4, 0), (16384, 512, 4, 1, "f16", "f16", 0, 1),
  (4096, 2048, 1, 0, "f16", "f16", 0, 0), (7000, 100, 3, 0, "f16", "f16", 3, 0), (8192, 64, 1, 1, "q4_0", "q4_0", 0, 0)]

if __name__ == "__main__":
    memprobe, work = sys.argv[1:3]
    os.makedirs(work, exist_ok=True)
    rows = []
    for name in sys.argv[3:] or MODELS:
        ftype = "MXFP4" if shapes.MODELS[name]["arch"] == "gpt-oss" else "Q4_K_M"
        path = matrix.typed_file(memprobe, work, name, ftype)
        for k, free in enumerate(FREE):
            # every job on two equal cards, two of them elsewhere
            jobs = JOBS if k == 0 else [JOBS[(k + i * 3) % len(JOBS)] for i in range(2)]
            for split in ("layer", "row") if k == 0 else ("layer",):
                some = jobs if split == "layer" else jobs[:2]
                lines = [f"{n} {ub} {max(2048, ub)} {seq} {fa} {tk} {tv} {out} {uni} 0" for n, ub, seq, fa, tk, tv, out, uni in some]
                env = dict(MEMPROBE_GPUS=str(len(free)), MEMPROBE_FREE=",".join(map(str, free)), MEMPROBE_SPLIT=split)
                for line, d in zip(lines, matrix.probe(memprobe, path, lines, env)):
                    if "error" in d: print(name, split, line, d.get("stderr", d["error"])[-300:]); continue
                    n, ub, nb, seq, fa, tk, tv, out, uni, _ = line.split()
                    nb = str(min(int(nb), int(n))); ub = str(min(int(ub), int(nb)))
                    devices = [d["bufs"].get(f"CUDA{i}", [0, 0, 0]) for i in range(len(free))]
                    of = lambda part: ";".join(str(dev[part]) for dev in devices)
                    rows.append([name, ftype, split, ";".join(map(str, free)), n, ub, nb, seq, uni, "on" if fa == "1" else "off", tk, tv, out,
                        of(0), of(1), of(2), d["bufs"].get("CUDA_Host", [0, 0, 0])[2], d["version"]])
        print(name, flush=True)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_cpp_devices.csv"), "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(COLS); w.writerows(rows)
