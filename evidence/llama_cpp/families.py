#!/usr/bin/env python3
"""The families that are not in the matrix, over a few context parameters; writes llama_cpp_families.csv.   usage: families.py MEMPROBE WORKDIR"""
import csv, os, sys
import shapes, matrix
if __name__ == "__main__":
    memprobe, work = sys.argv[1:3]
    rows = []
    for name in sys.argv[3:] or shapes.FAMILIES:
        m = shapes.MODELS[name]
        path = matrix.typed_file(memprobe, work, name, "Q4_K_M")
        jobs = []
        for n, ub, seq, fa, tk, tv, out, uni in [(4096, 512, 1, 1, "f16", "f16", 1, 0), (4096, 512, 1, 1, "f16", "f16", 0, 0), (4096, 512, 1, 0, "f16", "f16", 1, 0), (4096, 512, 1, 0, "f16", "f16", 0, 0),
            (16384, 2048, 1, 1, "f16", "f16", 1, 0), (16384, 64, 1, 1, "f16", "f16", 1, 0), (16384, 512, 1, 1, "q8_0", "q8_0", 1, 0), (16384, 512, 4, 1, "q8_0", "q8_0", 4, 0), (16384, 512, 4, 0, "f16", "f16", 4, 0),
            (16384, 512, 4, 1, "f16", "f16", 4, 1), (7000, 300, 3, 1, "q4_0", "q4_0", 3, 0), (16384, 512, 1, 1, "bf16", "bf16", 1, 0), (16384, 512, 1, 1, "f32", "f32", 1, 0), (8192, 1, 1, 1, "q8_0", "q8_0", 1, 0),
            (8192, 2, 1, 1, "q8_0", "q8_0", 1, 0), (8192, 1024, 1, 1, "q8_0", "f16", 1, 0)]:
            if m["arch"] == "deepseek2" and tk != tv: continue
            jobs.append(f"{n} {ub} {max(2048, ub)} {seq} {fa} {tk} {tv} {out} {uni} 0")
        for job, d in zip(jobs, matrix.probe(memprobe, path, jobs)):
            r = matrix.row(name, "Q4_K_M", job, d, m["V"])
            if r: rows.append(r)
            else: print(name, job, d.get("stderr", d["error"])[-300:])
        print(name, flush=True)
    for r in rows if sys.argv[3:] else []: print(*r, sep=",")
    if sys.argv[3:]: sys.exit()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_cpp_families.csv"), "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(matrix.COLS); w.writerows(rows)
