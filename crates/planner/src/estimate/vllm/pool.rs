//! The pool of cache blocks, and what vLLM checks before it serves.

use super::attention;
use super::compressed::CompressedCache;
use super::drafting::Drafted;
use super::offload;
use super::paged::{
    Cached, Paging, asked_block_tokens, has_checkpoints, kernel_block_tokens, with_states,
};
use super::states::{States, kept_states};
use crate::estimate::{
    Buffers, Captured, Component, EstimateError, Kind, Life, Phase, Pool, Scenario, Start,
};
use crate::spec::{Basis, Bounds, Serving};
use crate::units::{Bytes, Overflow};

/// Lists the pool that `fixed` leaves of vLLM's share. What the conversations need is at most what the pool holds; where it
/// is more, it is listed, for that is what would be missing.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    fixed: Bounds,
) -> Result<Pool, EstimateError> {
    let workload = &scenario.workload;
    let paging = paging(scenario, serving)?;
    // Ranks that the cache is dealt out over have every so manieth of its tokens.
    let dealt = |tokens: u64| tokens.div_ceil(serving.server.context_ranks.max(1));
    let cached = Cached {
        system: dealt(workload.system_tokens),
        conversation: dealt(scenario.cache_tokens),
        sequences: workload.batch,
        chunk: workload.prefill_chunk,
        has_every_state: kept_states(&scenario.model.shape, serving) == States::OfEveryBlock,
    };
    // A pool whose size is given is beside the rest, whatever share of the card that makes.
    let limit = match serving.server.cache_bytes {
        Some(pool) => fixed.expected.plus(pool)?,
        None => serving.utilization.of(scenario.gpu.visible())?,
    };
    let measured = scenario.measured_server().and_then(|server| server.pool.as_ref());
    // What a pool was measured to be says what the rest took.
    let fixed = measured.map_or(fixed, |pool| left(limit, pool.value));
    let left = match serving.server.cache_bytes {
        Some(pool) => Bounds::exactly(pool),
        None => left(limit, fixed),
    };
    let blocks = paging.blocks(left.expected);
    let blocks = blocks.min(serving.most_blocks.unwrap_or(blocks));
    let needed = paging.needed(&cached)?;
    let shared = paging.shared(&cached);
    let known = measured.map_or((Basis::Modelled, SOURCE), |pool| (pool.basis, &*pool.source));
    push_blocks(buffers, &paging, (Component::SystemPromptCache, known), shared)?;
    let rest = blocks.max(needed).saturating_sub(shared);
    push_blocks(buffers, &paging, (Component::ConversationCache, known), rest)?;
    let longest = serving.max_model_len.unwrap_or(workload.context);
    let has_checkpoints = has_checkpoints(&scenario.model.shape, scenario.gpu);
    let chunk = workload.prefill_chunk;
    let request = Request {
        paging,
        serving,
        chunk,
        states: kept_states(&scenario.model.shape, serving),
        stages: scenario.part().stages(),
        has_checkpoints,
    };
    let start = request.start(longest, left)?;
    let conversation = workload.system_tokens.checked_add(scenario.cache_tokens).ok_or(Overflow)?;
    // A conversation is no longer than the longest sequence, for which there has to be room before any is served.
    let need = paging.block.times(needed)?.max(request.admitted(conversation)?);
    Ok(Pool {
        limit,
        need: match serving.server.cache_bytes {
            Some(_) => Bounds::exactly(fixed.expected.plus(need)?),
            None => fixed.plus(Bounds::exactly(need))?,
        },
        fixed,
        block: paging.block,
        block_tokens: paging.block_tokens,
        blocks,
        tokens: request.printed(blocks, start.context)?,
        of_one: request.counted(start.context)?,
        requests: None,
        start: Start { captured: captured(scenario, serving, &paging)?, ..start },
        host: host(scenario, serving)?,
    })
}

/// Main memory for one GPU: weights that stay there, and its part of the blocks' room.
fn host(scenario: &Scenario<'_>, serving: Serving) -> Result<Bytes, Overflow> {
    let weights = offload::of_scenario(scenario, serving)?;
    let blocks = serving.server.kv_offload.scale(1, scenario.part().of.max(1))?;
    weights.plus(blocks)?.plus(serving.server.swap.unwrap_or(Bytes::ZERO))
}

/// What a share leaves beside what is no cache.
fn left(limit: Bytes, fixed: Bounds) -> Bounds {
    let less = |fixed: Bytes| limit.minus_or_zero(fixed);
    Bounds::new(less(fixed.high), less(fixed.expected), less(fixed.low))
}

fn paging(scenario: &Scenario<'_>, serving: Serving) -> Result<Paging, Overflow> {
    let (model, kv) = (scenario.model, scenario.kv);
    let tokens = kernel_block_tokens(model, kv, scenario.gpu, serving.version);
    let tokens = with_states(&model.shape, tokens, kept_states(&model.shape, serving));
    let tokens = asked_block_tokens(&model.shape, tokens, serving.server.block_tokens);
    let drafted = Drafted::of_scenario(scenario, serving)?;
    let run = &scenario.part().layers;
    if let Some(shape) = CompressedCache::of(&model.shape) {
        return shape.paging(run, drafted.layers, serving.version);
    }
    Paging::with_drafts(model, run, kv, (serving.ranks, tokens), drafted)?.packed_for(
        (model, scenario.gpu),
        run,
        kv,
        drafted,
    )
}

const SOURCE: &str = "vLLM v1/core/kv_cache_utils.py: floor(pool / block) blocks, kept whole";

fn push_blocks(
    buffers: &mut Buffers,
    paging: &Paging,
    (component, (basis, source)): (Component, (Basis, &str)),
    blocks: u64,
) -> Result<(), Overflow> {
    let kind = Kind { component, life: Life::From(Phase::SystemPrefill), basis, source };
    let name = match component {
        Component::SystemPromptCache => "blocks of the system prompt",
        _ => "the rest of the pool",
    };
    let layers_and_tokens = (paging.group_layers * paging.block_tokens).max(1);
    if !paging.block.get().is_multiple_of(layers_and_tokens) {
        let factors = [("blocks", blocks), ("B per block", paging.block.get())];
        return buffers.product(kind, name, &factors);
    }
    let of_a_token = paging.block.get() / layers_and_tokens;
    let factors = [
        ("blocks", blocks),
        ("layers of a group", paging.group_layers),
        ("tokens of a block", paging.block_tokens),
        ("B per layer and token", of_a_token),
    ];
    buffers.product(kind, name, &factors)
}

/// One request, as vLLM counts what it may need at most.
#[derive(Clone, Copy)]
pub struct Request {
    /// How the cache is cut.
    pub paging: Paging,
    /// The release and its options.
    pub serving: Serving,
    /// Tokens of a step.
    pub chunk: u64,
    /// What recurrent layers keep of it.
    pub states: States,
    /// Stages of a pipeline.
    pub stages: u64,
    /// Whether recurrent layers leave checkpoints, see [`has_checkpoints`].
    pub has_checkpoints: bool,
}

impl Request {
    /// Blocks that a request of so many tokens may hold (`max_memory_usage_bytes` of every kind of cache).
    ///
    /// # Errors
    /// On numbers that no pool has.
    pub fn blocks(&self, tokens: u64) -> Result<u64, Overflow> {
        let tokens = tokens.div_ceil(self.serving.server.context_ranks.max(1));
        let version = self.serving.version;
        let states = match self.states {
            States::OfEveryBlock => tokens.div_ceil(self.paging.block_tokens.max(1)),
            States::Last => version.states_of_a_request(false, self.has_checkpoints),
            States::Shared => version.states_of_a_request(true, self.has_checkpoints),
        };
        let states = states.saturating_add(self.serving.server.ahead);
        self.paging.of_a_request(tokens, self.in_flight()?, states)
    }

    /// Tokens of steps that are under way.
    fn in_flight(&self) -> Result<u64, Overflow> {
        self.chunk.checked_mul(self.serving.version.steps_in_flight(self.stages)).ok_or(Overflow)
    }

    /// The tokens that vLLM says a pool of so many blocks holds: from 0.21 on as many as conversations of the longest kind
    /// would hold together.
    ///
    /// # Errors
    /// On numbers that no pool has.
    pub fn printed(&self, blocks: u64, longest: u64) -> Result<u64, Overflow> {
        let ranks = self.serving.server.context_ranks.max(1);
        if !self.serving.version.prints_concurrency() {
            return self.paging.tokens(blocks).checked_mul(ranks).ok_or(Overflow);
        }
        let of_one = match self.paging.unequal {
            Some(unequal) if self.serving.version.prints_by_bytes() => {
                self.paging.of_a_request_by_bytes(&unequal, longest, self.in_flight()?)?
            }
            _ => self.blocks(longest)?,
        };
        let of_one = of_one.max(1);
        Ok(Bytes::new(longest).scale(blocks, of_one)?.get())
    }

    /// Blocks of a request by which a release counts how many requests of the longest kind its pool holds; nothing where it
    /// divides tokens (`get_max_concurrency_for_kv_cache_config`).
    ///
    /// # Errors
    /// On numbers that no pool has.
    pub fn counted(&self, longest: u64) -> Result<Option<u64>, Overflow> {
        let version = self.serving.version;
        let counts = version.counts_requests_by_blocks() && !version.prints_concurrency();
        counts.then(|| self.blocks(longest)).transpose()
    }

    /// The size of the pool without which no sequence of so many tokens is served (`_check_enough_kv_cache_memory`).
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn admitted(&self, tokens: u64) -> Result<Bytes, Overflow> {
        self.needs(tokens)?.plus(self.held_back())
    }

    /// What one request of so many tokens needs of the pool.
    fn needs(&self, tokens: u64) -> Result<Bytes, Overflow> {
        let block = self.paging.unequal.map_or(self.paging.block, |unequal| unequal.checked_block);
        block.times(self.blocks(tokens)?)
    }

    /// What of the pool no request has.
    const fn held_back(&self) -> Bytes {
        if self.serving.version.holds_a_block_back() { self.paging.block } else { Bytes::ZERO }
    }

    /// What is checked before it serves with a pool of such a size: that a request of the longest kind has room
    /// (`_check_enough_kv_cache_memory`). Where the longest is what the pool holds, one token is enough
    /// (`_auto_fit_max_model_len`).
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn start(&self, longest: u64, pool: Bounds) -> Result<Start, Overflow> {
        let less = |size: Bytes| size.minus_or_zero(self.held_back());
        let has = Bounds::new(less(pool.low), less(pool.expected), less(pool.high));
        let needed = self.needs(longest)?;
        let longest_that_starts = if needed <= has.expected {
            longest
        } else {
            longest_within(longest, |tokens| Ok(self.needs(tokens)? <= has.expected))?
        };
        let start = Start {
            context: longest,
            needs: needed,
            has,
            longest: longest_that_starts,
            captured: None,
        };
        if !self.serving.fits_length {
            return Ok(start);
        }
        let fitted = self.serving.fitted_length.unwrap_or(longest).min(longest_that_starts);
        Ok(Start { context: fitted.max(1), needs: self.needs(1)?, ..start })
    }
}

/// The sequences whose decoding is captured whole: where layers keep states, each has to have a block of the pool.
fn captured(
    scenario: &Scenario<'_>,
    serving: Serving,
    paging: &Paging,
) -> Result<Option<Captured>, Overflow> {
    let Serving { version, max_seqs, .. } = serving;
    let are_captured = attention::captures_whole(scenario, serving);
    if paging.recurrent == 0 || !are_captured || !version.captures_no_more_than_states() {
        return Ok(None);
    }
    // What is kept back of the cache is among these blocks.
    let held_back = if version.holds_a_block_back() { paging.block } else { Bytes::ZERO };
    let needs = paging.block.times(max_seqs)?.minus_or_zero(held_back);
    Ok(Some(Captured { sequences: max_seqs, needs }))
}

/// The most tokens below `high` that fit, as vLLM searches them: halving, given that what does not fit does not with more.
fn longest_within(
    high: u64,
    fits: impl Fn(u64) -> Result<bool, Overflow>,
) -> Result<u64, Overflow> {
    let (mut low, mut high) = (0, high);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
