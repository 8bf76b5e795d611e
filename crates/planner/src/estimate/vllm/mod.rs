//! vLLM: what is left of its share of the card after a profile run becomes the pool of cache blocks.
//!
//! `pool = utilization · card − weights − non-torch − peak of the profile run`, from 0.20 on less an estimate of the graphs that
//! it will capture ([`graphs`]). The profile run processes `max_num_batched_tokens` tokens (`prefill_chunk`) and then samples
//! for `max_num_seqs` sequences; its peak is the larger of
//!
//! - *a layer*: `2 B · tokens · (3 · ffn + 3.5 · hidden)` (gate and up, their product; residual, norm
//!   and output), or queries, keys, values and attention's output in place of the MLP;
//! - *the sampler*: logits and their copies, beside the hidden states of all tokens.
//!
//! Experts' workspaces are kept from one layer to the next and so stand beside both, and so does what the second model runner
//! keeps for every sequence. The context, and the captured graphs before 0.20, are outside vLLM's share: it does not count
//! them. What a release does otherwise is asked of [`VllmVersion`](crate::spec::VllmVersion).
//!
//! Sources: vLLM `v1/worker/gpu_worker.py` (`determine_available_memory`), `gpu_model_runner.py` and `gpu/model_runner.py`
//! (`profile_run`, `_dummy_sampler_run`), `v1/sample/ops/topk_topp_sampler.py`,
//! `fused_moe/modular_kernel.py`; factors matched to 59 public logs (tests/corpus/vllm.csv).

mod attention;
mod capability;
mod communication;
pub mod compressed;
mod compressed_step;
mod counted;
pub mod drafting;
pub mod encoder;
mod experts;
pub mod graphs;
pub mod lora;
pub mod offload;
pub mod paged;
pub mod pool;
mod rules;
mod sampler;
pub(crate) mod stages;
pub mod states;
pub(crate) mod weights;

pub use self::rules::Rules;
use crate::dtype::{KvFormat, PerTokenHead};
use crate::estimate::BufferId;
use crate::estimate::serving::fragmentation;
use crate::estimate::serving::layer::{attention_width, element, mlp_width, results, table_width};
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
    overhead, vision,
};
use crate::estimate::{Pool, push_weights};
use crate::spec::{Basis, Bounds, Serving};
use crate::units::{Bytes, Overflow};

const PROFILE_RUN: &str = "vLLM gpu_model_runner.py profile_run, matched to public logs";

/// Lists everything that the process holds, and what of it the pool is.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<Pool, EstimateError> {
    let serving = check(scenario)?;
    push_weights(buffers, scenario);
    let left_there = offload::of_scenario(scenario, serving)?;
    offload::take_off(buffers, left_there);
    push_zero_points(buffers, scenario, serving)?;
    experts::push_padding(buffers, scenario, serving)?;
    lora::push(buffers, scenario, serving)?;
    drafting::push(buffers, scenario, serving)?;
    crate::estimate::fragmentation::push_rounding(buffers, scenario);
    push_rope(buffers, scenario)?;
    communication::push_libraries(buffers, scenario, serving);
    counted::push(buffers, scenario);
    communication::push_granite(buffers, scenario);
    communication::push_ranks(buffers, scenario, serving);
    push_profile_run(buffers, scenario, serving)?;
    encoder::push(buffers, scenario, serving)?;
    if serving.version.counts_graphs() {
        push_graphs(buffers, scenario, serving)?;
    }
    let fixed = held(buffers)?;
    let pool = pool::push(buffers, scenario, serving, fixed)?;
    compressed_step::push_tables(buffers, scenario)?;
    overhead::push_bare_context(buffers, scenario);
    vision::vllm_step_embeddings(buffers, scenario)?;
    if serving.version.counts_graphs() {
        attention::push_beside(buffers, scenario, serving)?;
    } else {
        push_graphs(buffers, scenario, serving)?;
    }
    fragmentation::push_remainders(buffers);
    Ok(pool)
}

fn push_graphs(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    if serving.eager {
        return Ok(());
    }
    graphs::push(buffers, scenario, serving, |tokens| {
        results(scenario, tokens, mlp_width(scenario, serving.ranks))
    })
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
    if stored.is_zero() || !is_hopper || !serving.version.widens_zero_points() {
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
    check_cache(scenario, serving)?;
    if workload.batch > serving.max_seqs {
        let most = serving.max_seqs;
        let reason =
            format!("vLLM processes at most {most} sequences together, see `--max-num-seqs`");
        return Err(EstimateError::Model { field: "batch", reason });
    }
    Ok(serving)
}

/// Refuses formats of the cache that a release or a model does not have.
fn check_cache(scenario: &Scenario<'_>, serving: Serving) -> Result<(), EstimateError> {
    let version = serving.version;
    let known = match scenario.kv {
        KvFormat::PerTokenHead(PerTokenHead::Int4) => version.has_int4_caches(),
        KvFormat::Nvfp4 | KvFormat::PerTokenHead(_) => version.has_small_caches(),
        _ => return Ok(()),
    };
    let refuse = |reason| Err(EstimateError::Model { field: "kv", reason });
    if !known {
        return refuse(format!("vLLM {version} has no cache in `{}`", scenario.kv));
    }
    if scenario.model.shape.mla.is_some() {
        return refuse(format!("vLLM caches no latent vectors in `{}`", scenario.kv));
    }
    Ok(())
}

/// Sums what has been listed so far: what stays, and the larger moment of the profile run. Its images are encoded first, when
/// experts have no workspaces yet.
fn held(buffers: &Buffers) -> Result<Bounds, Overflow> {
    let (mut stays, mut workspaces) = (Bounds::ZERO, Bounds::ZERO);
    let mut passes = [Bounds::ZERO; Moment::ALL.len()];
    for buffer in &buffers.0 {
        match buffer.life {
            Life::From(_) if buffer.id == BufferId::ExpertWorkspaces => {
                workspaces = workspaces.plus(buffer.size)?;
            }
            Life::From(_) => stays = stays.plus(buffer.size)?,
            Life::During(_, moment) => {
                passes[moment as usize] = passes[moment as usize].plus(buffer.size)?;
            }
        }
    }
    let encoding = std::mem::replace(&mut passes[Moment::Encoding as usize], Bounds::ZERO);
    let step = passes.into_iter().fold(Bounds::ZERO, Bounds::max).plus(workspaces)?;
    stays.plus(step.max(encoding))
}

/// Tables of sines and cosines, one for all layers; Gemma's windowed layers have their own. gpt-oss's is
/// f32 (`gpt_oss.py`).
fn push_rope(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    if shape.extras.compressed.is_some() {
        return compressed_step::push_rope(buffers, scenario);
    }
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
    // Positions in three sections have four times as long a table, for videos (`rotary_embedding/mrope.py`).
    let longer = if shape.vision.is_some_and(|tower| tower.is_qwen()) { 4 } else { 1 };
    let positions = shape.context_len.max(scenario.workload.context).saturating_mul(longer);
    let factors = [("positions", positions), ("width", width), ("B", element)];
    buffers.product(kind, BufferId::RotaryTables, &factors)?;
    Ok(())
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
    sampler::push_states(buffers, scenario, serving)?;
    experts::push_workspaces(buffers, scenario, serving, rows)?;
    compressed_step::push(buffers, scenario, serving)?;
    push_layer(buffers, scenario, serving, rows)?;
    push_stages(buffers, scenario, rows)?;
    if !scenario.part().has_head {
        return Ok(());
    }
    sampler::push(buffers, scenario, serving, rows)
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
    if part.stage() > 0 {
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
    let streams = compressed_step::streams_width(shape);
    let attention = match shape.extras.compressed {
        Some(_) => compressed_step::attention_width(shape, serving.ranks),
        None => attention_width(scenario, serving.ranks),
    };
    push(Moment::FeedForward, "a layer's MLP", mlp_width(scenario, serving.ranks) + streams)?;
    push(Moment::Attention, "a layer's attention", attention + streams)?;
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
