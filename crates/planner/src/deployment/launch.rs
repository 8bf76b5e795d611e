//! What a question says of llama.cpp's placement; under another runtime that is refused.

use super::{Card, Cards, DeploymentError, Question};
use crate::estimate::rules;
use crate::plan::Capacity;
use crate::spec::{Basis, Bounds, Count, Fact, GpuSpec, Headroom, LARGEST_MEMORY, Launch, Runtime};
use crate::units::Bytes;

/// More tokens than any batch has.
const MOST_BATCH: u64 = 1 << 20;
/// What main memory is read at where nothing is said: two channels of DDR4-3200 give 51.2 GB/s.
const ASSUMED_BANDWIDTH: Bytes = Bytes::new(50_000_000_000);

/// What llama.cpp is told.
///
/// # Errors
/// Where another runtime is told, or a value is out of range.
pub(super) fn launch(question: &Question, runtime: Runtime) -> Result<Launch, DeploymentError> {
    if !rules(runtime).places_tensors() {
        return match given(question) {
            Some(flag) => Err(DeploymentError::refused(
                format!("the `{runtime}` runtime has no `{flag}`"),
                format!("drop `{flag}`, or use `--runtime llama.cpp`"),
            )),
            None => Ok(Launch::default()),
        };
    }
    let batch = question.batch_size;
    if let Some(batch) = batch.filter(|batch| !(1..=MOST_BATCH).contains(batch)) {
        let expected = format!("1 to {MOST_BATCH}");
        return Err(DeploymentError::out_of_range("--batch-size", batch, expected));
    }
    Ok(Launch {
        gpu_layers: question.ngl,
        cpu_moe: if question.cpu_moe { Some(Count::All) } else { question.n_cpu_moe },
        overrides: question.override_tensor.clone(),
        tensor_split: question.tensor_split.clone(),
        offloads_cache: !question.no_kv_offload,
        offloads_operations: !question.no_op_offload,
        batch,
        unified: question.kv_unified
            || (rules(runtime).shares_slots()
                && question.parallel.is_some()
                && !question.no_kv_unified),
        full_window: question.swa_full,
        virtual_memory: true,
        values: question.kv.and_then(|kv| kv.values),
        plans_host: question.ram.is_some(),
        beside: None,
    })
}

/// The first flag of llama.cpp's that was given.
pub(super) fn given(question: &Question) -> Option<&'static str> {
    let flags = [
        ("--ngl", question.ngl.is_some()),
        ("--n-cpu-moe", question.n_cpu_moe.is_some()),
        ("--cpu-moe", question.cpu_moe),
        ("--override-tensor", !question.override_tensor.is_empty()),
        ("--tensor-split", question.tensor_split.is_some()),
        ("--split-mode", question.split_mode.is_some()),
        ("--main-gpu", question.main_gpu.is_some()),
        ("--no-kv-offload", question.no_kv_offload),
        ("--no-op-offload", question.no_op_offload),
        ("--ram", question.ram.is_some()),
        ("--ram-bandwidth", question.ram_bandwidth.is_some()),
        ("--parallel", question.parallel.is_some()),
        ("--kv-unified", question.kv_unified),
        ("--no-kv-unified", question.no_kv_unified),
        ("--swa-full", question.swa_full),
        ("--batch-size", question.batch_size.is_some()),
        ("--kv KEYS/VALUES", question.kv.is_some_and(|kv| kv.values.is_some())),
    ];
    flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
}

/// What has to be said of main memory that is a GPU's own, where a size of it is given.
pub(super) fn remark(question: &Question, cards: &Cards) -> Option<String> {
    let gpu = cards.iter().map(|card| &card.gpu).find(|gpu| gpu.unified)?;
    let (ram, left) = (question.ram?, gpu.reserved.value);
    (ram > left).then(|| {
        format!(
            "`--ram {ram}`: the memory of {} is the machine's, of which the GPU leaves {left} at most",
            gpu.name
        )
    })
}

/// What a machine has beside what its GPU may take at least: less, and nothing would run.
const LEAST_LEFT: Bytes = Bytes::new(1 << 30);

/// Main memory as a device. Where it is a GPU's own memory, too, what is left of it is what the GPU may not take.
///
/// # Errors
/// Where nothing of it is left.
pub fn main_memory(question: &Question, cards: &Cards) -> Result<Card, DeploymentError> {
    let unified = cards.iter().map(|card| &card.gpu).find(|gpu| gpu.unified);
    let given = question.ram.unwrap_or(LARGEST_MEMORY);
    let total = unified.map_or(given, |gpu| gpu.reserved.value.min(given).max(LEAST_LEFT));
    let none = Fact::new(Bounds::ZERO, Basis::Exact, "its buffers are listed one by one");
    let bandwidth = match (question.ram_bandwidth, unified) {
        (Some(given), _) if given.is_zero() => {
            return Err(DeploymentError::out_of_range("--ram-bandwidth", 0, "more than 0"));
        }
        (Some(given), _) => Fact::new(given, Basis::Exact, "`--ram-bandwidth`"),
        (None, Some(gpu)) => gpu.bandwidth.clone(),
        (None, None) => Fact::new(ASSUMED_BANDWIDTH, Basis::Assumed, "two channels of DDR4-3200"),
    };
    let gpu = GpuSpec { name: "RAM".to_owned(), bandwidth, ..GpuSpec::main_memory(total, none) };
    let capacity = Capacity::new(total, Bytes::ZERO, Bytes::ZERO, Headroom::Default)?;
    if capacity.less_headroom(1)?.is_zero() {
        let headroom = capacity.headroom;
        let message = format!("`--ram {total}` leaves nothing beside a headroom of {headroom}");
        return Err(DeploymentError::refused(message, "give what the run may take"));
    }
    Ok(Card { gpu, capacity })
}
