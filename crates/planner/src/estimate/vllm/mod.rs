//! vLLM: what is left of its share of the card after a profile run becomes the pool of cache blocks.
//!
//! `pool = utilization · card − weights − non-torch − peak of the profile run`. The profile run
//! processes `max_num_batched_tokens` tokens (`prefill_chunk`) and then samples for `max_num_seqs`
//! sequences; its peak is the larger of
//!
//! - *a layer*: `2 B · tokens · (3 · ffn + 3.5 · hidden)` (gate and up, their product; residual, norm
//!   and output), or queries, keys, values and attention's output in place of the MLP;
//! - *the sampler*: 16-bit logits, their f32 copy, probabilities and random numbers, 14 B a logit, and
//!   a row of f32 per program of the pivot search; 38 B a logit where the vocabulary is
//!   sorted; beside the hidden states of all tokens.
//!
//! Experts' workspaces are kept from one layer to the next and so stand beside both. The context
//! and the captured graphs are outside vLLM's share: it does not count them.
//!
//! Sources: vLLM `v1/worker/gpu_worker.py` (`determine_available_memory`), `gpu_model_runner.py`
//! (`profile_run`, `_dummy_sampler_run`), `v1/sample/ops/topk_topp_sampler.py`,
//! `fused_moe/modular_kernel.py`; factors matched to 59 public logs (tests/corpus/vllm.csv).

pub(crate) mod fragmentation;
pub mod graphs;
pub mod paged;
pub(crate) mod placement;
mod rules;
pub(crate) mod stages;
pub(crate) mod weights;

use self::paged::{Cached, Paging, kernel_block_tokens};
pub use self::rules::Rules;
use crate::dtype::WeightFormat;
use crate::estimate::BufferId;
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
    overhead, vision,
};
use crate::estimate::{Pool, push_weights};
use crate::spec::families::RotationTables;
use crate::spec::{Basis, Bounds, ModelShape, Serving, VllmVersion};
use crate::units::{Bytes, Overflow};

const PROFILE_RUN: &str = "vLLM gpu_model_runner.py profile_run, matched to public logs";

/// Lists everything that the process holds, and what of it the pool is.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<Pool, EstimateError> {
    let serving = check(scenario)?;
    push_weights(buffers, scenario);
    push_zero_points(buffers, scenario, serving)?;
    crate::estimate::fragmentation::push_rounding(buffers, scenario);
    push_rope(buffers, scenario)?;
    overhead::push_libraries(buffers, scenario);
    push_granite(buffers, scenario);
    push_ranks(buffers, scenario, serving);
    push_profile_run(buffers, scenario, serving)?;
    vision::vllm(buffers, scenario, serving)?;
    let fixed = held(buffers)?;
    let pool = push_pool(buffers, scenario, serving, fixed)?;
    overhead::push_bare_context(buffers, scenario);
    vision::vllm_step_embeddings(buffers, scenario)?;
    graphs::push(buffers, scenario, serving, |tokens| {
        results(scenario, tokens, mlp_width(scenario, serving.ranks))
    })?;
    fragmentation::push_remainders(buffers);
    Ok(pool)
}

/// AWQ's zero points as Hopper's kernel wants them: in 16 bits, not 4 (vLLM 0.19
/// `kernels/linear/mixed_precision/machete.py`, `transform_w_zp`). Versions between 0.16 and it were
/// not asked.
fn push_zero_points(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let stored = scenario.weights.zero_points;
    let is_hopper = scenario.gpu.compute_capability.major == graphs::HOPPER;
    if stored.is_zero() || !is_hopper || serving.version != VllmVersion::Current {
        return Ok(());
    }
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "vLLM kernels/linear/mixed_precision/machete.py, transform_w_zp",
    };
    let formula = Formula::product(&[("(16 − 4) / 4 bits", 3), ("B of zero points", stored.get())]);
    let more = formula.value()?;
    let size = Bounds::new(Bytes::ZERO, more, more);
    buffers.push(kind, "zero points in 16 bits", size, formula);
    Ok(())
}

fn check(scenario: &Scenario<'_>) -> Result<Serving, EstimateError> {
    let workload = &scenario.workload;
    let serving = scenario.runtime.options.serving().unwrap_or_default();
    let unsupported = |what, value: String, expected| {
        Err(EstimateError::Unsupported { runtime: scenario.kind(), what, value, expected })
    };
    if workload.logits == crate::spec::Logits::All {
        return unsupported("choice of logits", "all".into(), "`last`: positions that are sampled");
    }
    if workload.capture.is_some() {
        return unsupported("way to keep activations", "capture".into(), "no `--capture-layers`");
    }
    if workload.batch > serving.max_seqs {
        let most = serving.max_seqs;
        let reason = format!("vLLM processes at most {most} sequences together, see `--max-seqs`");
        return Err(EstimateError::Model { field: "batch", reason });
    }
    Ok(serving)
}

/// Sums what has been listed so far: what stays, and the larger moment of the profile run.
fn held(buffers: &Buffers) -> Result<Bounds, Overflow> {
    let mut stays = Bounds::ZERO;
    let mut passes = [Bounds::ZERO; Moment::ALL.len()];
    for buffer in &buffers.0 {
        match buffer.life {
            Life::From(_) => stays = stays.plus(buffer.size)?,
            Life::During(_, moment) => {
                passes[moment as usize] = passes[moment as usize].plus(buffer.size)?;
            }
        }
    }
    stays.plus(passes.into_iter().fold(Bounds::ZERO, Bounds::max))
}

/// Gemma 3 stretches positions eightfold beyond this context, and its table with them.
const GEMMA_3_TRAINED: u64 = 32_768;
const GEMMA_3_SCALING: u64 = 8;

/// Tables of sines and cosines, one for all layers; Gemma's windowed layers have their own. gpt-oss's is
/// f32 (`gpt_oss.py`).
fn push_rope(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let width = table_width(shape);
    if width == 0 {
        return Ok(());
    }
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "vLLM rotary_embedding/base.py cos_sin_cache, loaded with the weights",
    };
    let element = if shape.architecture.family().vllm.rotation_in_f32 { 4 } else { 2 };
    let positions = shape.context_len.max(scenario.workload.context);
    let factors = [("positions", positions), ("width", width), ("B", element)];
    buffers.product(kind, BufferId::RotaryTables, &factors)?;
    Ok(())
}

/// Elements for a position in all tables.
fn table_width(shape: &ModelShape) -> u64 {
    let widest = shape.rotated(shape.widest_head());
    if let Some(mla) = shape.mla {
        return mla.qk_rope_head_dim;
    }
    match shape.architecture.family().vllm.rotation {
        RotationTables::One => widest,
        RotationTables::TwoStretched if shape.context_len > GEMMA_3_TRAINED => {
            (1 + GEMMA_3_SCALING) * widest
        }
        RotationTables::Two | RotationTables::TwoStretched => shape.head_dim + widest,
    }
}

/// What Granite takes beside PyTorch's allocations, more than any other model that was seen.
const GRANITE: Bytes = Bytes::new(215 << 20);

fn push_granite(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let takes_more = scenario.model.shape.architecture.family().vllm.takes_more;
    if !takes_more || scenario.gpu.is_calibrated() {
        return;
    }
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis: Basis::Assumed,
        source: "2 public logs of vLLM 0.19: 0.46 GiB of non-torch memory, 0.21 GiB more than any other model; why is not known",
    };
    let size = Bounds::new(Bytes::ZERO, GRANITE, GRANITE);
    buffers.push(kind, BufferId::FamilyExtra, size, Formula::text("constant", &[]));
}

/// Communication buffers of a rank among several: seen between 0.3 GiB (0.6) and 2.0 GiB (0.19).
const RANK_BUFFERS: [u64; 3] = [300, 1870, 2080];

/// Stages of a pipeline have not met yet when the pool is sized: as little as on one GPU was seen.
const PIPELINE_BUFFERS: &str = "2 public logs of vLLM 0.19 with two and four stages: 0.07 GiB of \
    non-torch memory; high bound as the least seen of ranks";

fn push_ranks(buffers: &mut Buffers, scenario: &Scenario<'_>, serving: Serving) {
    let ranks = serving.ranks.max(scenario.part().of);
    if ranks < 2 {
        return;
    }
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "11 public logs of vLLM 0.19 on two and four H100: 2.06 to 2.21 GiB of non-torch memory, less that of one",
    };
    let [low, expected, high] = RANK_BUFFERS.map(|mib| Bytes::new(mib << 20));
    if serving.ranks < 2 {
        let kind = Kind { source: PIPELINE_BUFFERS, basis: Basis::Assumed, ..kind };
        let formula = Formula::text("nothing yet while the pool is sized", &[("stages", ranks)]);
        let bounds = Bounds::new(Bytes::ZERO, Bytes::ZERO, low);
        buffers.push(kind, "NCCL between stages", bounds, formula);
        return;
    }
    let formula = Formula::text("constant for two ranks and more", &[("ranks", ranks)]);
    buffers.push(kind, BufferId::RankCommunication, Bounds::new(low, expected, high), formula);
}

/// MiB that the profile run needs besides logits and layers: ids, positions, slots, tables of blocks.
const INPUTS: [u64; 3] = [0, 5, 24];

fn push_profile_run(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let rows = scenario.workload.prefill_chunk;
    overhead::push_workspace(buffers, scenario);
    let small = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Assumed,
        source: "what the logged peaks have beyond the rest: up to 14 MiB, to 10 MiB",
    };
    let [low, expected, high] = INPUTS.map(|mib| Bytes::new(mib << 20));
    let inputs = Bounds::new(low, expected, high);
    buffers.push(small, BufferId::StepInputs, inputs, Formula::text("constant", &[]));
    push_experts(buffers, scenario, serving, rows)?;
    push_layer(buffers, scenario, serving, rows)?;
    push_stages(buffers, scenario, rows)?;
    if !scenario.part().has_head {
        return Ok(());
    }
    push_sampler(buffers, scenario, serving, rows)
}

/// What a stage of a pipeline gets from the one before, for good, and hands to the next: the hidden
/// states of all tokens and their residuals.
fn push_stages(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    rows: u64,
) -> Result<(), EstimateError> {
    let part = scenario.part();
    let hidden = scenario.model.shape.hidden_size;
    let factors = [
        ("hidden and residual", 2),
        ("tokens", rows),
        ("hidden", hidden),
        ("B", element(scenario)),
    ];
    let kind = Kind {
        component: Component::Activations,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Assumed,
        source: "vLLM gpu_model_runner.py intermediate_tensors, from memory",
    };
    if part.ranks() == 1 && part.index > 0 {
        buffers.product(kind, "what the stage before hands over", &factors)?;
    }
    if !part.has_head {
        let kind = Kind { life: Life::During(Phase::Prefill, Moment::Output), ..kind };
        buffers.product(kind, "what the next stage is handed", &factors)?;
    }
    Ok(())
}

fn transient(component: Component, moment: Moment) -> Kind<'static> {
    let life = Life::During(Phase::Prefill, moment);
    Kind { component, life, basis: Basis::Modelled, source: PROFILE_RUN }
}

/// Two workspaces that the experts of every layer share, as wide as gate and up or the hidden state
/// of every expert of a token. gpt-oss's MXFP4 kernels have none.
fn push_experts(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let in_mxfp4 = shape.architecture.family().experts.in_mxfp4();
    let Some(moe) = shape.moe.filter(|_| !in_mxfp4) else {
        return Ok(());
    };
    let width = moe.expert_ffn_size.div_ceil(serving.ranks);
    let widths = width.max(shape.hidden_size) + (2 * width).max(shape.hidden_size);
    let life = match serving.version {
        VllmVersion::Sorting => Life::During(Phase::Prefill, Moment::FeedForward),
        VllmVersion::Current => Life::From(Phase::SystemPrefill),
    };
    let kind = Kind {
        component: Component::Activations,
        life,
        basis: Basis::Modelled,
        source: "vLLM fused_moe.py TritonExperts.workspace_shapes, kept by its workspace manager",
    };
    let formula = Formula::product(&[
        ("tokens", rows),
        ("experts of a token", moe.n_experts_used),
        ("max(ffn, hidden) + max(2 ffn, hidden)", widths),
        ("B", element(scenario)),
    ]);
    let size = Deviation::VLLM_LAYER.around(formula.value()?)?;
    buffers.push(kind, BufferId::ExpertWorkspaces, size, formula);
    Ok(())
}

/// Width of the dense or shared MLP on one rank.
fn dense_width(scenario: &Scenario<'_>, ranks: u64) -> u64 {
    let shape = &scenario.model.shape;
    let widest = scenario.widest(|layer| layer.ffn_size);
    let dense = match shape.moe {
        Some(moe) if moe.leading_dense_layers == 0 => moe.shared_ffn_size,
        Some(moe) => moe.shared_ffn_size.max(widest),
        None => widest,
    };
    dense.div_ceil(ranks)
}

/// Elements that the MLP of a layer holds for a token on one rank: gate, up and their product, and the
/// 8-bit copy that 8-bit kernels read of what goes into the down projection.
fn mlp_width(scenario: &Scenario<'_>, ranks: u64) -> u64 {
    let ffn = dense_width(scenario, ranks);
    let parts = if scenario.model.shape.gated_ffn { 3 } else { 2 };
    let copied = u64::from(reads_eight_bits(scenario.weights.format));
    (parts * ffn).saturating_add(copied * ffn / 2)
}

/// `B · tokens · (width + 3.5 · hidden)`: what a layer holds.
fn results(scenario: &Scenario<'_>, tokens: u64, width: u64) -> Result<Bytes, Overflow> {
    let hidden = scenario.model.shape.hidden_size;
    let halves = Bytes::product(&[2, width])?.plus(Bytes::product(&[7, hidden])?)?;
    halves.times(tokens)?.times(element(scenario) / 2)
}

/// Elements that attention holds for a token on one rank: queries, keys, values and its output,
/// expanded from latent vectors where there are such.
fn attention_width(scenario: &Scenario<'_>, ranks: u64) -> u64 {
    let shape = &scenario.model.shape;
    let heads = shape.n_heads.div_ceil(ranks);
    match shape.mla {
        Some(mla) => {
            let key = mla.qk_nope_head_dim + mla.qk_rope_head_dim;
            heads * (2 * key + (mla.qk_nope_head_dim + mla.v_head_dim) + 2 * mla.v_head_dim)
        }
        None => scenario.widest(|layer| {
            2 * (layer.n_heads.div_ceil(ranks) + layer.kv_heads.div_ceil(ranks)) * layer.head_dim
        }),
    }
}

fn push_layer(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let mut push = |moment, name, width: u64| -> Result<(), EstimateError> {
        let formula = Formula::text(
            "B · tokens · (width + 3.5 · hidden)",
            &[
                ("B", element(scenario)),
                ("tokens", rows),
                ("width", width),
                ("hidden", shape.hidden_size),
            ],
        );
        let size = Deviation::VLLM_LAYER.around(results(scenario, rows, width)?)?;
        buffers.push(transient(Component::Activations, moment), name, size, formula);
        Ok(())
    };
    push(Moment::FeedForward, "a layer's MLP", mlp_width(scenario, serving.ranks))?;
    push(Moment::Attention, "a layer's attention", attention_width(scenario, serving.ranks))?;
    push_scan(buffers, scenario, serving, rows)
}

/// Tokens that the kernels of a state-space layer scan at once (`mamba_chunk_size`).
const SCAN_CHUNK: u64 = 256;

/// A state-space layer: its projection, the convolution, gate and output, and an f32 state per chunk.
fn push_scan(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let Some(ssm) = shape.ssm else { return Ok(()) };
    let inner = ssm.inner_size.div_ceil(serving.ranks);
    let conv = inner + 2 * ssm.n_groups.div_ceil(serving.ranks) * ssm.state_size;
    let values = [
        ("tokens", rows),
        ("inner", inner),
        ("convolution", conv),
        ("hidden", shape.hidden_size),
        ("state", ssm.state_size),
    ];
    let text =
        "B · tokens · (3 inner + 2 convolution + 3.5 hidden) + 4 B · tokens / 256 · inner · state";
    let halves = 2 * (3 * inner + 2 * conv) + 7 * shape.hidden_size;
    let results = Bytes::product(&[halves, rows, element(scenario) / 2])?;
    let states = Bytes::product(&[rows.div_ceil(SCAN_CHUNK), inner, ssm.state_size, 4])?;
    let size = Deviation::VLLM_SCAN.around(results.plus(states)?)?;
    let kind = Kind {
        basis: Basis::Assumed,
        source: "vLLM mamba_mixer2.py, by its results; compared with no log",
        ..transient(Component::Activations, Moment::Recurrence)
    };
    buffers.push(kind, "a layer's state space", size, Formula::text(text, &values));
    Ok(())
}

/// Bytes of an activation.
fn element(scenario: &Scenario<'_>) -> u64 {
    if scenario.weights.format == WeightFormat::F32 { 4 } else { 2 }
}

/// Bytes a logit beside its own 16 bits (32 in an f32 model).
const SORTED: u64 = 36;
const SEARCHED: u64 = 12;

/// Sequences from which on the pivot is searched (`topk_topp_sampler.py`, `apply_top_k_top_p`).
const FEWEST_SEARCHED: u64 = 8;

/// Rows of the search's buffer: a power of two of programs, at most one for every multiprocessor
/// (`topk_topp_triton.py`).
fn search_rows(multiprocessors: u64, sampled: u64) -> u64 {
    let programs = multiprocessors.min(sampled);
    programs.checked_next_power_of_two().unwrap_or(programs).min(multiprocessors)
}

fn push_sampler(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let sampled = serving.max_seqs.min(rows);
    // Those sampled, and random numbers of the same shape that the sampler is warmed up with.
    let hidden =
        [("tokens, and those sampled twice", rows + 2 * sampled), ("hidden", shape.hidden_size)];
    let is_searched = serving.version == VllmVersion::Current && sampled >= FEWEST_SEARCHED;
    let kind = transient(Component::Activations, Moment::Output);
    buffers.product(kind, "hidden states", &[hidden[0], hidden[1], ("B", element(scenario))])?;
    let logits = transient(Component::Logits, Moment::Output);
    let (copies, name) = if is_searched {
        (SEARCHED, "logits, f32 copy, probabilities and random numbers")
    } else {
        (SORTED, "logits, f32 copy and what sorting takes")
    };
    let factors = [
        ("max_num_seqs", sampled),
        ("vocab_size", shape.vocab_size),
        ("B", element(scenario) + copies),
    ];
    let formula = Formula::product(&factors);
    let size = Deviation::VLLM_SAMPLER.around(formula.value()?)?;
    buffers.push(logits, name, size, formula);
    if is_searched {
        let programs = search_rows(scenario.gpu.sm_count.value, sampled);
        let kind = Kind { source: "vLLM topk_topp_triton.py, pull request 33538", ..logits };
        let factors = [("programs", programs), ("vocab_size", shape.vocab_size), ("B", 4)];
        buffers.product(kind, "candidates of the pivot search", &factors)?;
    }
    Ok(())
}

/// What the conversations need is at most what the pool holds; where it is more, it is listed, for
/// that is what would be missing.
fn push_pool(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    fixed: Bounds,
) -> Result<Pool, EstimateError> {
    let workload = &scenario.workload;
    let run = &scenario.part().layers;
    let (model, kv) = (scenario.model, scenario.kv);
    let tokens = kernel_block_tokens(model, kv, scenario.gpu);
    let paging = Paging::of_run(model, run, kv, serving.ranks, tokens)?;
    let cached = Cached {
        system: workload.system_tokens,
        conversation: scenario.cache_tokens,
        sequences: workload.batch,
        chunk: workload.prefill_chunk,
    };
    let limit = serving.utilization.of(scenario.gpu.visible())?;
    let blocks = paging.blocks(limit.minus_or_zero(fixed.expected));
    let blocks = blocks.min(serving.most_blocks.unwrap_or(blocks));
    let needed = paging.needed(&cached)?;
    let size = |blocks| paging.block.times(blocks);
    let shared = paging.shared(&cached);
    let mut push = |component, name, blocks| -> Result<(), Overflow> {
        let life = Life::From(Phase::SystemPrefill);
        let source = "vLLM v1/core/kv_cache_utils.py: floor(pool / block) blocks, kept whole";
        let kind = Kind { component, life, basis: Basis::Modelled, source };
        buffers.product(
            kind,
            name,
            &[
                ("blocks", blocks),
                ("layers of a group", paging.group_layers),
                ("tokens of a block", paging.block_tokens),
                ("B per layer and token", token_size(&paging)),
            ],
        )
    };
    push(Component::SystemPromptCache, "blocks of the system prompt", shared)?;
    let rest = blocks.max(needed).saturating_sub(shared);
    push(Component::ConversationCache, "the rest of the pool", rest)?;
    let need = size(needed)?;
    Ok(Pool {
        limit,
        need: fixed.plus(Bounds::exactly(need))?,
        fixed,
        block: paging.block,
        block_tokens: paging.block_tokens,
        blocks,
        tokens: paging.tokens(blocks),
    })
}

const fn token_size(paging: &Paging) -> u64 {
    paging.block.get() / (paging.group_layers * paging.block_tokens)
}

/// Whether kernels read 8-bit copies of activations.
const fn reads_eight_bits(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::Int8 | WeightFormat::Fp8)
}
