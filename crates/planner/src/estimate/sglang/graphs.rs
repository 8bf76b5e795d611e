//! CUDA graphs, which are captured once the pool is there, in what the share of the card leaves.
//!
//! A graph is captured for every batch of a list, whole, and from 0.5.10 on for every step of a list of prompts' steps, in pieces
//! between two attentions. Graphs share one pool of `PyTorch`'s, whose largest user is captured first, so that they take
//!
//! - *nodes*: the driver's description of kernels, by graphs and layers;
//! - *results* of a layer at the largest captured step;
//! - *logits* of the largest batch.
//!
//! Sources: `SGLang` 0.5.23 `srt/arg_groups/cuda_graph_hook.py` (`generate_decode_cuda_graph_batch_sizes`,
//! `generate_prefill_cuda_graph_batch_sizes`, `disable_breakable_cudagraph_if_incompatible`); KiB of a layer by what logs print as
//! `mem usage` of captures (`tests/corpus/sglang.csv`).

use super::defaults::ByCard;
use super::drafting;
use crate::estimate::serving::layer::{element, mlp_width, results};
use crate::estimate::{
    BufferId, Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Phase, Scenario,
    vision,
};
use crate::spec::{Basis, SglangVersion, TokenServing, Tower, Vision};
use crate::units::{Bytes, Overflow};

/// Kernels that are loaded while graphs are captured, and workspaces of libraries.
const KERNELS: Bytes = Bytes::new(60 << 20);

/// KiB of a layer in the graph of a batch, and in that of a step of prompts.
const BATCH_KIB: u64 = 96;
const PROMPT_KIB: u64 = 213;

/// Sizes of captured batches up to the largest, which is among them in later releases. With predictions small batches
/// are padded less.
pub fn batch_sizes(version: SglangVersion, predicts: bool, largest: u64) -> Vec<u64> {
    let mut sizes =
        if predicts { predicting_sizes(version, largest) } else { plain_sizes(version, largest) };
    sizes.retain(|size| *size <= largest);
    if version.captures_largest() && sizes.last() != Some(&largest) {
        sizes.push(largest);
    }
    sizes
}

fn plain_sizes(version: SglangVersion, largest: u64) -> Vec<u64> {
    let begin: &[u64] = if version.reserves_by_step() { &[1, 2, 4, 8, 12] } else { &[1, 2, 4, 8] };
    let fine = (16..=256).step_by(8);
    let coarse = (272..512).step_by(16).chain((512..=largest.max(512)).step_by(32));
    begin.iter().copied().chain(fine).chain(coarse).collect()
}

/// Older releases captured fewer (`cuda_graph_runner.py`, `get_batch_sizes_to_capture` of 0.4.9).
fn predicting_sizes(version: SglangVersion, largest: u64) -> Vec<u64> {
    let fine = (1..=8).chain((10..=32).step_by(2));
    if version.reserves_by_step() {
        let coarse = (72..=256).step_by(8).chain((272..=largest.max(272)).step_by(16));
        return fine.chain((40..=64).step_by(4)).chain(coarse).collect();
    }
    let coarse = (80..=160).step_by(16).chain((168..=256).step_by(8));
    fine.chain((40..64).step_by(8)).chain(coarse).chain((272..=512).step_by(16)).collect()
}

/// Sizes of the batches that a server captures.
pub fn captured_sizes(serving: TokenServing, largest: u64) -> Vec<u64> {
    batch_sizes(serving.version, serving.drafter().is_some(), largest)
}

/// Tokens of captured steps of prompts.
pub fn prompt_sizes(largest: u64) -> impl Iterator<Item = u64> {
    let steps = [(4, 32, 4), (48, 256, 16), (288, 512, 32), (576, 1024, 64), (1280, 4096, 256)];
    let fixed = steps.into_iter().flat_map(|(from, to, by)| (from..=to).step_by(by));
    fixed.chain((4608..=largest.max(4096)).step_by(512)).take_while(move |size| *size <= largest)
}

/// What decides whether steps of prompts are captured.
#[derive(Clone, Copy, Debug)]
pub struct Prompts {
    /// The release.
    pub version: SglangVersion,
    /// Whether attention is over latent vectors.
    pub latent: bool,
    /// Whether layers keep states.
    pub recurrent: bool,
    /// Whether keys are compressed: what their indexer scores would stay in the graphs' pool.
    pub compressed: bool,
    /// The tower, where one is loaded.
    pub tower: Option<Vision>,
    /// Whether no graph is captured.
    pub eager: bool,
    /// Stages of a pipeline.
    pub stages: u64,
    /// Tokens of a step.
    pub chunk: u64,
}

impl Prompts {
    /// Tokens of the largest captured step; nothing where none is captured.
    pub fn largest(&self) -> Option<u64> {
        let Self { version, latent, recurrent, compressed, tower, eager, stages, chunk } = *self;
        let replays = |tower: Vision| {
            version.replays_images() && (recurrent || tower.tower == Tower::MoonVit)
        };
        let images = tower.is_some_and(|tower| !replays(tower));
        // Kimi's delta nets are not captured.
        let delta_nets = recurrent && latent;
        let fills = delta_nets || compressed;
        if !version.captures_prompts() || eager || stages > 1 || images || fills {
            return None;
        }
        Some(if latent { chunk.min(version.largest_latent_prompt()) } else { chunk })
    }

    /// Of a scenario.
    pub fn of(scenario: &Scenario<'_>, serving: TokenServing) -> Self {
        Self {
            version: serving.version,
            latent: scenario.model.shape.mla.is_some(),
            recurrent: scenario.model.recurrent_layers() > 0,
            compressed: scenario.model.shape.extras.compressed.is_some(),
            tower: vision::loaded(scenario.model, scenario.kind(), scenario.workload.images),
            eager: serving.eager,
            stages: scenario.part().of.div_ceil(serving.tensor_ranks().max(1)),
            chunk: scenario.workload.prefill_chunk / serving.copies(),
        }
    }
}

/// Requests of the largest captured batch.
pub fn largest_batch(scenario: &Scenario<'_>, serving: TokenServing, requests: u64) -> u64 {
    let by_card = ByCard::of(scenario.gpu, serving.version, serving.tensor_ranks());
    serving.server.most_captured.unwrap_or(by_card.largest_batch).min(requests.max(1))
}

fn kind(source: &str) -> Kind<'_> {
    let life = Life::From(Phase::SystemPrefill);
    Kind { component: Component::RuntimeOverhead, life, basis: Basis::Modelled, source }
}

/// Lists the captured graphs; `requests` is what the server runs together at most.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: TokenServing,
    requests: u64,
) -> Result<(), EstimateError> {
    if serving.eager {
        return Ok(());
    }
    let batch = largest_batch(scenario, serving, requests);
    let graphs = captured_sizes(serving, batch).len() as u64;
    let layers = scenario.layers().len() as u64;
    let tokens = batch.saturating_mul(serving.tokens_of_a_step());
    let captured = of_a_layer(scenario, serving, tokens)?;
    let results = captured.plus(logits(scenario, tokens)?)?;
    let decode = Captured { id: BufferId::CudaGraphs, graphs, layers, kib: BATCH_KIB, results };
    push_one(buffers, scenario, &decode)?;
    if let Some(drafter) = serving.drafter() {
        // Its steps one after the other, and what it makes of the tokens that were right.
        let layers = drafting::layers(scenario, drafter) * (serving.server.ahead + 1);
        let id = "CUDA graphs of what predicts".into();
        let results = logits(scenario, tokens)?;
        push_one(buffers, scenario, &Captured { id, graphs, layers, kib: BATCH_KIB, results })?;
    }
    let Some(largest) = Prompts::of(scenario, serving).largest() else { return Ok(()) };
    let results = of_a_layer(scenario, serving, largest)?;
    let graphs = prompt_sizes(largest).count() as u64;
    let id = "CUDA graphs of prompts".into();
    push_one(buffers, scenario, &Captured { id, graphs, layers, kib: PROMPT_KIB, results })
}

/// Logits of a batch: the head's own, and the f32 copy that is sampled from.
fn logits(scenario: &Scenario<'_>, batch: u64) -> Result<Bytes, Overflow> {
    let head = u64::from(scenario.part().has_head);
    Bytes::product(&[head, batch, scenario.model.shape.vocab_size, element(scenario) + 4])
}

fn of_a_layer(
    scenario: &Scenario<'_>,
    serving: TokenServing,
    tokens: u64,
) -> Result<Bytes, Overflow> {
    results(scenario, tokens, mlp_width(scenario, serving.tensor_ranks()))
}

/// What is captured.
struct Captured {
    id: BufferId,
    graphs: u64,
    layers: u64,
    kib: u64,
    results: Bytes,
}

fn push_one(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    captured: &Captured,
) -> Result<(), EstimateError> {
    let Captured { id, graphs, layers, kib, results } = *captured;
    let nodes = Bytes::product(&[graphs, layers, kib, 1 << 10])?;
    let formula = Formula::text(
        "60 MiB + graphs · layers · KiB a layer · 1 KiB + results",
        &[("graphs", graphs), ("layers", layers), ("KiB a layer", kib), ("results", results.get())],
    );
    let expected = Bytes::sum([KERNELS, nodes, results])?;
    let source =
        "free memory before and after capture in public logs; in what the share of the card leaves";
    let spread = if scenario.model.shape.moe.is_some() {
        Deviation::SGLANG_EXPERT_GRAPHS
    } else {
        Deviation::SGLANG_GRAPHS
    };
    buffers.push(kind(source), id, spread.around(expected)?, formula);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_logs_print() {
        // `Capture cuda graph bs [...]` and `num_tokens=[...]`: 4, 36 and 52 batches; 58 and 74 steps of prompts.
        let new = SglangVersion::NEWEST;
        let count = |version, largest| batch_sizes(version, false, largest).len();
        assert_eq!(batch_sizes(new, false, 8), [1, 2, 4, 8]);
        assert_eq!((count(new, 256), count(new, 512)), (36, 52));
        assert_eq!(batch_sizes(new, false, 20), [1, 2, 4, 8, 12, 16, 20]);
        assert_eq!(batch_sizes(SglangVersion::of(5, 9), false, 20), [1, 2, 4, 8, 12, 16]);
        assert_eq!(count(SglangVersion::OLDEST, 160), 23);
        // `generate_decode_cuda_graph_batch_sizes` of 0.5.23 with a `speculative_algorithm`.
        let predicting = batch_sizes(new, true, 48);
        assert_eq!((predicting.len(), &predicting[18..]), (23, &[30, 32, 40, 44, 48][..]));
        assert_eq!(batch_sizes(new, true, 5), [1, 2, 3, 4, 5]);
        let oldest = batch_sizes(SglangVersion::OLDEST, true, 160);
        assert_eq!((oldest.len(), &oldest[20..25]), (29, &[40, 48, 56, 80, 96][..]));
        assert_eq!((prompt_sizes(8192).count(), prompt_sizes(16_384).count()), (58, 74));
        assert_eq!((prompt_sizes(2048).count(), prompt_sizes(4096).count()), (42, 50));
    }
}
