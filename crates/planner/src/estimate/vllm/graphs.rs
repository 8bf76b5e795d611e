//! CUDA graphs that vLLM captures once its pool is sized: outside its share of the card; from 0.20 on they are estimated before,
//! and taken off the pool.
//!
//! From 0.16 on a step is captured piece by piece (each layer's part between two attentions) for every
//! captured number of tokens, and whole for those that `max_num_seqs` sequences can decode. What that
//! takes:
//!
//! - *nodes*: the driver's description of the kernels, by graphs and layers; and kernels that are loaded
//!   at the first capture;
//! - *a layer's results* at the largest captured step: graphs of smaller ones reuse them;
//! - *split results*: `FlashAttention` 3 is captured with up to 32 splits over the keys, and leaves room for
//!   the f32 outputs of all of them, `32 · captured · heads · (head_dim + 1) · 4 B`. Only Hopper has it;
//!   vLLM takes Triton's kernel for f32 models and for Gemma 3 with its tower, which has no such buffer.
//!
//! - *`FlashInfer`'s workspace*, where attention is its (`attention`), and what it keeps for every whole
//!   graph: 8 MiB of integers (`flashinfer/decode.py`, `_int_workspace_buffer`).
//!
//! Where tokens are predicted ahead, a sequence decodes as many more at once, and sizes go to twice as many tokens.
//!
//! Sources: vLLM 0.19 `config/vllm.py` (`_set_cudagraph_sizes`), `v1/cudagraph_dispatcher.py`
//! (`initialize_cudagraph_keys`), `v1/attention/backends/flash_attn.py` and `mla/flashattn_mla.py`
//! (`max_num_splits`), `platforms/cuda.py` (`_get_backend_priorities`). KiB of a layer and of the
//! kernels are matched to the logs in `tests/corpus/vllm.csv`, which name the attention backend.

use super::attention::{self, FlashInfer};
use crate::dtype::WeightFormat;
use crate::estimate::BufferId;
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Phase, Scenario, vision,
};
use crate::spec::{Architecture, Basis, Bounds, GpuSpec, Serving};
use crate::units::{Bytes, Overflow};

/// Kernels that are loaded while graphs are captured.
const KERNELS: Bytes = Bytes::new(110 << 20);

/// The largest step that is captured, gpt-oss's (`model_executor/models/config.py`), and to which sizes go
/// by 8 tokens.
const MOST: u64 = 512;
const MOST_OF_GPT_OSS: u64 = 1024;
const FINE: u64 = 256;

/// Splits over the keys that `FlashAttention` 3 is captured with
/// (`flash_attn_max_num_splits_for_cuda_graph`).
const SPLITS: u64 = 32;

/// The compute capability whose attention is `FlashAttention` 3.
pub const HOPPER: u32 = 9;

fn kind(basis: Basis, source: &str) -> Kind<'_> {
    let life = Life::From(Phase::SystemPrefill);
    Kind { component: Component::RuntimeOverhead, life, basis, source }
}

/// Lists the captured graphs; `results` are those of one layer for `captured` tokens.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    results: impl FnOnce(u64) -> Result<Bytes, Overflow>,
) -> Result<(), EstimateError> {
    if let Some(measured) = scenario.measured_server().and_then(|server| server.graphs.as_ref()) {
        let formula = Formula::text("measured on this card in this setting", &[]);
        buffers.push(kind(measured.basis, &measured.source), NAME, measured.value, formula);
        return Ok(());
    }
    if serving.version.sorts() {
        return push_old(buffers, scenario);
    }
    let family = scenario.model.shape.architecture;
    let sizes = sizes(family, scenario.workload.prefill_chunk, serving, scenario.gpu);
    let captured = sizes.last().copied().unwrap_or(0);
    // Steps are captured with adapters, and without.
    let times = if serving.server.lora.is_some() { 2 } else { 1 };
    let captured_whole = attention::captures_whole(scenario, serving);
    let graphs_of_all = Graphs::of(&sizes, serving, captured_whole);
    let (layers, graphs) = (scenario.layers().len() as u64, times * graphs_of_all.all());
    let kib = node_kib(scenario);
    let results = results(captured)?;
    let nodes = Bytes::product(&[graphs, layers, kib, 1 << 10])?;
    if serving.version.counts_graphs() {
        let whole = times * graphs_of_all.whole;
        let counted = Counted { whole, results, nodes };
        return push_counted(buffers, scenario, serving, (captured, counted));
    }
    let formula = Formula::text(
        "110 MiB + graphs · layers · KiB a layer · 1 KiB + results",
        &[("graphs", graphs), ("layers", layers), ("KiB a layer", kib), ("results", results.get())],
    );
    let expected = Bytes::sum([KERNELS, nodes, results])?;
    let spread =
        if is_hopper(scenario) { Deviation::VLLM_GRAPHS } else { Deviation::VLLM_OTHER_GRAPHS };
    let source = "free memory before and after capture in public logs; outside vLLM's share";
    buffers.push(kind(Basis::Modelled, source), NAME, spread.around(expected)?, formula);
    push_splits(buffers, scenario, serving, captured)
}

/// What an estimate of the graphs is made of.
#[derive(Clone, Copy)]
struct Counted {
    /// Graphs of whole steps.
    whole: u64,
    /// A layer's results at the largest step.
    results: Bytes,
    /// The driver's description of all kernels, as logs of 0.19 had it.
    nodes: Bytes,
}

/// The least that a graph of a whole step is taken to need (`gpu/cudagraph_utils.py`, `_MIN_PER_GRAPH_BYTES`).
const LEAST_OF_A_GRAPH: u64 = 1 << 20;

/// What `FlashInfer`'s own kernels keep for every whole graph (`flashinfer/decode.py`, `_int_workspace_buffer`). One of Qwen3.6
/// takes about 24 MiB with the driver's nodes (vllm-project/vllm#50780).
const INTEGERS_OF_A_GRAPH: u64 = 8 << 20;

/// Hundredths of the nodes that releases from 0.20 on were seen to take: one log of 0.22, which has its kernels loaded before.
const NODES_SINCE: u64 = 60;

/// Lists the graphs as they are estimated before the pool is sized: what `PyTorch` allocates for them, and what the driver takes.
fn push_counted(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    (captured, counted): (u64, Counted),
) -> Result<(), EstimateError> {
    let source = "vLLM v1/worker/gpu/cudagraph_utils.py, profile_cudagraph_memory; virtual cards";
    let integers = match attention::flashinfer(scenario, serving) {
        Some(FlashInfer::Own) => INTEGERS_OF_A_GRAPH,
        Some(FlashInfer::Xqa | FlashInfer::Trtllm) | None => 0,
    };
    let of_a_graph = LEAST_OF_A_GRAPH + integers;
    let formula = Formula::text(
        "results + whole graphs · B a whole graph",
        &[
            ("results", counted.results.get()),
            ("whole graphs", counted.whole),
            ("B a whole graph", of_a_graph),
        ],
    );
    let expected = counted.results.plus(Bytes::product(&[counted.whole, of_a_graph])?)?;
    let size = Deviation::VLLM_CAPTURED.around(expected)?;
    buffers.push(kind(Basis::Modelled, source), BufferId::CapturedResults, size, formula);
    push_splits(buffers, scenario, serving, captured)?;
    attention::push_counted(buffers, scenario, serving)?;
    let source = "free memory before and after capture in a public log of 0.22 and 34 of 0.19, on H100; the driver's, so that no \
                  virtual card shows it";
    let formula = Formula::text(
        "110 MiB of kernels + 60% of what graphs took under 0.19",
        &[("under 0.19", counted.nodes.get())],
    );
    let expected = KERNELS.plus(counted.nodes.scale(NODES_SINCE, 100)?)?;
    let high = KERNELS.plus(counted.nodes)?;
    let size = Bounds::new(Bytes::ZERO, expected, high);
    buffers.push(kind(Basis::Assumed, source), NAME, size, formula);
    Ok(())
}

/// The name of the buffers that the graphs are.
pub const NAME: BufferId = BufferId::CudaGraphs;
/// The name of what attention leaves room for in them.
pub const SPLIT_RESULTS: BufferId = BufferId::CapturedSplits;

/// Tokens of the largest step that is captured on this card.
pub fn captured(family: Architecture, chunk: u64, serving: Serving, gpu: &GpuSpec) -> u64 {
    sizes(family, chunk, serving, gpu).last().copied().unwrap_or(0)
}

/// Numbers of tokens that are captured: 1, 2, 4, by eights to 256, by sixteens from there; from 0.29 on `max_num_seqs`, too,
/// and the tokens of a step where those are fewer (`config/vllm.py`, `_set_cudagraph_sizes`).
fn sizes(family: Architecture, chunk: u64, serving: Serving, gpu: &GpuSpec) -> Vec<u64> {
    let ceiling = if serving.version.captures_more_on(gpu.compute_capability) {
        MOST_OF_GPT_OSS
    } else {
        MOST
    };
    let most = if family.family().vllm.captures_more {
        MOST_OF_GPT_OSS
    } else {
        decoding(serving).saturating_mul(2).min(ceiling)
    };
    let most = serving.server.most_captured.unwrap_or(most).min(chunk);
    let mut sizes: Vec<u64> = strides(most).collect();
    if serving.version.captures_all_sequences() {
        let further = [chunk, serving.max_seqs];
        sizes.extend(further.into_iter().filter(|size| *size <= most));
        sizes.sort_unstable();
        sizes.dedup();
    }
    sizes
}

/// Tokens that all sequences decode at once: one each, and those that are drafted.
fn decoding(serving: Serving) -> u64 {
    serving.max_seqs.saturating_mul(of_a_sequence(serving))
}

/// Tokens that a sequence decodes at once.
const fn of_a_sequence(serving: Serving) -> u64 {
    if serving.version.captures_drafted() { 1 + serving.server.ahead } else { 1 }
}

fn strides(most: u64) -> impl Iterator<Item = u64> {
    let fine = (8..FINE).step_by(8);
    let coarse = (FINE..=most.max(FINE)).step_by(16);
    [1, 2, 4].into_iter().chain(fine).chain(coarse).take_while(move |size| *size <= most)
}

/// Steps captured in pieces, and those captured whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graphs {
    /// In pieces: every size.
    pub pieces: u64,
    /// Whole: as many tokens as sequences may decode.
    pub whole: u64,
}

impl Graphs {
    fn of(sizes: &[u64], serving: Serving, are_captured_whole: bool) -> Self {
        let (least, most) = (of_a_sequence(serving), decoding(serving));
        let is_whole = |size: &&u64| are_captured_whole && (least..=most).contains(*size);
        let whole = sizes.iter().filter(is_whole).count();
        Self { pieces: sizes.len() as u64, whole: whole as u64 }
    }

    const fn all(self) -> u64 {
        self.pieces + self.whole
    }
}

/// KiB of a layer in one graph, by the kernels that it has: 34 public logs of vLLM 0.19 on H100.
fn node_kib(scenario: &Scenario<'_>) -> u64 {
    let shape = &scenario.model.shape;
    let is_mxfp4 = shape.architecture.family().experts.in_mxfp4();
    match (shape.moe, scenario.weights.format) {
        // Experts in MXFP4: two logs of gpt-oss.
        (Some(_), _) if is_mxfp4 => 312,
        (Some(moe), _) if moe.shared_ffn_size > 0 => 360,
        (Some(_), _) => 220,
        // Activations are quantized by kernels of their own.
        (None, WeightFormat::Int8) => 190,
        (None, _) => 158,
    }
}

fn is_hopper(scenario: &Scenario<'_>) -> bool {
    scenario.gpu.compute_capability.major == HOPPER
}

/// Whether attention is `FlashAttention` 3.
fn splits(scenario: &Scenario<'_>) -> bool {
    let shape = &scenario.model.shape;
    let looks_at_images = shape.architecture.family().vllm.images_attend
        && vision::loaded(scenario.model, scenario.kind(), scenario.workload.images).is_some();
    is_hopper(scenario) && scenario.weights.format != WeightFormat::F32 && !looks_at_images
}

fn push_splits(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    captured: u64,
) -> Result<(), EstimateError> {
    if !splits(scenario) {
        return Ok(());
    }
    let shape = &scenario.model.shape;
    // Latent attention's values are the latent vectors.
    let width = shape.mla.map_or_else(|| shape.widest_head(), |mla| mla.kv_lora_rank);
    // Attention is part of graphs of whole steps only.
    let tokens = captured.min(serving.max_seqs);
    let source =
        "vLLM v1/attention/backends/flash_attn.py, max_num_splits: FlashAttention 3's buffers";
    let factors = [
        ("splits", SPLITS),
        ("tokens", tokens),
        ("heads", shape.n_heads.div_ceil(serving.ranks)),
        ("head_dim and the sum", width + 1),
        ("B", 4),
    ];
    buffers.product(kind(Basis::Modelled, source), SPLIT_RESULTS, &factors)?;
    Ok(())
}

/// Versions before 0.16 took 0.1 to 1.1 times `460 MiB + 15 MiB a layer` in 20 of 22 logs, whatever the
/// sequences, and 2.4 and 3.5 times that in two.
const OLD: Bytes = Bytes::new(460 << 20);
const OLD_PER_LAYER: u64 = 15 << 20;

fn push_old(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let layers = scenario.layers().len() as u64;
    let most = OLD.plus(Bytes::product(&[layers, OLD_PER_LAYER])?)?;
    let source = "free memory before and after capture in public logs; outside vLLM's share";
    let formula = Formula::text("(460 MiB + 15 MiB · layers) / 2", &[("layers", layers)]);
    let size = Deviation::VLLM_OLD_GRAPHS.around(most.scale(1, 2)?)?;
    buffers.push(kind(Basis::Assumed, source), NAME, size, formula);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Fact, Server};

    /// No Blackwell.
    fn some_gpu() -> GpuSpec {
        let none = Fact::new(Bounds::ZERO, Basis::Exact, "test");
        GpuSpec::main_memory(Bytes::new(80 << 30), none)
    }

    fn serving(max_seqs: u64) -> Serving {
        Serving { max_seqs, ..Serving::default() }
    }

    #[test]
    fn sizes_are_those_that_vllm_prints() {
        // `cudagraph_capture_sizes` of public logs of 0.19: 51 of them, the last of which is 512.
        let (llama, gpu) = (Architecture::Llama, some_gpu());
        let of = |chunk, serving| sizes(llama, chunk, serving, &gpu);
        let graphs = |chunk, serving: Serving| Graphs::of(&of(chunk, serving), serving, true).all();
        assert_eq!((strides(512).count(), captured(llama, 8192, serving(1024), &gpu)), (51, 512));
        assert_eq!(graphs(8192, serving(1024)), 102);
        // Half of the sizes are captured in pieces only where fewer sequences decode.
        assert_eq!(graphs(2048, serving(256)), 51 + 35);
        assert_eq!(strides(20).collect::<Vec<_>>(), [1, 2, 4, 8, 16]);
        assert_eq!(captured(llama, 8192, serving(1), &gpu), 2);
        // As many tokens as sequences, where they are no stride.
        assert_eq!(of(8192, serving(10)), [1, 2, 4, 8, 10, 16]);
        // Logs of Qwen3.6-27B that drafts: `PIECEWISE=5 (largest=16)` with 2 sequences and 3 tokens ahead under 0.20
        // (noonghunna/club-3090#104), `6 (largest=24)` with 5 (#747), `7 (largest=32)` with 4 sequences and 3 (#44).
        let ahead = |max_seqs, ahead, version: &str| Serving {
            server: Server { ahead, ..Server::default() },
            version: version.parse().unwrap(),
            ..serving(max_seqs)
        };
        for (drafts, last, pieces) in [
            (ahead(2, 3, "0.20.2"), 16, 5),
            (ahead(2, 5, "0.25"), 24, 6),
            (ahead(4, 3, "0.20.2"), 32, 7),
        ] {
            let sizes = of(8192, drafts);
            let graphs = Graphs::of(&sizes, drafts, false);
            assert_eq!((sizes.last(), graphs), (Some(&last), Graphs { pieces, whole: 0 }));
        }
    }
}
