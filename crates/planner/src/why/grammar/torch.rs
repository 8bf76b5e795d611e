//! `PyTorch`'s out of memory, of every generation, and what bitsandbytes and accelerate refuse.

use super::{Line, Message, settings};
use crate::units::Bytes;
use crate::why::evidence::{
    Around, Evidence, FailureKind, Holder, Place, Term, TermKind, TorchError,
};
use crate::why::scan::{
    Gb, after, between, first_number_after, number, number_after, size, size_after,
};
use crate::why::{Engine, Printed};

/// By which part of itself a sum of printed sizes may be off, and more.
const ROUNDED: u64 = 16;

/// Reads a message.
pub fn read(message: &Message, evidence: &mut Evidence) {
    let line = message.line();
    let text = line.text;
    if text.contains("Some modules are dispatched on the CPU or the disk") {
        evidence.is(Engine::PyTorch, line.number);
        evidence.fail(line.failure(FailureKind::Dispatched));
        return;
    }
    if !text.contains("out of memory") && !text.contains("Tried to allocate") {
        return;
    }
    if text.contains("warming up sampler") {
        return;
    }
    evidence.is(Engine::PyTorch, line.number);
    let mut error = of_any(&message.tight).or(&of_any(&message.text));
    let index = message
        .find(|text| first_number_after(text, "GPU ").or_else(|| number_after(text, "on device ")));
    let index = index.unwrap_or(0);
    let Some(index) = told(&mut error, index, line, evidence) else { return };
    let asked = error.asked;
    let mut failure = line.failure(FailureKind::Torch(Box::new(error)));
    (failure.asked, failure.place) = (asked, Some(Place::Card(index)));
    evidence.fail(failure);
    if evidence.run.captures {
        evidence.fail(line.failure(FailureKind::Capture { memory: true }));
    }
}

/// The message of whichever allocator.
fn of_any(text: &str) -> TorchError {
    let error = if text.contains("total capacity;") {
        of_before(text)
    } else if text.contains("MPS allocated:") {
        of_metal(text)
    } else if text.contains("would exceed allowed memory") {
        of_async(text)
    } else {
        of_today(text)
    };
    TorchError {
        asked: size_after(text, "Tried to allocate ", Gb::Binary).or(error.asked),
        ..error
    }
}

/// What lines of scripts have that load or train a model themselves.
const SCRIPT: [&str; 9] = [
    "from_pretrained",
    "transformers/",
    "accelerate/",
    "peft/",
    "deepspeed/",
    ".backward()",
    "trainer.py",
    "train.py",
    "nn/modules/module.py",
];

/// Reads what other lines of Python say.
pub fn line(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&["from_pretrained(", "load_in_4bit", "load_in_8bit", "quantizer_bnb_"]) {
        settings::of_transformers(line.text, evidence);
        evidence.is(Engine::PyTorch, line.number);
    }
    evidence.is_script |= line.says(&SCRIPT);
    partly(line, evidence);
    if line.says(&["TORCH_USE_CUDA_DSA", "ComfyUI"]) {
        evidence.is(Engine::PyTorch, line.number);
    }
    if line.says(&["ComfyUI", "comfy/", "comfy\\", "Got an OOM, unloading", "!!! Exception during"])
    {
        evidence.around = Some(Around::ComfyUi);
    } else if line.says(&["diffusers/", "diffusers\\", "DiffusionPipeline", "pipe.to("]) {
        evidence.around.get_or_insert(Around::Diffusers);
    }
    without_figures(line, evidence);
    let python = line.says(&["RuntimeError", "AcceleratorError", "torch.", "!!! Exception during"]);
    let driver = line.says(&[
        "CUDA error: out of memory",
        "CUDA driver error: out of memory",
        "HIP error: out of memory",
        "hipErrorOutOfMemory",
        "cudaErrorMemoryAllocation",
    ]);
    let library = line.says(&["CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"]);
    if (python && driver) || library {
        evidence.is(Engine::PyTorch, line.number);
        evidence.fail(line.failure(FailureKind::Runtime));
    }
    if let Some(version) =
        between(line.text, "transformers==", " ").or_else(|| after(line.text, "transformers=="))
    {
        let end = version.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(version.len());
        let version = version.get(..end).unwrap_or_default().to_owned();
        evidence.version.get_or_insert(version);
    }
}

/// `torch.OutOfMemoryError: Allocation on device`: all that is left of the message of `backend:cudaMallocAsync` where its other
/// lines are not printed, as by `ComfyUI`, which goes on and tells it again.
fn without_figures(line: Line<'_>, evidence: &mut Evidence) {
    let said = line.says(&[
        "OutOfMemoryError: Allocation on device",
        "processing !!! Allocation on device",
        "Got an OOM, unloading all loaded models",
    ]);
    if !said || line.says(&["would exceed allowed memory"]) {
        return;
    }
    evidence.is(Engine::PyTorch, line.number);
    let known = |kind: &FailureKind| matches!(kind, FailureKind::Torch(_) | FailureKind::Runtime);
    if !evidence.run.failures.iter().any(|failure| known(&failure.kind)) {
        evidence.fail(line.failure(FailureKind::Runtime));
    }
}

/// accelerate warns that it put weights elsewhere, or does not know where to.
fn partly(line: Line<'_>, evidence: &mut Evidence) {
    let warned = line.says(&["on the meta device"]) && line.says(&["offloaded to the"]);
    let refused = line.says(&[
        "weights offloaded to the disk. Please provide an `offload_folder`",
        "attempting to offload the whole model to the disk",
    ]);
    let kind = match (refused, warned) {
        (true, _) => FailureKind::Dispatched,
        (_, true) => FailureKind::PartlyOffloaded,
        _ => return,
    };
    evidence.is(Engine::PyTorch, line.number);
    evidence.fail(line.failure(kind));
}

/// What the error says is told of the card and of others, too; the card's number.
fn told(
    error: &mut TorchError,
    index: u64,
    line: Line<'_>,
    evidence: &mut Evidence,
) -> Option<u64> {
    let total = error.total.map(|size| size.bytes);
    if let (Some(process), Some(total)) = (error.process, total)
        && process.bytes > total
    {
        // Windows moves memory to the host, and the driver's sum is below zero.
        (error.overcommitted, error.process) = (true, None);
    }
    if let (Some(allocated), Some(total)) = (error.allocated, total) {
        error.overcommitted |= allocated.bytes > total;
    }
    if let (Some(process), Some(held)) = (error.process, error.held()) {
        error.uncounted = process.bytes < held.minus_or_zero(Bytes::new(held.get() / ROUNDED));
    }
    // What a Mac lets a process take is not what its card has.
    if !error.metal {
        let card = evidence.card(index)?;
        card.total = total.or(card.total);
    }
    let terms = [
        (TermKind::Allocated, error.allocated),
        (TermKind::Unallocated, error.unallocated),
        (TermKind::PrivatePools, error.private),
    ];
    for (kind, size) in terms {
        let Some(size) = size else { continue };
        evidence.term(Term {
            kind,
            place: Place::Card(index),
            size,
            estimated: false,
            line: line.number,
        });
    }
    holders(error, index, line, evidence);
    Some(index)
}

/// `Process 3028 has 17.56 GiB memory in use.`, which in a container may be this one.
fn holders(error: &mut TorchError, index: u64, line: Line<'_>, evidence: &mut Evidence) {
    const MOST: usize = 32;
    let own = error.allocated.zip(error.unallocated);
    let own = own.and_then(|(used, kept)| used.bytes.plus(kept.bytes).ok());
    let mut rest = line.text;
    for _ in 0..MOST {
        let Some(found) = after(rest, "Process ") else { return };
        rest = found;
        let Some((pid, behind)) = number(found) else { continue };
        let Some((held, _)) =
            behind.trim_start().strip_prefix("has ").and_then(|text| size(text, Gb::Binary))
        else {
            continue;
        };
        let held = held.size;
        let is_own = (error.process.is_none() || error.uncounted)
            && !error.overcommitted
            && own
                .is_some_and(|own| held.bytes >= own.minus_or_zero(held.within) && !own.is_zero());
        if is_own {
            error.process = Some(held);
            continue;
        }
        evidence.holder(Holder {
            pid: Some(pid),
            name: None,
            size: held.bytes,
            card: Some(index),
            line: line.number,
        });
    }
}

/// Since 2.1: `GPU 0 has a total capacity of 23.65 GiB of which 1.02 GiB is free. …` (`CUDACachingAllocator.cpp`).
fn of_today(text: &str) -> TorchError {
    let capacity =
        after(text, "has a total capacity of ").or_else(|| after(text, "has a total capacty of "));
    let total = capacity.and_then(|rest| size(rest, Gb::Binary)).map(|(size, _)| size.size);
    TorchError {
        total,
        free: size_after(text, "of which ", Gb::Binary),
        process: size_after(text, "this process has ", Gb::Binary),
        allocated: before(text, " is allocated by PyTorch"),
        unallocated: before(text, " is reserved by PyTorch but unallocated"),
        private: before(text, " allocated in private pools"),
        allowed: before(text, " allowed;"),
        ..TorchError::default()
    }
}

/// On a Mac: `MPS backend out of memory (MPS allocated: 17.97 GB, other allocations: 1.20 GB, max allowed: 18.13 GB).`
fn of_metal(text: &str) -> TorchError {
    TorchError {
        total: size_after(text, "max allowed: ", Gb::Binary),
        allocated: size_after(text, "MPS allocated: ", Gb::Binary),
        other: size_after(text, "other allocations: ", Gb::Binary),
        metal: true,
        ..TorchError::default()
    }
}

/// With `backend:cudaMallocAsync`, a line for each size: `Requested               : 640.00 MiB`.
fn of_async(text: &str) -> TorchError {
    TorchError {
        asked: size_after(text, "Requested ", Gb::Binary),
        total: size_after(text, "Device limit ", Gb::Binary),
        free: size_after(text, "Free (according to CUDA)", Gb::Binary),
        allocated: size_after(text, "Currently allocated ", Gb::Binary),
        ..TorchError::default()
    }
}

/// Until 2.0: `(GPU 0; 10.92 GiB total capacity; 8.57 MiB already allocated; 9.28 GiB free; 4.68 MiB cached)`.
fn of_before(text: &str) -> TorchError {
    let reserved =
        before(text, " reserved in total by PyTorch").or_else(|| before(text, " cached)"));
    let allocated = before(text, " already allocated;");
    let unallocated = reserved.zip(allocated).and_then(|(all, used)| {
        let within = all.within.plus(used.within).ok()?;
        Some(Printed { bytes: all.bytes.minus_or_zero(used.bytes), within })
    });
    TorchError {
        total: before(text, " total capacity;"),
        free: before(text, " free;"),
        allowed: before(text, " allowed;"),
        allocated,
        reserved,
        unallocated,
        ..TorchError::default()
    }
}

/// The size that stands before some words.
fn before(text: &str, words: &str) -> Option<Printed> {
    let head = text.get(..text.find(words)?)?;
    let unit = head.rfind(' ')?;
    let number = head.get(..unit)?.rfind([' ', '(', ';']).map_or(0, |at| at + 1);
    let (size, _) = size(head.get(number..)?, Gb::Binary)?;
    (!size.negative).then_some(size.size)
}
