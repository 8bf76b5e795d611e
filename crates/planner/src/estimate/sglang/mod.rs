//! `SGLang`: what its share of the card leaves beside the weights becomes a pool of tokens; all else has to fit in the rest.
//!
//! `pool = share · free before loading − what loading took`. Free before loading is the card without the process's context, what
//! ranks take to talk to each other, and other processes. What the share leaves free, `(1 − share) · free before loading`, holds
//! the table of requests, attention's workspaces, captured graphs and the results of a step: nothing checks that they fit, so
//! that a server with too large a share dies while it captures or at its first long prompt.
//!
//! Sources: `SGLang` 0.5.23 `srt/mem_cache/kv_cache_configurator.py` (`_profile_available_bytes`), `srt/distributed/bootstrap.py`
//! (`measure_pre_model_load_memory`), `srt/mem_cache/memory_pool.py` (`ReqToTokenPool`, `MHATokenToKVPool`); the same arithmetic
//! since 0.4.9 (`srt/model_executor/model_runner.py`, `profile_max_num_token`). What releases do otherwise is asked of
//! [`SglangVersion`]. Disaggregated serving is not planned.

mod attention;
mod compressed;
mod defaults;
mod drafting;
mod graphs;
pub mod pool;
mod rules;
mod step;
mod weights;

use self::attention::{Backend, Served};
pub use self::defaults::{ByCard, Reserved};
use self::pool::{Cells, Holds, Kept};
pub use self::rules::Rules;
use crate::estimate::serving::fragmentation;
use crate::estimate::serving::layer::table_width;
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Pool, Scenario, Start,
    overhead, push_weights, vision,
};
use crate::spec::families::RotationTables;
use crate::spec::{Basis, Bounds, ModelShape, SglangVersion, TokenServing, Tower};
use crate::units::{Bytes, Overflow};

/// Lists everything that the process holds, and what of it the pool is.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<Pool, EstimateError> {
    let serving = check(scenario)?;
    overhead::push_bare_context(buffers, scenario);
    push_groups(buffers, scenario, serving);
    let before = sum(buffers)?;
    push_weights(buffers, scenario);
    crate::estimate::fragmentation::push_rounding(buffers, scenario);
    push_rotation(buffers, scenario, serving.version)?;
    overhead::push_libraries(buffers, scenario);
    push_images(buffers, scenario, serving)?;
    if serving.version.counts_predictions() {
        drafting::push_weights(buffers, scenario, serving)?;
    }
    let loaded = less(sum(buffers)?, before);
    let sized = Sized::of(scenario, serving, [before, loaded])?;
    sized.push(buffers)?;
    push_beside(buffers, scenario, &sized)?;
    fragmentation::push_remainders(buffers);
    sized.pool()
}

fn check(scenario: &Scenario<'_>) -> Result<TokenServing, EstimateError> {
    let workload = &scenario.workload;
    let serving = scenario.runtime.options.token_serving().unwrap_or_default();
    let unsupported = |what, value: String, expected| {
        Err(EstimateError::Unsupported { runtime: scenario.kind(), what, value, expected })
    };
    if workload.logits == crate::spec::Logits::All {
        return unsupported("choice of logits", "all".into(), "`last`: positions that are sampled");
    }
    if workload.capture.is_some() {
        return unsupported("way to keep activations", "capture".into(), "no `--capture-layers`");
    }
    if let Some(most) = serving.asked_requests().filter(|most| workload.batch > *most) {
        let reason =
            format!("SGLang runs at most {most} requests together, see `--max-running-requests`");
        return Err(EstimateError::Model { field: "batch", reason });
    }
    Ok(serving)
}

/// Sums what has been listed so far, which stays.
fn sum(buffers: &Buffers) -> Result<Bounds, Overflow> {
    buffers.0.iter().try_fold(Bounds::ZERO, |sum, buffer| sum.plus(buffer.size))
}

/// A sum without one of its parts.
fn less(sum: Bounds, part: Bounds) -> Bounds {
    let of = |of: fn(Bounds) -> Bytes| of(sum).minus_or_zero(of(part));
    Bounds::new(of(|b| b.low), of(|b| b.expected), of(|b| b.high))
}

fn mib([low, expected, high]: [u64; 3]) -> Bounds {
    let mib = |n: u64| Bytes::new(n << 20);
    Bounds::new(mib(low), mib(expected), mib(high))
}

/// The compute capabilities of cards that switches join.
const SWITCHED: [u32; 2] = [9, 10];

/// MiB that groups of ranks take before the card is looked at, on cards that switches join and on others.
const GROUPS: [[u64; 3]; 2] = [[300, 1300, 2080], [20, 150, 700]];

/// Lists what ranks take to talk to each other before anything is loaded.
fn push_groups(buffers: &mut Buffers, scenario: &Scenario<'_>, serving: TokenServing) {
    let gpus = serving.tensor_ranks().max(scenario.part().of);
    if gpus < 2 {
        return;
    }
    let is_switched = SWITCHED.contains(&scenario.gpu.compute_capability.major);
    let size = mib(GROUPS[usize::from(!is_switched)]);
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis: Basis::Assumed,
        source: "free memory before loading in a log on 4 x L4, one on 4 cards of 24 GB and one on 4 x H100",
    };
    let formula = Formula::text("constant for two GPUs and more", &[("GPUs", gpus)]);
    buffers.push(kind, BufferId::RankCommunication, size, formula);
}

/// Lists the tables of sines and cosines, one for all layers, in f32.
fn push_rotation(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    version: SglangVersion,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "SGLang srt/layers/rotary_embedding, cos_sin_cache: kept in f32 on CUDA",
    };
    let width = rotated_width(shape, version);
    if width == 0 {
        return Ok(());
    }
    let factors = [("positions", shape.context_len), ("width", width), ("B", 4)];
    Ok(buffers.product(kind, BufferId::RotaryTables, &factors)?)
}

/// Elements for a position in all tables of sines and cosines: Gemma 3's are not stretched, and were none at first.
fn rotated_width(shape: &ModelShape, version: SglangVersion) -> u64 {
    match shape.architecture.family().vllm.rotation {
        RotationTables::TwoStretched if version.keeps_tables_of_gemma_3() => {
            shape.head_dim + shape.rotated(shape.widest_head())
        }
        RotationTables::TwoStretched => 0,
        RotationTables::One | RotationTables::Two => table_width(shape),
    }
}

/// MiB that are kept back for images (`SGLANG_VLM_CACHE_SIZE_MB`), and for those that Qwen3-VL's processor hands over on the
/// card (`SGLANG_MM_FEATURE_CACHE_MB`).
const IMAGES: u64 = 100;
const QWEN_IMAGES: u64 = 1024;

/// Lists what is kept back of the pool for images that come later.
fn push_images(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: TokenServing,
) -> Result<(), EstimateError> {
    let tower = vision::loaded(scenario.model, scenario.kind(), scenario.workload.images);
    let Some(tower) = tower.filter(|_| serving.version.reserves_for_images()) else {
        return Ok(());
    };
    let keeps_on_card = tower.tower == Tower::Qwen3Vl && scenario.model.recurrent_layers() == 0;
    let mib = if keeps_on_card { QWEN_IMAGES } else { IMAGES };
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Modelled,
        source: "SGLang srt/mem_cache/kv_cache_configurator.py, mm_runtime_reservation_gb",
    };
    Ok(buffers.product(kind, "images' cache, kept back", &[("MiB", mib), ("B", 1 << 20)])?)
}

/// What was decided of the pool.
struct Sized {
    serving: TokenServing,
    cells: Cells,
    limit: Bytes,
    fixed: Bounds,
    holds: Holds,
    /// Tokens that conversations fill, and those of them that all share.
    needed: u64,
    shared: u64,
    /// Conversations.
    sequences: u64,
    /// Tokens of the longest request.
    context: u64,
}

impl Sized {
    fn of(
        scenario: &Scenario<'_>,
        serving: TokenServing,
        [before, loaded]: [Bounds; 2],
    ) -> Result<Self, Overflow> {
        let Scenario { model, gpu, kv, workload, .. } = scenario;
        let TokenServing { fraction, ranks, version, .. } = serving;
        let predicting = drafting::predicting(scenario, serving);
        let page = serving.server.block_tokens;
        let kept = Kept {
            model,
            gpu,
            kv: *kv,
            ranks,
            version,
            page,
            predicting,
            copies: serving.copies(),
            requests: serving.asked_requests(),
            chunk: workload.prefill_chunk,
        };
        let cells = Cells::of(&kept, &scenario.part().layers)?;
        let limit = fraction.of(gpu.free().minus_or_zero(serving.others))?;
        let share = |size: Bytes| fraction.of(size);
        let of_before =
            Bounds::new(share(before.low)?, share(before.expected)?, share(before.high)?);
        let fixed = loaded.plus(of_before)?;
        let mut holds = cells.holds(limit.minus_or_zero(fixed.expected))?;
        if let Some(most) = serving.most_tokens {
            holds.tokens = holds.tokens.min(most / cells.page * cells.page);
        }
        if let Some(most) = serving.most_pages {
            holds.tokens = holds.tokens.min(most.checked_mul(cells.page).ok_or(Overflow)?);
        }
        let page = cells.page;
        let shared = workload.system_tokens / page * page;
        let own = workload.system_tokens - shared;
        let own = own
            .checked_add(scenario.cache_tokens)
            .and_then(|own| own.checked_next_multiple_of(page));
        let all = own.and_then(|own| own.checked_mul(workload.batch)).ok_or(Overflow)?;
        Ok(Self {
            serving,
            cells,
            limit,
            fixed,
            holds,
            needed: shared.checked_add(all).ok_or(Overflow)?,
            shared,
            sequences: workload.batch,
            context: serving.context.unwrap_or(workload.context),
        })
    }

    /// Requests that are run together.
    fn requests(&self) -> u64 {
        self.cells.requests(self.holds, self.context, self.serving.asked_requests())
    }

    /// Lists tokens and states; what conversations need is at most what the pool holds: where it is more, it is listed, for that
    /// is what would be missing.
    fn push(&self, buffers: &mut Buffers) -> Result<(), Overflow> {
        let kind = Kind {
            component: Component::ConversationCache,
            life: Life::From(Phase::SystemPrefill),
            basis: Basis::Modelled,
            source: "SGLang srt/model_executor/pool_configurator.py, calculate_pool_sizes",
        };
        let tokens = |tokens: u64| -> Result<(Bounds, Formula), Overflow> {
            if let Some(compressed) = self.cells.compressed {
                return compressed.sized(tokens);
            }
            let formula = Formula::text(
                "tokens · (B in full layers + 0.8 · B in layers with a pool of windows)",
                &[
                    ("tokens", tokens),
                    ("B in full layers", self.cells.full.get()),
                    ("B in layers with a pool of windows", self.cells.window.get()),
                ],
            );
            Ok((Bounds::exactly(self.cells.size_of(tokens)?), formula))
        };
        let (size, formula) = tokens(self.shared)?;
        let system = Kind { component: Component::SystemPromptCache, ..kind };
        buffers.push(system, "tokens of the system prompt", size, formula);
        let rest = self.holds.tokens.max(self.needed).saturating_sub(self.shared);
        let (size, formula) = tokens(rest)?;
        buffers.push(kind, "the rest of the pool", size, formula);
        if let Some(compressed) = self.cells.compressed {
            compressed.push_fixed(buffers, kind, self.requests());
        }
        if !self.cells.state.is_zero() {
            let states =
                self.sequences.checked_mul(self.cells.states_of_a_request).ok_or(Overflow)?;
            let states = self.holds.states.max(states) + 1;
            let factors = [
                ("requests' states", states),
                ("B in all recurrent layers", self.cells.state.get()),
            ];
            buffers.product(kind, BufferId::RecurrentStates, &factors)?;
        }
        Ok(())
    }

    /// The pool, and whether the server starts with it.
    fn pool(&self) -> Result<Pool, EstimateError> {
        let Self { cells, limit, fixed, holds, context, .. } = *self;
        let need = cells.with_states(self.needed, self.sequences)?;
        let left = |fixed: Bytes| limit.minus_or_zero(fixed);
        let has = Bounds::new(left(fixed.high), left(fixed.expected), left(fixed.low));
        let needs = cells.smallest()?;
        let starts = needs <= has.expected;
        Ok(Pool {
            host: Bytes::ZERO,
            limit,
            need: fixed.plus(Bounds::exactly(need))?,
            fixed,
            block: cells.size_of(cells.page)?,
            block_tokens: cells.page,
            blocks: holds.tokens / cells.page,
            tokens: holds.tokens,
            of_one: None,
            requests: Some(self.requests()),
            // It serves whatever context it is told to; a longer request than its pool is refused when it comes.
            start: Start {
                context,
                needs,
                has,
                longest: if starts { context } else { 0 },
                captured: None,
            },
        })
    }
}

/// MiB of sampling, inputs of a step and kernels that are loaded with the first: what logs have beyond the rest.
const SMALL: [u64; 3] = [0, 120, 400];

/// Lists what has to fit beside the share.
fn push_beside(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    sized: &Sized,
) -> Result<(), EstimateError> {
    let Sized { serving, context, .. } = *sized;
    let requests = sized.requests();
    push_tables(buffers, sized, requests)?;
    if !serving.version.counts_predictions() {
        drafting::push_weights(buffers, scenario, serving)?;
        drafting::push_cache(buffers, sized.cells, sized.holds)?;
    }
    let backend = Backend::of(&scenario.model.shape, scenario.gpu, serving.version);
    let batch = if serving.eager { 0 } else { graphs::largest_batch(scenario, serving, requests) };
    let graphs =
        graphs::captured_sizes(serving, batch).iter().filter(|size| **size > 0).count() as u64;
    attention::push(buffers, scenario, backend, Served { batch, graphs, context })?;
    overhead::push_workspace(buffers, scenario);
    let small = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Assumed,
        source: "free memory after the pool, before capture and when serving in public logs",
    };
    buffers.push(small, BufferId::StepInputs, mib(SMALL), Formula::text("constant", &[]));
    graphs::push(buffers, scenario, serving, requests)?;
    vision::transformers(buffers, scenario, Phase::Prefill)?;
    step::push(buffers, scenario, serving)
}

/// Positions that a request's row has more than the longest context.
const MORE_POSITIONS: u64 = 4;

/// Lists the table that says where the tokens of every request are, and what the pool has beside its tokens.
fn push_tables(buffers: &mut Buffers, sized: &Sized, requests: u64) -> Result<(), Overflow> {
    let Sized { serving, cells, holds, context, .. } = *sized;
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Modelled,
        source: "SGLang srt/mem_cache/memory_pool.py, ReqToTokenPool",
    };
    let rows = requests + u64::from(serving.version.pads_requests());
    let more = MORE_POSITIONS + serving.drafter().map_or(0, |_| serving.tokens_of_a_step());
    let positions = context.checked_add(more).ok_or(Overflow)?;
    let factors = [("requests", rows), ("positions", positions), ("B", 4)];
    buffers.product(kind, "table of requests' tokens", &factors)?;
    let kind = Kind { source: "SGLang srt/mem_cache, a page of padding in every layer", ..kind };
    let page = cells.full.plus(cells.window)?.times(cells.page)?;
    buffers.push(
        kind,
        "padding page of the pool",
        Bounds::exactly(page),
        Formula::text("tokens of a page · B of a token", &[("tokens of a page", cells.page)]),
    );
    let kind = Kind { source: "SGLang srt/mem_cache/allocator, lists of free places", ..kind };
    let lists = if cells.window.is_zero() { 1 } else { 3 };
    let places = [("lists", lists), ("places", holds.tokens / cells.page), ("B", 8)];
    buffers.product(kind, "free places of the pool", &places)
}
