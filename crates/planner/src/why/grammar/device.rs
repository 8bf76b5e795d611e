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
    host(line, evidence);
    untold(line, evidence);
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
