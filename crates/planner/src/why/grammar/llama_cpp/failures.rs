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
        // A line may be broken behind the device.
        && (line.text.contains("failed") || line.text.ends_with(':'))
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
        let mut failure = line.failure(FailureKind::HostAllocation(None));
        failure.place = Some(Place::Host);
        failure.asked = number(rest).map(|(n, _)| Printed::exactly(Bytes::new(n)));
        evidence.fail(failure);
        return;
    }
    if other_backends(line, evidence) {
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
        let device = between(line.text, "unable to allocate ", " buffer").map(place);
        failure.place = failure.place.or(device);
        return;
    }
    let mut failure = line.failure(FailureKind::Allocation(Some(kind)));
    failure.context = contexts;
    failure.place = between(line.text, "unable to allocate ", " buffer").map(place);
    if failure.place == Some(Place::Host) {
        failure.kind = FailureKind::HostAllocation(Some(kind));
    }
    evidence.fail(failure);
}

/// The failure that was told a few lines ago.
fn near<'a>(line: Line<'_>, evidence: &'a mut Evidence) -> Option<&'a mut Failure> {
    let last = evidence.run.failures.last_mut()?;
    let same = matches!(
        last.kind,
        FailureKind::Allocation(_) | FailureKind::HostAllocation(_) | FailureKind::Runtime
    );
    (same && line.number.saturating_sub(last.line) <= NEAR).then_some(last)
}

/// What a failure was for: the first line that says so counts.
fn settle(failure: &mut Failure, kind: TermKind) {
    if let FailureKind::Allocation(known @ None) | FailureKind::HostAllocation(known @ None) =
        &mut failure.kind
    {
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
                Place::Host => FailureKind::HostAllocation(None),
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
        "ROCm error: out of memory",
        "MUSA error: out of memory",
        "hipErrorOutOfMemory",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "cudaErrorMemoryAllocation",
        "RESOURCE_EXHAUSTED: Out of memory",
    ]) || (line.says(&["CUDA runtime error"]) && line.says(&["out of memory"]));
    let python = line.says(&["RuntimeError", "AcceleratorError", "torch."])
        && !line.says(&["[TM][ERROR]", "[TensorRT-LLM]"]);
    if said && !python && near(line, evidence).is_none() {
        let context = evidence.run.contexts;
        let asked = number_after(line.text, "trying to allocate ");
        let asked = asked.map(|bytes| Printed::exactly(Bytes::new(bytes)));
        evidence.fail(Failure { asked, context, ..line.failure(FailureKind::Runtime) });
        if line.says(&["ggml"]) {
            evidence.is(Engine::LlamaCpp, line.number);
        }
    }
}

/// What Vulkan, SYCL and Metal say of their own. Whether the line is one of theirs.
fn other_backends(line: Line<'_>, evidence: &mut Evidence) -> bool {
    let text = line.text;
    // `ggml_vulkan: Device memory allocation of size 118497280 failed.`
    let vulkan =
        after(text, "Device memory allocation of size ").filter(|rest| rest.contains("failed"));
    // `ggml_backend_sycl_buffer_type_alloc_buffer: can't allocate 2303168640 Bytes of memory on device`
    let sycl =
        after(text, "can't allocate ").filter(|rest| rest.contains("Bytes of memory on device"));
    let contexts = evidence.run.contexts;
    if let Some((bytes, _)) = vulkan.or(sycl).and_then(number) {
        evidence.is(Engine::LlamaCpp, line.number);
        let asked = Some(Printed::exactly(Bytes::new(bytes)));
        let kind = FailureKind::Allocation(None);
        evidence.fail(Failure { asked, context: contexts, ..line.failure(kind) });
        return true;
    }
    // `( 5738.22 /  5461.34)`: what Metal has given, and the most that it recommends.
    if let Some(rest) = after(text, "allocated buffer, size").and_then(|rest| after(rest, "("))
        && let Some((given, most)) = rest.split_once(')').and_then(|(pair, _)| pair.split_once('/'))
    {
        let mib = |text: &str| Printed::parse(text.trim(), Bytes::MIB);
        evidence.run.working_set = mib(given).zip(mib(most)).or(evidence.run.working_set);
    }
    let metal = line.says(&["command buffer"]) && line.says(&["failed with status 5"]);
    let insufficient =
        line.says(&["kIOGPUCommandBufferCallbackErrorOutOfMemory"]) && !line.says(&["[METAL]"]);
    let native = line.says(&["Native API returns"])
        && line.says(&["OUT_OF_HOST_MEMORY", "OUT_OF_DEVICE_MEMORY", "OUT_OF_RESOURCES"]);
    if !metal && !insufficient && !native {
        return false;
    }
    let known = |failure: &Failure| failure.kind == FailureKind::Runtime;
    if !evidence.run.failures.iter().any(known) {
        evidence.fail(Failure { context: contexts, ..line.failure(FailureKind::Runtime) });
    }
    true
}

/// The cache has no room for a batch (`llama-context.cpp`, `server.cpp`).
pub(super) fn cache_full(line: Line<'_>, evidence: &mut Evidence) {
    let said = line.says(&[
        "failed to find free space in the KV cache",
        "failed to find a memory slot for batch",
        "could not find a KV slot",
        "KV cache is full",
        "prompt is too big compared to KV size",
        "exceeds the available context size",
    ]);
    if said {
        evidence.is(Engine::LlamaCpp, line.number);
        let asked = number_after(line.text, "memory slot for batch of size ");
        evidence.cache_full(line.failure(FailureKind::CacheFull { asked, left: None }));
    }
}
