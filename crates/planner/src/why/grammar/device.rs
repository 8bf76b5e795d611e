//! What drivers and allocators say in words of their own, whichever program passes it on: errors of a card that are no
//! want of memory, and main memory that ran out.

use super::Line;
use crate::units::Bytes;
use crate::why::evidence::{Evidence, Failure, FailureKind, Place};
use crate::why::scan::{Gb, number_after, size_after};
use crate::why::{Engine, Printed};

/// What a line says, and what that is.
const ERRORS: [(&str, &str); 11] = [
    ("illegal memory access was encountered", "a kernel reached for memory that is not its own"),
    ("device-side assert triggered", "a kernel found its input out of range"),
    ("busy or unavailable", "the card is busy or in exclusive use"),
    ("unspecified launch failure", "a kernel failed"),
    ("misaligned address", "a kernel reached for a misaligned address"),
    ("no kernel image is available", "the program was built for other cards"),
    ("uncorrectable ECC error", "an error of the card's memory"),
    ("the launch timed out", "a kernel ran longer than the driver allows"),
    ("ErrorDeviceLost", "the driver lost the card"),
    ("vk::DeviceLostError", "the driver lost the card"),
    ("GPU is lost", "the card fell off the bus"),
];

/// Who says so.
const CALLERS: [&str; 8] =
    ["CUDA", "HIP", "ROCm", "AcceleratorError", "vk::", "ggml", "NVML", "nvidia-smi"];

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    let error = ERRORS.iter().find(|(words, _)| line.text.contains(*words));
    if let Some((_, what)) = error.filter(|_| line.says(&CALLERS)) {
        let kind = FailureKind::DeviceError(what);
        if !evidence.run.failures.iter().any(|known| known.kind == kind) {
            evidence.fail(line.failure(kind));
        }
    }
    mistaken(line, evidence);
    host(line, evidence);
    untold(line, evidence);
    collectives(line, evidence);
    stopped(line, evidence);
    hinted(line, evidence);
}

/// Words for memory that ran out, whoever writes them.
const RAN_OUT: [&str; 7] = [
    "out of memory",
    "outofmemory",
    "not enough memory",
    "not enough vram",
    "insufficient memory",
    "insufficient vram",
    "is below required",
];

/// Words of a line that only warns, advises or tells of a setting.
const ADVICE: [&str; 12] = [
    "may ", "might ", "could ", "can ", "if ", "avoid", "prevent", "help", "consider", "warn",
    "without ", "`",
];

/// That memory ran out, in words that no grammar reads as a failure.
fn hinted(line: Line<'_>, evidence: &mut Evidence) {
    if evidence.run.hinted.is_some() {
        return;
    }
    let text = line.text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&RAN_OUT) && !says(&ADVICE) {
        let text = crate::text::printable(line.text.trim());
        evidence.run.hinted = Some((line.number, text));
    }
}

/// NCCL's error, of every rank: `Cuda failure 2 'out of memory'`.
fn collectives(line: Line<'_>, evidence: &mut Evidence) {
    let said = line.says(&["Cuda failure"]) && line.says(&["'out of memory'"]);
    let known = |failure: &Failure| failure.kind == FailureKind::Collectives;
    if said && !evidence.run.failures.iter().any(known) {
        evidence.fail(line.failure(FailureKind::Collectives));
    }
}

/// That something failed; what, where the line or those behind it say so.
fn stopped(line: Line<'_>, evidence: &mut Evidence) {
    const STOPPED: [&str; 2] = ["EngineCore failed to start", "Method Warmup encountered an error"];
    let words = STOPPED.into_iter().find(|words| line.text.contains(words));
    let run = &mut evidence.run;
    // The error stands behind the lines that lead to it.
    let error = match &run.stopped {
        Some(known) if !known.contains(ERROR) => error_of(line.text),
        _ => None,
    };
    let words = words.filter(|_| run.stopped.is_none());
    if let Some(words) = error.or(words) {
        run.stopped = Some(crate::text::printable_message(words.trim()));
        run.stopped_in = Some(line.number);
    }
}

/// What Python's errors have in common.
const ERROR: &str = "Error: ";

/// `ValueError: it is so` at the end of a line.
fn error_of(text: &str) -> Option<&str> {
    let at = text.find(ERROR)?;
    let begin = text.get(..at)?.rfind(' ').map_or(0, |space| space + 1);
    text.get(begin..)
}

/// Sizes that are none, and limits that are not the card's memory.
fn mistaken(line: Line<'_>, evidence: &mut Evidence) {
    let what = if line.says(&["buffer of size 1844674407", "attempted to allocate 17592186044416"])
    {
        "the size that was asked for is below zero, a bug of the program or of the file"
    } else if line.says(&["can NOT allocate memory block with size larger than"]) {
        "Intel's driver gives no block of more than 4 GiB at once, however much is free"
    } else if line.says(&["ggml_allocr_alloc: not enough space in the buffer"]) {
        "this build reserved too small a buffer for its graph, a bug that later builds do not have"
    } else {
        return;
    };
    if line.says(&["ggml"]) {
        evidence.is(Engine::LlamaCpp, line.number);
    }
    let kind = FailureKind::Mistaken(what);
    if !evidence.run.failures.iter().any(|known| known.kind == kind) {
        evidence.fail(line.failure(kind));
    }
}

/// That an engine stopped, where the reason stands elsewhere.
fn untold(line: Line<'_>, evidence: &mut Evidence) {
    let said = line.says(&[
        "Engine core initialization failed",
        "EngineDeadError",
        "died unexpectedly",
        "llama runner process has terminated: exit status",
        "llama runner process has terminated: signal: aborted",
        "has crashed without additional information",
        "this may be due to resource limitations or an internal error",
        "do load request: Post",
        "Server process died",
    ]);
    let known = |failure: &Failure| failure.kind == FailureKind::Untold;
    if said && !evidence.run.failures.iter().any(known) {
        evidence.fail(line.failure(FailureKind::Untold));
    }
}

/// Allocations in main memory that failed.
fn host(line: Line<'_>, evidence: &mut Evidence) {
    let torch = line.says(&["DefaultCPUAllocator: ", "alloc_cpu.cpp", "CPUAllocator.cpp"])
        && line.says(&["tried to allocate"]);
    if torch {
        evidence.is(Engine::PyTorch, line.number);
    }
    let words = [
        "paging file is too small",
        "std::bad_alloc",
        "bad allocation",
        "ggml_aligned_malloc: insufficient memory",
        "ArrayMemoryError",
        "insufficient shared memory",
        "mmap failed: Cannot allocate memory",
        "Cannot allocate memory (os error 12)",
        "OSError: [Errno 12] Cannot allocate memory",
    ];
    let python = matches!(line.text.trim(), "MemoryError" | "MemoryError:");
    if !torch && !python && !line.says(&words) {
        return;
    }
    let already = |kind: &FailureKind| matches!(kind, FailureKind::HostAllocation(_));
    if evidence.run.failures.iter().any(|failure| already(&failure.kind)) {
        return;
    }
    let mut failure = line.failure(FailureKind::HostAllocation(None));
    failure.place = Some(Place::Host);
    failure.asked = number_after(line.text, "tried to allocate ")
        .map(|bytes| Printed::exactly(Bytes::new(bytes)))
        .or_else(|| size_after(line.text, "attempted to allocate ", Gb::Binary))
        .or_else(|| size_after(line.text, "Unable to allocate ", Gb::Binary));
    evidence.fail(failure);
}
