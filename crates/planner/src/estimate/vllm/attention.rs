//! Which kernels vLLM's attention runs, as far as memory depends on it, and the workspace of `FlashInfer`'s.
//!
//! `FlashAttention` is taken where it runs. `FlashInfer` stands before it on Blackwell of data centres, and in its place where the
//! cache is in 8 bits, which only `FlashAttention` 3 reads, on Hopper. It works in one buffer of 394 MiB; from 0.26 on in one of
//! `max_num_batched_tokens · heads · head_dim · 16 B` where that is more. It is made when attention's metadata are first built: by
//! the first runner for whole graphs only, so that it is in the estimate of the graphs where such are captured, and is taken
//! beside vLLM's share, when kernels are warmed up, where none are; by the second for every graph. Kernels that are not its own
//! decode in another buffer of 394 MiB.
//!
//! Sources: vLLM 0.20 to 0.33 `platforms/cuda.py` (`_get_backend_priorities`), `v1/attention/backends/flash_attn.py` and
//! `flashinfer.py` (`supports_kv_cache_dtype`, `supports_sink`, `_get_workspace_buffer`, `get_cudagraph_support`), `envs.py`
//! (`VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE`); pull request 48428. vllm-project/vllm#52872 has it: 0.52 GiB of graphs in
//! steps of 2048 to 4096 tokens, 0.89 in steps of 8192, on 24 heads of 256.

use super::graphs::HOPPER;
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario, vision,
};
use crate::spec::{Basis, Bounds, Maker, Optimization, Serving};
use crate::units::{Bytes, Overflow};

/// Bytes of `FlashInfer`'s workspace where a step needs no more.
const WORKSPACE: Bytes = Bytes::new(394 << 20);
/// Bytes of it for every element of a step's queries (`FLASHINFER_PREFILL_WORKSPACE_BYTES_PER_ELEM`).
const OF_AN_ELEMENT: u64 = 16;
/// Heads that it has kernels for, of those that all layers of a model have.
const HEADS: [u64; 3] = [64, 128, 256];
/// Compute capabilities whose cards have only `FlashAttention` 2, which reads no cache in 8 bits.
const OLDER_FLASH: [u32; 2] = [8, OTHER_BLACKWELL];
const OTHER_BLACKWELL: u32 = 12;
/// The name of the workspace where no estimate has it.
const BESIDE: &str = "FlashInfer's workspace, made when kernels are warmed up";
/// Blackwell of data centres.
const BLACKWELL: u32 = 10;

/// How `FlashInfer` decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashInfer {
    /// With its own kernels, which are planned for every size of a batch apart.
    Own,
    /// With XQA's, on other Blackwell cards from 0.28 on; prompts are its own kernels'.
    Xqa,
    /// With those of TensorRT-LLM, prompts included.
    Trtllm,
}

/// How `FlashInfer` decodes where it is the one that vLLM takes.
pub fn flashinfer(scenario: &Scenario<'_>, serving: Serving) -> Option<FlashInfer> {
    let shape = &scenario.model.shape;
    let head = shape.head_dim;
    let has_kernels = HEADS.contains(&head) && shape.widest_head() == head && shape.mla.is_none();
    let sees_images = shape.architecture.family().vllm.images_attend
        && vision::loaded(scenario.model, scenario.kind(), scenario.workload.images).is_some();
    let is_wide = scenario.weights.format == WeightFormat::F32;
    if scenario.gpu.maker != Maker::Nvidia || !has_kernels || sees_images || is_wide {
        return None;
    }
    let major = scenario.gpu.compute_capability.major;
    let is_8_bit = scenario.kv == KvFormat::Fp8;
    match major {
        BLACKWELL if !matches!(scenario.kv, KvFormat::PerTokenHead(_)) => Some(FlashInfer::Trtllm),
        HOPPER => None,
        _ if OLDER_FLASH.contains(&major) && is_8_bit && !shape.attention_sinks => {
            let has_xqa = major == OTHER_BLACKWELL && serving.version.decodes_with_xqa();
            Some(if has_xqa { FlashInfer::Xqa } else { FlashInfer::Own })
        }
        _ => None,
    }
}

/// Whether steps of sequences that decode are captured whole: not where drafted tokens are decoded by `FlashInfer`'s own kernels.
pub fn captures_whole(scenario: &Scenario<'_>, serving: Serving) -> bool {
    let is_whole = serving.server.optimization == Optimization::Whole && !serving.eager;
    let drafts = serving.server.ahead > 0;
    let is_own = flashinfer(scenario, serving) == Some(FlashInfer::Own);
    is_whole && !(drafts && is_own && !serving.version.captures_drafted_with_flashinfer())
}

/// A buffer that `FlashInfer` works in.
struct Workspace {
    /// How large it is.
    size: Formula,
    /// Whether it is in the estimate of the graphs.
    is_counted: bool,
    /// Whether it is there for certain.
    is_sure: bool,
}

fn workspaces(scenario: &Scenario<'_>, serving: Serving) -> Result<Vec<Workspace>, Overflow> {
    // The second runner builds metadata for every graph.
    let always = !serving.eager && serving.version.has_second_runner();
    let for_graphs = always || captures_whole(scenario, serving);
    let fixed = || Formula::product(&[("MiB", WORKSPACE.get() >> 20), ("B", 1 << 20)]);
    let sure = |size| Workspace { size, is_counted: for_graphs, is_sure: true };
    Ok(match flashinfer(scenario, serving) {
        None => Vec::new(),
        Some(FlashInfer::Trtllm) => vec![sure(fixed())],
        Some(FlashInfer::Own) => vec![sure(own(scenario, serving, fixed())?)],
        // No log shows whether graphs of more tokens than sequences make that of prompts, too.
        Some(FlashInfer::Xqa) => {
            let of_prompts = own(scenario, serving, fixed())?;
            let prompts = Workspace { size: of_prompts, is_counted: always, is_sure: false };
            vec![sure(fixed()), prompts]
        }
    })
}

/// That of its own kernels.
fn own(scenario: &Scenario<'_>, serving: Serving, fixed: Formula) -> Result<Formula, Overflow> {
    let shape = &scenario.model.shape;
    let of_a_step = Formula::product(&[
        ("max_num_batched_tokens", scenario.workload.prefill_chunk),
        ("heads", shape.n_heads.div_ceil(serving.ranks)),
        ("head_dim", shape.head_dim),
        ("B", OF_AN_ELEMENT),
    ]);
    let grows = serving.version.sizes_workspaces_by_steps() && of_a_step.value()? > WORKSPACE;
    Ok(if grows { of_a_step } else { fixed })
}

/// Lists `FlashInfer`'s workspace where it is in the estimate of the graphs.
pub fn push_counted(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    push(buffers, scenario, serving, true)
}

/// Lists it where it is taken beside vLLM's share.
pub fn push_beside(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    push(buffers, scenario, serving, false)
}

fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    counted: bool,
) -> Result<(), EstimateError> {
    let of = |basis| Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::SystemPrefill),
        basis,
        source: "vLLM v1/attention/backends/flashinfer.py, _get_workspace_buffer; vllm-project/vllm#48428, #52872",
    };
    let id = if counted { BufferId::AttentionWorkspace } else { BESIDE.into() };
    for Workspace { size, is_sure, .. } in
        workspaces(scenario, serving)?.into_iter().filter(|found| found.is_counted == counted)
    {
        let expected = size.value()?;
        let (low, basis) =
            if is_sure { (expected, Basis::Modelled) } else { (Bytes::ZERO, Basis::Assumed) };
        buffers.push(of(basis), id, Bounds::new(low, expected, expected), size);
    }
    Ok(())
}
