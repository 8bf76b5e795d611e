#!/usr/bin/env python3
"""Every published shape under another version of the library, over nine contexts; writes llama_cpp_newest.csv.   usage: newest.py MEMPROBE WORKDIR"""
import csv, os, sys
import shapes, matrix, holdout
JOBS = [(4096, 512, 1, 1, "f16", 1, 0), (4096, 512, 1, 1, "f16", 0, 0), (4096, 512, 1, 0, "f16", 1, 0), (16384, 2048, 1, 1, "f16", 1, 0), (16384, 512, 1, 1, "q8_0", 1, 0),
        (16384, 512, 4, 1, "q8_0", 4, 0), (16384, 512, 4, 0, "f16", 0, 0), (16384, 512, 4, 1, "f16", 4, 1), (7000, 300, 3, 1, "q4_0", 3, 0)]
if __name__ == "__main__":
    memprobe, work = sys.argv[1:3]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_cpp_newest.csv"), "w") as f:
        w = csv.writer(f, lineterminator="\n"); w.writerow(matrix.COLS)
        for name, m in shapes.MODELS.items():
            path = matrix.typed_file(memprobe, work, name, "MXFP4" if m["arch"] == "gpt-oss" else "Q4_K_M")
            jobs = [f"{n} {ub} {max(2048, ub)} {seq} {fa} {t} {t} {out} {uni} 0" for n, ub, seq, fa, t, out, uni in JOBS]
            for job, d in zip(jobs, matrix.probe(memprobe, path, jobs)):
                r = matrix.row(name, "MXFP4" if m["arch"] == "gpt-oss" else "Q4_K_M", job, d, m["V"])
                if r: w.writerow(r)
