//! What llama.cpp says where an allocation fails, over several lines.

use super::place;
use crate::units::Bytes;
use crate::why::evidence::{Evidence, Failure, FailureKind, Place, TermKind};
use crate::why::grammar::Line;
use crate::why::scan::{Gb, after, between, number, number_after, size};
use crate::why::{Engine, Printed};

/// Lines within which one failure is told.
const NEAR: u64 = 8;

pub(super) fn failures(line: Line<'_>, evidence: &mut Evidence) {
    // `allocating 1042.00 MiB on device 0: cudaMalloc failed: out of memory`.
    if let Some(rest) = after(line.text, "_buffer_type_alloc_buffer: allocating ")
        && line.text.contains("failed")
    {
        let mut failure = line.failure(FailureKind::Allocation(None));
        failure.asked = size(rest, Gb::Binary).map(|(size, _)| size.size);
        failure.place = number_after(rest, "device ").map(Place::Card);
        failure.context = evidence.run.contexts;
        evidence.fail(failure);
        return;
    }
    if let Some(rest) =
        after(line.text, "_buffer_type_alloc_buffer: failed to allocate buffer of size ")
        && line.says(&["cpu_buffer", "_host_buffer"])
    {
        let mut failure = line.failure(FailureKind::HostAllocation);
        failure.place = Some(Place::Host);
        failure.asked = number(rest).map(|(n, _)| Printed::exactly(Bytes::new(n)));
        evidence.fail(failure);
        return;
    }
    if line.says(&["Requested buffer size exceeds"]) {
        evidence.run.over_limit = Some(line.number);
    }
    exact(line, evidence);
    let kind = if line.says(&[
        "failed to allocate buffer for kv cache",
        "kv cache init",
        "failed to allocate KV",
    ]) {
        TermKind::Cache
    } else if line.says(&["failed to allocate buffer for rs cache", "buffer for recurrent"]) {
        TermKind::State
    } else if line.says(&["failed to allocate compute", "failed to allocate graph"]) {
        TermKind::Compute
    } else if line.says(&["unable to allocate"]) && line.says(&[" buffer"]) {
        TermKind::Weights
    } else {
        if line.says(&["retrying without pipeline parallelism"])
            && let Some(failure) = evidence.run.failures.last_mut()
        {
            failure.went_on = true;
        }
        runtime(line, evidence);
        return;
    };
    evidence.is(Engine::LlamaCpp, line.number);
    let contexts = evidence.run.contexts;
    if let Some(failure) = near(line, evidence) {
        settle(failure, kind);
        return;
    }
    let mut failure = line.failure(FailureKind::Allocation(Some(kind)));
    failure.context = contexts;
    failure.place = between(line.text, "unable to allocate ", " buffer").map(place);
    if failure.place == Some(Place::Host) {
        failure.kind = FailureKind::HostAllocation;
    }
    evidence.fail(failure);
}

/// The failure that was told a few lines ago.
fn near<'a>(line: Line<'_>, evidence: &'a mut Evidence) -> Option<&'a mut Failure> {
    let last = evidence.run.failures.last_mut()?;
    let same = matches!(
        last.kind,
        FailureKind::Allocation(_) | FailureKind::HostAllocation | FailureKind::Runtime
    );
    (same && line.number.saturating_sub(last.line) <= NEAR).then_some(last)
}

/// What a failure was for: the first line that says so counts.
fn settle(failure: &mut Failure, kind: TermKind) {
    if let FailureKind::Allocation(known @ None) = &mut failure.kind {
        *known = Some(kind);
    }
}

/// `failed to allocate CUDA0 buffer of size 10345253120`: to the byte.
fn exact(line: Line<'_>, evidence: &mut Evidence) {
    let Some(rest) = after(line.text, "failed to allocate ") else { return };
    let Some((device, rest)) = rest.split_once(" buffer of size ") else { return };
    let Some((bytes, _)) = number(rest) else { return };
    let asked = Printed::exactly(Bytes::new(bytes));
    let place = place(device.trim());
    let of_graph = line.says(&["gallocr"]);
    let contexts = evidence.run.contexts;
    let failure = match near(line, evidence) {
        Some(failure) if failure.asked.is_none_or(|known| known.is(asked.bytes)) => failure,
        _ => {
            let kind = match place {
                Place::Host => FailureKind::HostAllocation,
                Place::Card(_) | Place::Cards => FailureKind::Allocation(None),
            };
            let failure = Failure { context: contexts, ..line.failure(kind) };
            evidence.fail(failure);
            let Some(failure) = evidence.run.failures.last_mut() else { return };
            failure
        }
    };
    failure.asked = Some(asked);
    failure.place = failure.place.or(Some(place));
    if of_graph {
        settle(failure, TermKind::Compute);
    }
}

/// The driver refused while a pass ran: the pool of llama.cpp's CUDA backend, or a library.
fn runtime(line: Line<'_>, evidence: &mut Evidence) {
    if let Some(device) = number_after(line.text, "current device: ")
        && let Some(failure) = near(line, evidence)
    {
        failure.place = failure.place.or(Some(Place::Card(device)));
    }
    let said = line.says(&[
        "CUDA error: out of memory",
        "CUDA error 2 at",
        "cudaMalloc failed: out of memory",
    ]);
    let python = line.says(&["RuntimeError", "AcceleratorError", "torch."]);
    if said && !python && near(line, evidence).is_none() {
        let context = evidence.run.contexts;
        evidence.fail(Failure { context, ..line.failure(FailureKind::Runtime) });
        if line.says(&["ggml"]) {
            evidence.is(Engine::LlamaCpp, line.number);
        }
    }
}
