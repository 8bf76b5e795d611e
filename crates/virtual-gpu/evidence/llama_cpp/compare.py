#!/usr/bin/env python3
"""Rehearses recorded jobs with a real CUDA build of llama.cpp and compares what it asks of the card with the recording, to the byte.
usage: compare.py WORKDIR REHEARSE RECORDED.csv OUT.csv [--models A,B] [--every N] [--skip N] [--limit N]
WORKDIR: of fetch.sh. REHEARSE: the example `rehearse`. RECORDED: llama_cpp.csv or llama_cpp_devices.csv, with shapes.py and quantize.py beside it."""
import argparse, csv, json, os, re, subprocess, sys, time

FTYPE = {"Q4_K_M": 15, "F16": 1, "Q8_0": 7, "Q4_0": 2}
LINE = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +- \[.*?\], type = +(\S+?),? +size = +\S+ MiB(?: -> +\S+ MiB \((\S+)\))?")
BIG = 1 << 20   # smaller requests share a unit of the driver's and are not told one by one

def card(free_mib):
    return dict(name="NVIDIA GeForce RTX 4090", total=free_mib << 20, compute_capability=[8, 9], sm_count=128)

class Bench:
    def __init__(self, args):
        self.work, self.rehearse = os.path.abspath(args.work), os.path.abspath(args.rehearse)
        sys.path[:0] = [os.path.join(self.work, "py"), os.path.dirname(os.path.abspath(args.recorded))]
        import shapes, gguf
        self.shapes, self.gguf = shapes, gguf
        self.env = dict(os.environ, BACKENDS=os.path.join(self.work, "package/bins/linux-x64-cuda"))

    def model(self, name, file_type):
        """A file of holes with the tensors' types as llama.cpp itself would quantize them."""
        path = os.path.join(self.work, f"{name}.{file_type}.gguf")
        if os.path.exists(path): return path
        plain = os.path.join(self.work, f"{name}.f16.gguf")
        if not os.path.exists(plain): self.shapes.write(name, plain)
        if file_type == "F16": return plain
        if file_type == "MXFP4":
            types = {n: "MXFP4" for n, s, m in self.shapes.tensors(self.shapes.MODELS[name]) if "_exps.weight" in n}
        else:
            said = subprocess.run([os.path.join(self.work, "driver"), "--types", plain, str(FTYPE[file_type])], capture_output=True, text=True, env=dict(self.env, VERBOSE="1")).stderr
            known = {t.name.lower(): t.name for t in self.gguf.GGMLQuantizationType}
            types = {m[1]: known[(m[3] or m[2]).rstrip(",").lower()] for m in LINE.finditer(said)}
            assert types, said[-500:]
        self.shapes.write(name, path, types)
        return path

    def run(self, path, row, cards):
        machine = os.path.join(self.work, f"machine.{os.getpid()}.json"); events = machine + ".events"
        json.dump(dict(cards=cards, driver_version=13000), open(machine, "w"))
        flash = "1" if row["flash_attn"] == "on" else "0"
        command = [os.path.join(self.work, "driver"), path, row["n_ctx"], row["n_ubatch"], row["n_batch"], row["n_seq_max"], flash, row["type_k"], row["type_v"],
                   row["n_outputs_max"], row["kv_unified"], row.get("swa_full", "0")]
        begun = time.time()
        done = subprocess.run([self.rehearse, machine, "--events", events, "--"] + command, capture_output=True, text=True, env=self.env)
        wall = time.time() - begun
        report = json.loads(done.stdout[done.stdout.index("\n{") + 1:] if not done.stdout.startswith("{") else done.stdout)
        said = re.search(r"RESULT (.*)", done.stdout)
        asked = [0] * len(cards)
        for line in open(events):
            event = json.loads(line)
            sign = {"take": 1, "give": -1}.get(event["event"], 0)
            if sign and event["kind"] == "malloc": asked[event["card"]] += sign * event["asked"]
        for f in (machine, events): os.remove(f)
        return dict(asked=asked, said=said[1] if said else f"exit {done.returncode}: " + done.stderr[-200:], wall=wall, report=report)

def recorded(row):
    """Bytes by card."""
    if "weights_gpu_bytes" in row: return [int(row["weights_gpu_bytes"]) + int(row["kv_bytes"]) + int(row["compute_gpu_bytes"])]
    return [sum(map(int, parts)) for parts in zip(*(row[c].split(";") for c in ("weights_bytes", "kv_bytes", "compute_bytes")))]

def main():
    a = argparse.ArgumentParser(); a.add_argument("work"); a.add_argument("rehearse"); a.add_argument("recorded"); a.add_argument("out")
    a.add_argument("--models"); a.add_argument("--every", type=int, default=1); a.add_argument("--limit", type=int, default=10**9); a.add_argument("--skip", type=int, default=0); args = a.parse_args()
    bench = Bench(args)
    # The public build refuses a split by rows.
    rows = [r for r in csv.DictReader(open(args.recorded)) if (not args.models or r["model"] in args.models.split(",")) and r.get("split") != "row"]
    rows = rows[args.skip::args.every][:args.limit]
    out = csv.writer(open(args.out, "w"), lineterminator="\n")
    out.writerow("model,file_type,n_ctx,n_ubatch,n_seq_max,kv_unified,flash_attn,type_k,type_v,n_outputs_max,recorded_bytes,asked_bytes,as_recorded,ready_seconds,resident_mib,stubs".split(","))
    equal = refused = 0
    for row in rows:
        cards = [card(int(f)) for f in row["free_mib"].split(";")] if "free_mib" in row else [card(400000)]
        got = bench.run(bench.model(row["model"], row["file_type"]), row, cards)
        want = recorded(row)
        ready = re.search(r"ready in (\S+) s.*resident (\d+) MiB", got["said"])
        # The recording's stub divides layers by free memory but never runs out of it; a card does.
        fits = all(bytes <= c["total"] for bytes, c in zip(want, cards))
        same = want == got["asked"] if fits else got["report"]["refusals"] != []
        equal += same and fits; refused += same and not fits
        if bool(ready) != fits or not same: print(row["model"], got["said"], want, got["asked"], flush=True)
        out.writerow([row[c] for c in "model,file_type,n_ctx,n_ubatch,n_seq_max,kv_unified,flash_attn,type_k,type_v,n_outputs_max".split(",")]
                     + [";".join(map(str, want)), ";".join(map(str, got["asked"])), int(same)] + (list(ready.groups()) if ready else ["", ""]) + [" ".join(got["report"]["stubs"])])
    print(f"{equal + refused} of {len(rows)} as recorded: {equal} equal to the byte, {refused} refused because one card is too small")
if __name__ == "__main__": main()
