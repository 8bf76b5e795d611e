#!/usr/bin/env python3
"""Takes every measurement that needs an NVIDIA GPU, the one worth most first; what is done is not done again.

    take.py [--budget SECONDS] [--out FOLDER] [--device N] [--model FILE] [--only STEP ...]
    take.py --list                 the steps in order, with the seconds that each is given
    take.py --device cpu           a rehearsal: what makes sense without a GPU, at small sizes
    take.py --virtual CARD         a rehearsal on a virtual GPU: allocations, and no time (`vramplan rehearse`)

Runs in the folder that `scripts/build-cuda` fills, or with the programs in $VRAMPLAN_BIN. Needs Python 3.8, bash and
a driver for CUDA 13. A step ends within its seconds, or is ended: it leaves a log, its records and a mark, and a later
call goes on behind it. With a budget, a step begins only where its seconds are left; smaller ones behind it still may.
$PYTHON has PyTorch and the packages of seed-stack.txt, where they are measured; $PEERS names a script that measures
peers.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The folder of a kit has programs and scripts side by side.
IN_KIT = (HERE / "commit").is_file()
ROOT = HERE if IN_KIT else HERE.parent.parent
# `calibrate` and `observe`: out of memory, and outside of the plan's bounds, are findings.
FINDINGS = (0, 3, 4)


class Skip(Exception):
    """Why a step cannot run here."""


@dataclasses.dataclass
class Run:
    """One program of a step."""

    command: list
    fine: tuple = (0,)
    environment: dict = dataclasses.field(default_factory=dict)
    keep: str = ""  # the file in the output folder that gets its standard output


@dataclasses.dataclass
class Step:
    """What is measured, and the seconds that it is given."""

    name: str
    seconds: int
    runs: object  # of a `Place`: the programs, one after the other
    about: str


@dataclasses.dataclass
class Place:
    """Where measurements are taken."""

    device: str
    out: Path
    bin: Path
    model: Path
    card: str  # of a virtual GPU; empty on a real one

    @property
    def on_cpu(self):
        return self.device == "cpu"

    @property
    def on_card(self):
        """A card whose kernels run."""
        return not self.on_cpu and not self.card

    @property
    def python(self):
        return os.environ.get("PYTHON", "python3")

    def program(self, name):
        path = self.bin / name
        if not os.access(path, os.X_OK):
            raise Skip(f"there is no `{name}` in {self.bin}")
        return str(path)

    def script(self, *names):
        """A script of the kit, or of the repository."""
        places = [HERE / names[-1], ROOT / "scripts" / names[-1]]
        return str(next((path for path in places if path.is_file()), places[0]))

    def has(self, *packages):
        imports = "import " + ", ".join(packages)
        try:
            failed = subprocess.run([self.python, "-c", imports], capture_output=True, check=False).returncode
        except OSError:
            failed = True
        if failed:
            raise Skip(f"`{imports}` fails with {self.python}: set PYTHON")

    def virtually(self, command):
        """The command on a virtual GPU, where that is asked for."""
        if not self.card:
            return command
        return [self.program("vramplan"), "rehearse", "--gpu", self.card, "--", *command]


# --- what is measured -------------------------------------------------------------------------------


def machine(place):
    runs = [Run(["uname", "-a"]), Run([place.program("vramplan"), "--version"])]
    if place.on_card:
        runs.append(Run(["nvidia-smi", "-q"], keep="nvidia-smi.txt"))
    return runs


def card(place, *questions):
    if place.on_cpu:
        raise Skip("a card is asked")
    record = place.out / f"card-{questions[0] if questions else 'all'}.jsonl"
    asked = [place.python, place.script("kit", "card.py"), *questions, "--write", str(record)]
    return [Run(place.virtually(asked))]


def card_driver(place):
    return card(place, "machine", "context", "context_eager", "second_process", "malloc", "pool", "virtual")


def card_objects(place):
    return card(place, "objects", "graph", "blas", "others")


def card_torch(place):
    place.has("torch")
    return card(place, "torch_first")


def card_virtual(place):
    """The same questions on a virtual card beside the real one's answers."""
    if not place.on_card:
        raise Skip("the real card's answers are compared")
    record = place.out / "card-virtual.jsonl"
    asked = [place.python, place.script("kit", "card.py"), "--write", str(record)]
    name = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "-i", place.device],
        capture_output=True,
        text=True,
        check=False,
    )
    gpu = name.stdout.strip().replace("NVIDIA ", "") or "H100"
    return [Run([place.program("vramplan"), "rehearse", "--gpu", gpu, "--", *asked])]


def doctor(place):
    # Without a GPU it complains that there is none.
    return [Run([place.program("vramplan"), "doctor"], fine=(0, 1) if place.on_cpu else (0,))]


def tests(place, filters, *more):
    if not place.on_card:
        raise Skip("kernels are emulated by `cargo test`")
    run = [place.program("test-engine"), *filters, "--ignored", "--test-threads", "1", "--nocapture", *more]
    return [Run(run, environment={"XDG_CACHE_HOME": str(place.out / "cache")})]


def kernel_tests(place):
    return tests(place, ["kernels::"])


def engine_tests(place):
    if place.on_cpu:
        run = [place.program("test-engine"), "engine::families::", "--test-threads", "1"]
        return [Run(run, environment={"VRAMPLAN_OFFLINE": "1"})]
    model_in_cache(place)
    return tests(place, ["engine::real::on_gpu"])


def model_in_cache(place):
    """Where the tests look for the real model."""
    if place.model.is_file():
        folder = place.out / "cache" / "vramplan" / "tests"
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
        if not link.exists():
            link.symlink_to(place.model.resolve())


def sanitized(place, tool, of):
    if not place.on_card or not shutil.which("compute-sanitizer"):
        raise Skip("a card and compute-sanitizer are needed")
    test = [place.program("test-engine"), f"kernels::{of}", "--ignored", "--test-threads", "1"]
    return [Run(["compute-sanitizer", "--tool", tool, "--error-exitcode", "1", *test])]


def kernels(place, model):
    if not place.on_card:
        raise Skip("kernels are timed on a GPU")
    record = str(place.out / f"kernels-{model}.jsonl")
    return [Run([place.program("kernel_bench"), "--device", place.device, "--model", model, "--json", record])]


def calibrate(place, name, *flags):
    """Plans, runs and measures; the recording and the report are the evidence."""
    files = ["--record", str(place.out / f"{name}.jsonl"), "--report", str(place.out / f"{name}.md")]
    worker = {"VRAMPLAN_WORKER": place.program("vramplan-worker")}
    command = [place.program("vramplan"), "calibrate", "--device", "0" if place.card else place.device]
    return Run(place.virtually([*command, *files, "--format", "markdown", *flags]), FINDINGS, worker)


L4 = "23034MiB"
# What the CPU runs in seconds, the same way.
SMALL = ["--model", "smollm2-135m", "--weights", "q4_k_m", "--system-tokens", "64", "--context", "512"]
SMALL += ["--prefill-chunk", "64", "--decode-tokens", "4", "--capacity", "640MiB"]
FOURTEEN = ["--model", "qwen2.5-14b", "--weights", "q4_k_m"]


# Where the cache of a 14B ends at some 20,000 tokens, which are prefilled in seconds.
SMALLER = "11776MiB"


def size_of(place, which):
    """Tokens of a tier of the plan on that capacity, or a little more than its hard maximum."""
    asked = [place.program("vramplan"), "budget", "--gpu", SMALLER, *FOURTEEN, "--json"]
    plan = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    found = plan["recommendation"]
    if which == "past":
        return found["hard_max_cache_tokens"] * 21 // 20
    return next(tier["max_cache_tokens"] for tier in found["tiers"] if tier["name"] == which)


def fourteen(place):
    """A 14B on what an L4 has, at the recommended size; the constants that follow from it."""
    if place.on_cpu:
        return [calibrate(place, "calibrate-14b", "--synthetic", *SMALL)]
    written = ["--write", str(place.out / "profiles")]
    return [calibrate(place, "calibrate-14b", "--synthetic", *FOURTEEN, "--capacity", L4, *written)]


def fourteen_step(place, which):
    """One size of the cache: the first two have to run, the last must not."""
    if place.on_cpu:
        raise Skip("`calibrate_14b` is its rehearsal")
    tokens = ["--cache-tokens", str(size_of(place, which)), "--decode-tokens", "4"]
    return [calibrate(place, f"steps-14b-{which}", "--synthetic", *FOURTEEN, "--capacity", SMALLER, *tokens)]


def synthetic(place, model, chunk):
    if place.on_cpu:
        raise Skip("models of this size are for GPUs")
    flags = ["--synthetic", "--model", model, "--weights", "q4_k_m", "--prefill-chunk", str(chunk)]
    return [calibrate(place, f"calibrate-{model}-{chunk}", *flags)]


def real_model(place):
    if not place.model.is_file():
        raise Skip(f"there is no {place.model}: name one with --model")
    return str(place.model)


def calibrate_real(place):
    small = ["--decode-tokens", "4"] if place.on_cpu else []
    flags = ["--model", real_model(place), "--system-tokens", "64", "--cache-tokens", "512", "--prefill-chunk", "128"]
    return [calibrate(place, "calibrate-real", *flags, *small)]


def quality(place):
    text = next((path for path in (HERE / "quality.txt", ROOT / "LICENSE-APACHE") if path.is_file()), None)
    if text is None or place.card:
        raise Skip("a text longer than the cache, and real values, are needed")
    tokens = "1024"
    if place.on_cpu:
        short = place.out / "quality-short.txt"
        short.write_bytes(text.read_bytes()[:6000])
        text, tokens = short, "256"
    flags = ["--model", real_model(place), "--system-tokens", "0", "--cache-tokens", tokens, "--prefill-chunk", "64"]
    return [calibrate(place, "quality", *flags, "--quality", str(text), "--decode-tokens", "4")]


def soak(place, name, *flags):
    if place.card:
        raise Skip("a virtual GPU has no time")
    command = [place.program("soak"), real_model(place), "--device", place.device, *flags]
    return [Run(command, keep=f"{name}.jsonl")]


def loads(place):
    return soak(place, "loads", "--loads", "3" if place.on_cpu else "50", "--tokens", "1")


def long_soak(place):
    return soak(place, "soak", "--loads", "1", "--tokens", "40" if place.on_cpu else "20000")


def seed(place, run):
    """A run of the stack of the seed's table, beside its plan; it goes on where it ended."""
    place.has("torch", "transformers", "bitsandbytes", *(["hqq"] if "hqq" in run else []))
    if place.card:
        raise Skip("`scripts/seed-stack.sh` under `vramplan rehearse` is a table of its own")
    root = HERE / "seed" if IN_KIT else ROOT
    script = [str(root / "scripts" / "seed-stack.sh"), str(place.out / "seed-stack"), "--only", run]
    small = ["--device", "cpu", "--small"] if place.on_cpu else []
    return [Run(["bash", *script, *small], environment={"VRAMPLAN": place.program("vramplan")})]


VLLM = """
import sys, vllm
engine = vllm.LLM(sys.argv[1], load_format="dummy", max_model_len=4096, enforce_eager=sys.argv[2] == "eager")
print(len(engine.generate([{"prompt_token_ids": [1, 2, 3]}], vllm.SamplingParams(max_tokens=8))[0].outputs))
"""


def vllm(place, how):
    """A start of vLLM with a model of holes: the first, one that finds its caches, one without graphs."""
    place.has("vllm")
    if place.on_cpu:
        raise Skip("vLLM's start on a card is measured")
    command, folder = place.program("vramplan"), str(place.out / "qwen2.5-0.5b")
    record = ["--record", str(place.out / f"vllm-{how}.jsonl"), "--report", str(place.out / f"vllm-{how}.md")]
    made = [] if Path(folder).exists() else [Run([command, "sparse", "qwen2.5-0.5b", folder])]
    started = [place.python, "-c", VLLM, folder, how]
    observed = [command, "observe", *record, "--", *started] if place.on_card else place.virtually(started)
    caches = {"VLLM_CACHE_ROOT": str(place.out / "vllm-cache"), "VLLM_LOGGING_LEVEL": "DEBUG"}
    return [*made, Run(observed, FINDINGS, caches)]


def peers(place):
    script = os.environ.get("PEERS")
    if not place.on_card or not script:
        raise Skip("PEERS names no script")
    return [Run([place.python, script])]


def with_(function, *arguments):
    return lambda place: function(place, *arguments)


STEPS = [
    Step("machine", 10, machine, "which card, driver, programs"),
    Step("card_driver", 60, card_driver, "contexts, modules, the units of allocations, pools"),
    Step("doctor", 10, doctor, "what vramplan sees"),
    Step("kernel_tests", 90, kernel_tests, "our kernels against the CPU's reference, every head layout"),
    Step("calibrate_14b", 90, fourteen, "a 14B on an L4's capacity; the constants that follow"),
    Step("kernels_14b", 60, with_(kernels, "qwen2.5-14b"), "attention with scores, eviction, chunks"),
    Step("seed_pytorch", 30, with_(seed, "pytorch"), "PyTorch's allocator"),
    Step("seed_sdpa", 90, with_(seed, "sdpa"), "the seed's stack"),
    Step("card_objects", 40, card_objects, "streams, graphs, cuBLAS, cuDNN"),
    Step("card_torch", 60, card_torch, "PyTorch's first tensor, products, attention"),
    Step("card_virtual", 60, card_virtual, "the same questions on a virtual card"),
    Step("seed_eager", 90, with_(seed, "eager"), "the seed's stack, eager attention"),
    *(
        Step(f"steps_14b_{which}", 90, with_(fourteen_step, which), "a size of the cache that runs, or must not")
        for which in ("conservative", "balanced", "aggressive", "past")
    ),
    Step("engine_tests", 60, engine_tests, "a real model: the CPU's text"),
    Step("calibrate_real", 60, calibrate_real, "a real model, measured"),
    Step("vllm_cold", 90, with_(vllm, "cold"), "vLLM's first start"),
    Step("vllm_warm", 60, with_(vllm, "warm"), "vLLM's second start"),
    Step("vllm_eager", 60, with_(vllm, "eager"), "vLLM without graphs"),
    Step("seed_eager_hqq8", 90, with_(seed, "eager-hqq8"), "the seed's stack with its 8-bit cache"),
    Step("seed_sdpa_hqq8", 90, with_(seed, "sdpa-hqq8"), "the same, sdpa"),
    Step("seed_sdpa_double_quant", 90, with_(seed, "sdpa-double-quant"), "the same, NF4 twice"),
    Step("kernels_8b", 60, with_(kernels, "llama-3.1-8b"), "attention of an 8B"),
    *(
        Step(f"calibrate_{model}_{chunk}".replace(".", "_"), 60, with_(synthetic, model, chunk), "plan against card")
        for model in ("llama-3.1-8b", "qwen2.5-7b", "qwen3-8b")
        for chunk in (512, 128, 2048)
    ),
    Step("quality", 90, quality, "what eviction loses"),
    Step("memcheck_ops", 90, with_(sanitized, "memcheck", "ops::on_gpu"), "memory that is not theirs"),
    Step("memcheck_look", 90, with_(sanitized, "memcheck", "look::on_gpu"), "the same, capture"),
    Step("memcheck_steps", 90, with_(sanitized, "memcheck", "steps::on_gpu::chunks"), "the same, chunks"),
    Step("racecheck_ops", 90, with_(sanitized, "racecheck", "ops::on_gpu"), "races"),
    Step("racecheck_steps", 90, with_(sanitized, "racecheck", "steps::on_gpu::chunks"), "races of chunks"),
    Step("peers", 90, peers, "peers on the same work"),
    Step("loads", 90, loads, "memory flat over 50 loads"),
    Step("soak", 90, long_soak, "memory flat over 20,000 tokens"),
]


# --- taking them ------------------------------------------------------------------------------------


def ended(run, place, log, seconds):
    """Runs one program of a step; its status, and 124 where its time was over."""
    log.write("$ " + " ".join(str(part) for part in run.command) + "\n")
    log.flush()
    keep = open(place.out / run.keep, "w", encoding="utf-8") if run.keep else log
    environment = {**os.environ, **run.environment}
    child = subprocess.Popen(
        run.command, stdout=keep, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    try:
        status = child.wait(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        status = 124
    return 0 if status in run.fine else status


def taken(step, place, left):
    """Takes one step; what is said of it."""
    mark = place.out / "state" / step.name
    if mark.with_suffix(".done").exists():
        return "done before"
    if left is not None and left < step.seconds:
        return f"left out: it is given {step.seconds} s, and {max(0, int(left))} s are left"
    mark.with_suffix(".failed").unlink(missing_ok=True)
    begun = time.monotonic()
    with open(place.out / "logs" / f"{step.name}.log", "w", encoding="utf-8") as log:
        try:
            for run in step.runs(place):
                status = ended(run, place, log, step.seconds - (time.monotonic() - begun))
                if status:
                    break
            else:
                status = 0
        except Skip as why:
            return f"skipped: {why}"
        except (OSError, subprocess.CalledProcessError, KeyError, ValueError) as error:
            log.write(f"{type(error).__name__}: {error}\n")
            status = 1
    took = time.monotonic() - begun
    if status == 0:
        mark.with_suffix(".done").write_text(f"{took:.1f}\n")
        return f"done in {took:.1f} s"
    mark.with_suffix(".failed").write_text(f"status {status} after {took:.1f} s\n")
    return "took too long" if status == 124 else f"FAILED: {place.out / 'logs' / step.name}.log"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="what all of it may take")
    parser.add_argument("--out", type=Path, default=Path("evidence"), help="where records go")
    parser.add_argument("--device", default="0", help="which GPU, as NVML counts them, or `cpu`")
    parser.add_argument("--virtual", default="", metavar="CARD", help="a card that is not there")
    parser.add_argument("--model", type=Path, help="a small real model, GGUF")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps")
    parser.add_argument("--list", action="store_true", help="name the steps")
    given = parser.parse_args()
    if given.list:
        for step in STEPS:
            print(f"{step.name:<28} {step.seconds:>4} s  {step.about}")
        return 0
    unknown = set(given.only or ()) - {step.name for step in STEPS}
    if unknown:
        parser.error(f"there is no step `{sorted(unknown)[0]}`: see --list")
    folder = Path(os.environ.get("VRAMPLAN_BIN", HERE)).resolve()
    model = given.model or folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    place = Place(given.device, given.out.resolve(), folder, model, given.virtual)
    for name in ("state", "logs"):
        (place.out / name).mkdir(parents=True, exist_ok=True)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    begun, failed = time.monotonic(), 0
    for step in STEPS:
        if given.only and step.name not in given.only:
            continue
        left = given.budget and given.budget - (time.monotonic() - begun)
        said = taken(step, place, left)
        failed += (place.out / "state" / f"{step.name}.failed").exists()
        print(f"{step.name:<28} {said}", flush=True)
    print(f"{failed} failed; {time.monotonic() - begun:.0f} s; records in {place.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
