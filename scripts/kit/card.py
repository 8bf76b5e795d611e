#!/usr/bin/env python3
"""What an NVIDIA card takes for contexts, modules, libraries, allocations, pools and graphs.

    card.py [--write FILE.jsonl] [QUESTION ...]     asks; all questions where none is named
    card.py --beside A.jsonl B.jsonl                two records side by side: a card and its virtual one
    card.py --list

Needs Python 3.8 and the driver; libraries of CUDA where they are found: on the loader's path, in /usr/local/cuda or
among Python's packages. Every question is asked in a process of its own, so that what one leaves behind is not in the
next one's figures. A line of the record is one figure: the question, what was done, and the bytes that the card had
in use before and after, as the driver (`used`) and NVML (`nvml`) say. Runs under `vramplan rehearse` too.
"""

import argparse
import ctypes as c
import glob
import json
import os
import subprocess
import sys

MIB = 1 << 20
# Two kernels that do nothing; the second has 4 MiB of the card as a variable, the third 8 KiB of stack a thread.
PTX = b""".version 7.0
.target sm_70
.address_size 64
.visible .entry nothing() { ret; }
\0"""
LARGE = b""".version 7.0
.target sm_70
.address_size 64
.visible .global .align 4 .b8 table[4194304];
.visible .entry large() { ret; }
\0"""
STACK = b""".version 7.0
.target sm_70
.address_size 64
.visible .entry stack(.param .u64 p) {
  .local .align 8 .b8 frame[8192]; .reg .b64 %r<4>; .reg .u64 %a<2>;
  ld.param.u64 %a0, [p]; cvta.to.global.u64 %a0, %a0;
  mov.u64 %r0, frame; cvt.u64.u64 %r1, %r0; st.local.u64 [%r1], %a0; ld.local.u64 %r2, [%r1];
  st.global.u64 [%a0], %r2; ret;
}
\0"""


class Refused(Exception):
    """A call that did not succeed."""


def library(*names):
    """The first of these libraries that loads."""
    folders = ["", "/usr/local/cuda/lib64/"]
    folders += [folder + "/" for path in sys.path for folder in sorted(glob.glob(path + "/nvidia/*/lib"))]
    for name in names:
        for folder in folders:
            try:
                return c.CDLL(folder + name)
            except OSError:
                pass
    raise Refused("none of " + ", ".join(names) + " is here")


def done(status, what):
    if status:
        raise Refused(f"{what}: status {status}")


class MemoryInfo(c.Structure):
    """`nvmlMemory_v2_t`."""

    _fields_ = [("version", c.c_uint)] + [(name, c.c_ulonglong) for name in ("total", "reserved", "free", "used")]


class Nvml:
    """What the driver's management library says of the first visible card; nothing where it is not there."""

    def __init__(self):
        self.device = c.c_void_p()
        try:
            self.calls = library("libnvidia-ml.so.1")
            done(self.calls.nvmlInit_v2(), "nvmlInit")
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            index = int(visible) if visible.isdigit() else 0
            done(self.calls.nvmlDeviceGetHandleByIndex_v2(index, c.byref(self.device)), "nvmlDeviceGetHandleByIndex")
        except (Refused, AttributeError):
            self.calls = None

    def memory(self):
        if self.calls is None:
            return None
        info = MemoryInfo(version=c.sizeof(MemoryInfo) | 2 << 24)
        if self.calls.nvmlDeviceGetMemoryInfo_v2(self.device, c.byref(info)):
            return None
        return {name: getattr(info, name) for name in ("total", "reserved", "free", "used")}

    def text(self, function, *before):
        out = c.create_string_buffer(96)
        call = self.calls and getattr(self.calls, function, None)
        return out.value.decode() if call and call(*before, out, 96) == 0 else None


class Card:
    """The driver, and the figures that were taken."""

    def __init__(self, question):
        self.question, self.nvml, self.driver = question, Nvml(), library("libcuda.so.1")
        self.has_context = False
        self.last = self.now()

    def call(self, name, *arguments):
        done(getattr(self.driver, name)(*arguments), name)

    def context(self):
        device, context = c.c_int(), c.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", c.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", c.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.has_context = True
        return device

    def now(self):
        """Bytes in use: as the driver says, which answers in a context only, and NVML."""
        used = None
        if self.has_context:
            free, total = c.c_size_t(), c.c_size_t()
            self.call("cuCtxSynchronize")
            self.call("cuMemGetInfo_v2", c.byref(free), c.byref(total))
            used = total.value - free.value
        memory = self.nvml.memory()
        return {"used": used, "nvml": memory and memory["used"]}

    def figure(self, what, **more):
        """Writes what changed since the last figure."""
        now, before = self.now(), self.last
        grown = {
            name: now[name] - before[name] if None not in (now[name], before[name]) else None for name in now
        }
        print(json.dumps({"question": self.question, "what": what, **more, "now": now, "grown": grown}), flush=True)
        self.last = now

    def allocated(self, size):
        address = c.c_uint64()
        self.call("cuMemAlloc_v2", c.byref(address), c.c_size_t(size))
        return address

    def loaded(self, ptx, function):
        module, entry = c.c_void_p(), c.c_void_p()
        self.call("cuModuleLoadData", c.byref(module), ptx)
        self.call("cuModuleGetFunction", c.byref(entry), module, function)
        return entry

    def launched(self, entry, parameters=None):
        self.call("cuLaunchKernel", entry, 1, 1, 1, 1, 1, 1, 0, None, parameters, None)


# --- the questions -----------------------------------------------------------------------------------


def machine(card):
    """Which card and driver."""
    version = c.c_int()
    card.call("cuInit", 0)
    card.call("cuDriverGetVersion", c.byref(version))
    nvml = card.nvml
    more = {
        "card": nvml.text("nvmlDeviceGetName", nvml.device),
        "driver": nvml.text("nvmlSystemGetDriverVersion"),
        "cuda": version.value,
        "memory": nvml.memory(),
    }
    card.figure("machine", **more)


def context(card):
    """From nothing to the first kernel, module by module."""
    card.call("cuInit", 0)
    card.figure("cuInit")
    card.context()
    card.figure("context")
    card.launched(card.loaded(PTX, b"nothing"))
    card.figure("first kernel")
    card.launched(card.loaded(PTX, b"nothing"))
    card.figure("the same module again")
    for _ in range(64):
        card.loaded(PTX, b"nothing")
    card.figure("64 more of it")
    card.launched(card.loaded(LARGE, b"large"))
    card.figure("a module with a variable of 4 MiB")
    room = card.allocated(8)
    card.figure("8 bytes")
    pointer = (c.c_void_p * 1)(c.addressof(room))
    card.launched(card.loaded(STACK, b"stack"), pointer)
    card.figure("a kernel with 8 KiB of stack a thread")


def second_process(card):
    """What another process's context takes while this one has its own."""
    card.context()
    card.figure("context")
    asked = [sys.executable, __file__, "--hold"]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        card.figure("context of a second process")
        other.stdin.close()
    card.figure("after its end")


def malloc(card):
    """The units in which `cuMemAlloc` takes memory, and what small requests share."""
    card.context()
    card.figure("context")
    for size in (1, 4096, 65536, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1, 3 * MIB, 10 * MIB, 33 * MIB, 1000 * MIB + 5):
        address = card.allocated(size)
        card.figure("cuMemAlloc", size=size)
        card.call("cuMemFree_v2", address)
        card.figure("cuMemFree", size=size)
    for size, count in ((512, 4096), (65536, 256), (700_000, 64), (MIB, 32)):
        held = [card.allocated(size) for _ in range(count)]
        card.figure("many", size=size, count=count)
        for address in held:
            card.call("cuMemFree_v2", address)
        card.figure("many freed", size=size, count=count)


def pool(card):
    """The default pool: its chunks, its threshold, what it keeps."""
    device, found, threshold = card.context(), c.c_void_p(), c.c_uint64()
    card.figure("context")
    card.call("cuDeviceGetDefaultMemPool", c.byref(found), device)
    card.call("cuMemPoolGetAttribute", found, 4, c.byref(threshold))
    card.figure("default pool", release_threshold=threshold.value)

    def marks():
        read = {}
        for name, attribute in (("reserved", 5), ("reserved_high", 6), ("used", 7), ("used_high", 8)):
            value = c.c_uint64()
            card.call("cuMemPoolGetAttribute", found, attribute, c.byref(value))
            read[name] = value.value
        return read

    held = []
    for size in (1, 512, MIB, 8 * MIB, 31 * MIB, 33 * MIB, 200 * MIB, 512):
        address = c.c_uint64()
        card.call("cuMemAllocAsync", c.byref(address), c.c_size_t(size), None)
        held.append(address)
        card.figure("cuMemAllocAsync", size=size, pool=marks())
    for address in held:
        card.call("cuMemFreeAsync", address, None)
    card.figure("freed and synchronized", pool=marks())
    keep = c.c_uint64((1 << 64) - 1)
    card.call("cuMemPoolSetAttribute", found, 4, c.byref(keep))
    address = c.c_uint64()
    card.call("cuMemAllocAsync", c.byref(address), c.c_size_t(100 * MIB), None)
    card.call("cuMemFreeAsync", address, None)
    card.figure("freed, with a threshold", pool=marks())
    card.call("cuMemPoolTrimTo", found, c.c_size_t(0))
    card.figure("trimmed", pool=marks())


class Location(c.Structure):
    """`CUmemLocation`."""

    _fields_ = [("type", c.c_int), ("id", c.c_int)]


class Properties(c.Structure):
    """`CUmemAllocationProp`: pinned memory of a device."""

    _fields_ = [
        ("type", c.c_int),
        ("handle_types", c.c_int),
        ("location", Location),
        ("win32", c.c_void_p),
        ("flags", c.c_ubyte * 8),
    ]


def virtual(card):
    """Granules of virtual memory management, on which PyTorch's expandable segments and llama.cpp's pool rest."""
    device = card.context()
    card.figure("context")
    asked = Properties(type=1, location=Location(1, device.value))
    granule = c.c_size_t()
    for option, name in ((0, "minimum"), (1, "recommended")):
        card.call("cuMemGetAllocationGranularity", c.byref(granule), c.byref(asked), option)
        card.figure(f"{name} granularity", size=granule.value)
    address, handle = c.c_uint64(), c.c_uint64()
    card.call("cuMemAddressReserve", c.byref(address), c.c_size_t(32 << 30), c.c_size_t(0), c.c_uint64(0), c.c_uint64(0))
    card.figure("32 GiB of addresses")
    card.call("cuMemCreate", c.byref(handle), c.c_size_t(20 * MIB), c.byref(asked), c.c_uint64(0))
    card.figure("cuMemCreate", size=20 * MIB)
    card.call("cuMemMap", address, c.c_size_t(20 * MIB), c.c_size_t(0), handle, c.c_uint64(0))
    card.figure("cuMemMap", size=20 * MIB)


def objects(card):
    """Streams, events, pinned and managed memory."""
    card.context()
    card.figure("context")
    made = c.c_void_p()
    for count in (1, 15, 112):
        for _ in range(count):
            card.call("cuStreamCreate", c.byref(made), 1)
        card.figure("streams", count=count)
    for _ in range(1024):
        card.call("cuEventCreate", c.byref(made), 2)
    card.figure("events", count=1024)
    card.call("cuMemHostAlloc", c.byref(made), c.c_size_t(64 * MIB), 0)
    card.figure("pinned memory", size=64 * MIB)
    address = c.c_uint64()
    card.call("cuMemAllocManaged", c.byref(address), c.c_size_t(16 * MIB), 1)
    card.figure("managed memory, untouched", size=16 * MIB)


def graph(card):
    """A graph of a thousand kernels, made by capture and instantiated."""
    card.context()
    entry, stream, made, ready = card.loaded(PTX, b"nothing"), c.c_void_p(), c.c_void_p(), c.c_void_p()
    card.launched(entry)
    card.call("cuStreamCreate", c.byref(stream), 1)
    card.figure("context, a kernel, a stream")
    card.call("cuStreamBeginCapture_v2", stream, 1)
    for _ in range(1000):
        card.call("cuLaunchKernel", entry, 1, 1, 1, 1, 1, 1, 0, stream, None, None)
    card.call("cuStreamEndCapture", stream, c.byref(made))
    card.figure("a graph of 1000 kernels")
    card.call("cuGraphInstantiateWithFlags", c.byref(ready), made, c.c_uint64(0))
    card.figure("instantiated")
    card.call("cuGraphLaunch", ready, stream)
    card.figure("launched")


def blas(card):
    """A cuBLAS handle, its workspace, a cuBLASLt handle."""
    card.context()
    card.launched(card.loaded(PTX, b"nothing"))
    card.figure("context and a kernel")
    calls, handle = library("libcublas.so.13", "libcublas.so.12", "libcublas.so.11"), c.c_void_p()
    card.figure("the library opened", library=calls._name)
    done(calls.cublasCreate_v2(c.byref(handle)), "cublasCreate")
    card.figure("handle")
    rows = 1024
    memory = card.allocated(12 * rows * rows)
    card.figure("three matrices", size=12 * rows * rows)
    one, zero = c.c_float(1), c.c_float(0)
    a, b, out = (c.c_void_p(memory.value + 4 * rows * rows * part) for part in range(3))
    sizes = [c.c_int(rows)] * 3
    done(calls.cublasSgemm_v2(handle, 0, 0, *sizes, c.byref(one), a, rows, b, rows, c.byref(zero), out, rows), "sgemm")
    card.figure("product in f32")
    half = 2  # CUDA_R_16F; COMPUTE_32F is 68
    product = (handle, 1, 0, *sizes, c.byref(one), a, half, rows, b, half, rows, c.byref(zero), out, half, rows, 68, -1)
    done(calls.cublasGemmEx(*product), "cublasGemmEx")
    card.figure("product in f16")
    light, other = library("libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"), c.c_void_p()
    done(light.cublasLtCreate(c.byref(other)), "cublasLtCreate")
    card.figure("cuBLASLt's handle")


def others(card):
    """cuDNN and cuRAND, where they are installed."""
    card.context()
    card.launched(card.loaded(PTX, b"nothing"))
    card.figure("context and a kernel")
    for names, function in ((("libcudnn.so.9",), "cudnnCreate"), (("libcurand.so.10",), "curandCreateGenerator")):
        try:
            calls, handle = library(*names), c.c_void_p()
            arguments = (c.byref(handle), 100) if function.startswith("curand") else (c.byref(handle),)
            done(getattr(calls, function)(*arguments), function)
            card.figure(function, library=calls._name)
        except Refused as refused:
            card.figure(function, error=str(refused))


def torch_first(card):
    """PyTorch from its import to products and attention, with what its allocator counts."""
    import torch
    import torch.nn.functional as functional

    def figure(what, **more):
        torch.cuda.synchronize()
        counted = {"allocated": torch.cuda.memory_allocated(), "reserved": torch.cuda.memory_reserved()}
        card.figure(what, torch=counted, **more)

    card.figure("imported", version=torch.__version__)
    torch.zeros(1, device="cuda")
    card.has_context = True
    card.last = card.now()
    figure("first tensor")
    rows = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)
    figure("random numbers")
    (rows @ rows).sum().item()
    figure("product in bf16")
    (rows.float() @ rows.float()).sum().item()
    figure("product in f32")
    query = torch.randn(1, 32, 512, 128, device="cuda", dtype=torch.bfloat16)
    keys = torch.randn(1, 32, 4096, 128, device="cuda", dtype=torch.bfloat16)
    figure("queries and keys")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"):
        try:
            with sdpa_kernel(getattr(SDPBackend, name)):
                functional.scaled_dot_product_attention(query, keys, keys).sum().item()
            figure("attention", backend=name.lower())
        except (RuntimeError, AttributeError) as error:
            figure("attention", backend=name.lower(), error=str(error)[:200])
    torch.cuda.empty_cache()
    figure("emptied")


QUESTIONS = {
    "machine": machine,
    "context": context,
    "context_eager": context,
    "second_process": second_process,
    "malloc": malloc,
    "pool": pool,
    "virtual": virtual,
    "objects": objects,
    "graph": graph,
    "blas": blas,
    "others": others,
    "torch_first": torch_first,
}


def ask(question):
    """Within the process of one question."""
    try:
        QUESTIONS[question](Card(question))
    except (Refused, ImportError, AttributeError) as error:
        print(json.dumps({"question": question, "error": f"{type(error).__name__}: {error}"}), flush=True)


def hold():
    """A process that has a context until its input ends."""
    card = Card("hold")
    card.context()
    print("held", flush=True)
    sys.stdin.read()


def all_lines(questions):
    """Every figure of these questions, each asked in a fresh process."""
    for question in questions:
        loading = "EAGER" if question.endswith("_eager") else "LAZY"
        environment = {**os.environ, "CUDA_MODULE_LOADING": loading}
        run = [sys.executable, __file__, "--ask", question]
        asked = subprocess.run(run, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        lines = [line for line in asked.stdout.splitlines() if line.startswith("{")]
        if asked.returncode:
            said = asked.stderr.strip().splitlines()[-1:]
            lines.append(json.dumps({"question": question, "error": f"status {asked.returncode}: {' '.join(said)}"}))
        yield from lines


def beside(first, second):
    """What two records say of the same figures."""
    read = [figures(path) for path in (first, second)]
    names = list(read[0]) + [name for name in read[1] if name not in read[0]]
    print(f"{'figure':<52} {'first':>14} {'second':>14} {'difference':>14}")
    for name in names:
        grown = [record.get(name) for record in read]
        shown = ["-" if value is None else f"{value:,}" for value in grown]
        difference = f"{grown[1] - grown[0]:+,}" if None not in grown else "-"
        print(f"{name:<52.52} {shown[0]:>14} {shown[1]:>14} {difference:>14}")


def figures(path):
    """What the card's use grew by, by question and act."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if "grown" not in row:
                continue
            name = " ".join(str(row[key]) for key in ("question", "what", "backend", "size", "count") if key in row)
            grown = row["grown"]
            found[name] = grown["used"] if grown["used"] is not None else grown["nvml"]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION")
    parser.add_argument("--write", metavar="FILE", help="where the record goes; standard output where it is not named")
    parser.add_argument("--list", action="store_true", help="name the questions")
    parser.add_argument("--beside", nargs=2, metavar="RECORD", help="two records side by side")
    parser.add_argument("--ask", choices=QUESTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--hold", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.list:
        print("\n".join(QUESTIONS))
    elif given.beside:
        beside(*given.beside)
    elif given.ask:
        ask(given.ask)
    elif given.hold:
        hold()
    else:
        unknown = [name for name in given.questions if name not in QUESTIONS]
        if unknown:
            parser.error(f"there is no question {unknown[0]!r}: see --list")
        out = open(given.write, "w", encoding="utf-8") if given.write else sys.stdout
        answered = 0
        for line in all_lines(given.questions or QUESTIONS):
            print(line, file=out, flush=True)
            answered += '"grown"' in line
        return 0 if answered else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
