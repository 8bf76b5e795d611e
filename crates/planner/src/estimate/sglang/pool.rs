//! The pool of tokens, and what `SGLang` makes of it.
//!
//! `pool = share · free before loading − what loading took`, which the layers share by what each keeps of a token:
//!
//! - *every token* where they attend to all, and where windows have no pool of their own;
//! - *0.8 of the tokens* where windows have one, in families that `Sglang` of the table of families names
//!   (`swa_full_tokens_ratio`);
//! - *states of requests* where layers are recurrent: 0.9 of what the tokens get (`mamba_full_memory_ratio`).
//!
//! Sources: `SGLang` 0.5.23 `srt/model_executor/pool_configurator.py` (`DefaultPoolConfigurator`, `HybridSWAPoolConfigurator`),
//! `srt/mem_cache/kv_cache_configurator.py` (`_profile_available_bytes`, `_handle_max_mamba_cache`, `resolve_max_num_reqs`,
//! `calculate_mla_kv_cache_dim`), `srt/configs/mamba_utils.py`; before 0.5.16 `model_runner_kv_cache_mixin.py`, before 0.5.8
//! `model_runner.py`. Compared with what these functions make of hundreds of configurations (`evidence/sglang`).

use std::ops::Range;

use super::attention::Backend;
use super::compressed::{self, CompressedCells, CompressedPool};
use crate::dtype::KvFormat;
use crate::estimate::kv_cache;
use crate::estimate::serving::layer::kept_by_rank;
use crate::spec::{Compressed, GpuSpec, Layer, ModelShape, ModelSpec, SglangVersion};
use crate::units::{Bytes, Overflow};

/// What layers keep, on one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Bytes of a token in all layers that keep every token.
    pub full: Bytes,
    /// The same of those whose windows have a pool of their own.
    pub window: Bytes,
    /// Tokens of such a window.
    pub window_size: u64,
    /// Bytes of a request's states in all recurrent layers.
    pub state: Bytes,
    /// States that a request may hold.
    pub states_of_a_request: u64,
    /// Tokens of a page.
    pub page: u64,
    /// The release.
    pub version: SglangVersion,
    /// What predicts.
    pub predicting: Predicting,
    /// Bytes of a token in its layers, where the pool does not count them.
    pub beside: Bytes,
    /// What a token takes where its layers keep compressed keys, in place of all of these.
    pub compressed: Option<CompressedCells>,
    /// Copies of attention that the states of delta nets are divided among although each has a pool of its own.
    sharing: u64,
}

/// What decides how layers are kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The card.
    pub gpu: &'a GpuSpec,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// GPUs that every layer is split over.
    pub ranks: u64,
    /// The release.
    pub version: SglangVersion,
    /// Tokens of a page, where they are chosen.
    pub page: Option<u64>,
    /// What predicts.
    pub predicting: Predicting,
    /// Copies of attention.
    pub copies: u64,
    /// Requests that run together at most, of each copy, where it is known before the pool is.
    pub requests: Option<u64>,
    /// Tokens of a step of prompts.
    pub chunk: u64,
}

/// What predictions add to a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicting {
    /// Layers of what predicts, which keep every token.
    pub layers: u64,
    /// Tokens of a request in a step of generation; 0 where nothing predicts.
    pub tokens: u64,
    /// Requests that run together at most.
    pub requests: u64,
}

impl Kept<'_> {
    /// Tokens of a page: as chosen, or the kernels' own.
    fn page(&self, gpu: &GpuSpec, shape: &ModelShape) -> u64 {
        let own = || Backend::of(shape, gpu, self.version).page(shape);
        self.page.unwrap_or_else(own).max(1)
    }
}

/// What a pool of some size holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Tokens (`max_total_num_tokens`), whole pages of them.
    pub tokens: u64,
    /// States (`max_mamba_cache_size`); 0 where no layer keeps one.
    pub states: u64,
}

/// Tokens of windows for ten of the others, and states' bytes for nineteen of both.
const WINDOW_TENTHS: u64 = 8;
const STATE_SHARE: [u64; 2] = [9, 19];

/// Requests that share the pool at least and at most, where nothing is said, and those of a pool that holds one context.
const REQUESTS: [u64; 2] = [2048, 4096];
const REQUESTS_OF_A_CONTEXT: u64 = 512;

impl Cells {
    /// What a run of layers keeps.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn of(kept: &Kept<'_>, run: &Range<u64>) -> Result<Self, Overflow> {
        let Kept { model, gpu, ranks, version, predicting, .. } = *kept;
        let shape = split(&model.shape, ranks);
        let pooled = shape.architecture.family().sglang.window_pool_since;
        let pools_windows = pooled.is_some_and(|since| since <= version);
        let state = state_size(&shape)?;
        let mut cells = Self {
            full: Bytes::ZERO,
            window: Bytes::ZERO,
            window_size: 0,
            state: Bytes::ZERO,
            states_of_a_request: states_of_a_request(&shape, version),
            page: kept.page(gpu, &model.shape),
            version,
            predicting,
            beside: Bytes::ZERO,
            compressed: None,
            sharing: if shape.recurrent.is_some() { kept.copies.max(1) } else { 1 },
        };
        if let Some(compressed) = &shape.extras.compressed {
            return cells.compressed(kept, compressed, run);
        }
        let mut keeping = 0;
        for (index, layer) in (0..).zip(&model.layers).filter(|(index, _)| run.contains(index)) {
            let mut token = |cells: &mut Self| -> Result<(), Overflow> {
                cells.full = cells.full.plus(token_size(kept, &shape, index)?)?;
                keeping += 1;
                Ok(())
            };
            // Its pools have every layer's place, of those too that read another's keys and values (Gemma 3n, Gemma 4).
            match shape.own_layer(index).unwrap_or(*layer) {
                Layer::Window { size } if pools_windows => {
                    cells.window = cells.window.plus(token_size(kept, &shape, index)?)?;
                    cells.window_size = cells.window_size.max(size);
                }
                Layer::Full | Layer::Window { .. } => token(&mut cells)?,
                Layer::Recurrent => cells.state = cells.state.plus(state)?,
                Layer::FullAndRecurrent => {
                    token(&mut cells)?;
                    cells.state = cells.state.plus(state)?;
                }
                Layer::Nothing => {}
            }
        }
        cells.add_predicting(keeping)?;
        Ok(cells)
    }

    /// Of layers that keep compressed keys.
    fn compressed(
        mut self,
        kept: &Kept<'_>,
        compressed: &Compressed,
        run: &Range<u64>,
    ) -> Result<Self, Overflow> {
        let Kept { model, version, predicting, chunk, .. } = *kept;
        let requests = kept.requests.unwrap_or(compressed::REQUESTS);
        let pool = CompressedPool { model, compressed, version, predicting, requests, chunk };
        let cells = pool.cells(run)?;
        self.page = compressed::PAGE;
        self.full = cells.size.scale(1, cells.tokens)?;
        self.compressed = Some(cells);
        Ok(self)
    }

    /// Adds layers like those that keep every token, of which there are so many: what predicts is thought to be like them.
    fn add_predicting(&mut self, keeping: u64) -> Result<(), Overflow> {
        if self.predicting.layers == 0 || keeping == 0 {
            return Ok(());
        }
        let size = self.full.scale(self.predicting.layers, keeping)?;
        if self.version.counts_predictions() {
            self.full = self.full.plus(size)?;
        } else {
            self.beside = size;
        }
        Ok(())
    }

    /// Bytes of so many tokens as make whole bytes, with their part of windows.
    fn whole(&self) -> Result<(Bytes, u64), Overflow> {
        if let Some(compressed) = self.compressed {
            return Ok((compressed.size, compressed.tokens));
        }
        if self.full.is_zero() {
            // All layers have windows: their tokens are the pool's.
            return Ok((self.window, 1));
        }
        Ok((self.full.times(10)?.plus(self.window.times(WINDOW_TENTHS)?)?, 10))
    }

    /// Bytes that the pool has whatever its tokens are.
    pub fn fixed(&self) -> Bytes {
        self.compressed.map_or(Bytes::ZERO, |compressed| compressed.fixed)
    }

    /// Bytes of so many tokens, rounded up.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn size_of(&self, tokens: u64) -> Result<Bytes, Overflow> {
        let (size, of) = self.whole()?;
        Ok(Bytes::new(size.times(tokens)?.get().div_ceil(of)))
    }

    /// What is made of a pool of such a size.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn holds(&self, pool: Bytes) -> Result<Holds, Overflow> {
        let (states, left) = self.without_states(pool.minus_or_zero(self.fixed()))?;
        let (size, of) = self.whole()?;
        let tokens = left.times(of)?.get() / size.get().max(1) / self.page * self.page;
        Ok(Holds { tokens, states })
    }

    /// States that a pool has, and what is left for tokens.
    fn without_states(&self, pool: Bytes) -> Result<(u64, Bytes), Overflow> {
        if self.state.is_zero() {
            return Ok((0, pool));
        }
        let [part, of] = STATE_SHARE;
        let padding = u64::from(self.version.counts_padded_states());
        if !self.version.gives_steps_states_of_their_own() {
            // Every state is there once for each token of a step, and once more.
            let each = 1 + self.predicting.tokens;
            let states = pool.scale(part, of)?.get() / self.state.get() / each / self.sharing;
            let all = states.checked_mul(each).ok_or(Overflow)?;
            return Ok((states, pool.minus_or_zero(self.state.times(all)?)));
        }
        if self.predicting.tokens > 0 {
            return self.without_predicted_states(pool);
        }
        let budget = pool.scale(part, of)?;
        let states = (budget.get() / self.state.get()).saturating_sub(padding);
        Ok((states, pool.minus_or_zero(self.state.times(states + padding)?)))
    }

    /// The same where every token of a step has a state of its own until it is known which are right (`_handle_max_mamba_cache`).
    fn without_predicted_states(&self, pool: Bytes) -> Result<(u64, Bytes), Overflow> {
        let [part, of] = STATE_SHARE;
        let Predicting { tokens, requests, .. } = self.predicting;
        let each = self.state.get();
        if !self.version.counts_predictions() {
            let steps = self.state.times(tokens)?.times(requests)?;
            let left = pool.minus_or_zero(steps);
            let states = left.scale(part, of)?.get() / each;
            return Ok((states, left.minus_or_zero(self.state.times(states)?)));
        }
        let ratio = self.states_of_a_request;
        let padding = u64::from(self.version.counts_padded_states());
        let budget = pool.scale(part, of)?.minus_or_zero(self.state.times(padding * (1 + tokens))?);
        let states = budget.times(ratio)?.get() / self.state.times(ratio + tokens)?.get().max(1);
        let requests = requests.max(1).min(states / ratio);
        let steps = self.state.times(tokens)?.times(requests + padding)?;
        let kept = self.state.times(states + padding)?.plus(steps)?;
        Ok((states, pool.minus_or_zero(kept)))
    }

    /// Requests that a server with such a pool runs together (`max_running_requests`), where so many are asked for.
    pub fn requests(&self, holds: Holds, context: u64, asked: Option<u64>) -> u64 {
        let Holds { tokens, states } = holds;
        let [least, most] = REQUESTS;
        let counted = self.counted(tokens);
        let share = counted * u128::from(REQUESTS_OF_A_CONTEXT) / u128::from(context.max(1));
        let found = u64::try_from(share).unwrap_or(most).clamp(least, most);
        let mut requests = asked.unwrap_or(found);
        let halves = if asked.is_some() {
            self.version.halves_asked_requests()
        } else {
            self.version.halves_requests()
        };
        if halves {
            requests = requests.min(tokens / 2);
        }
        if !self.state.is_zero() {
            requests = requests.min(states / self.states_of_a_request);
        }
        requests
    }

    /// The tokens that requests are reckoned by: those of all layers alike before windows got their part, in releases that
    /// reckon so early.
    fn counted(&self, tokens: u64) -> u128 {
        let of = |size: Bytes| u128::from(size.get());
        let all = of(self.full) + of(self.window);
        if self.version.splits_windows_first() || all == 0 {
            return u128::from(tokens);
        }
        let ten = 10 * of(self.full) + u128::from(WINDOW_TENTHS) * of(self.window);
        u128::from(tokens).saturating_mul(ten) / (10 * all)
    }

    /// Bytes of a pool with which a server starts: one page, as many tokens as two requests where each has two, one request's
    /// states, and more than a window in the pool of windows.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn smallest(&self) -> Result<Bytes, Overflow> {
        let mut tokens = self.page;
        if self.version.halves_requests() {
            tokens = tokens.max(2);
        }
        if self.version.checks_window_pool() && !self.window.is_zero() {
            let more_than = self.window_size.checked_add(self.page).ok_or(Overflow)?;
            tokens =
                tokens.max(Bytes::new(more_than + 1).scale(10, WINDOW_TENTHS)?.get() + self.page);
        }
        self.with_states(tokens, 1)
    }

    /// Bytes of a pool with so many tokens, and states for so many requests.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn with_states(&self, tokens: u64, requests: u64) -> Result<Bytes, Overflow> {
        let tokens = self.size_of(tokens.checked_next_multiple_of(self.page).ok_or(Overflow)?)?;
        if self.state.is_zero() {
            return tokens.plus(self.fixed());
        }
        let padding = u64::from(self.version.counts_padded_states());
        let slots = requests.checked_mul(self.states_of_a_request).ok_or(Overflow)?;
        let [part, of] = STATE_SHARE;
        let steps = self.predicting.tokens.checked_mul(requests + 1).ok_or(Overflow)?;
        let all =
            slots.checked_add(padding).and_then(|all| all.checked_add(steps)).ok_or(Overflow)?;
        let for_states = self.state.times(all)?.scale(of, part)?;
        // Rounded down to whole states, those leave a little more to the tokens.
        let for_tokens = tokens.scale(of, of - part)?;
        Ok(for_tokens.max(for_states.plus(Bytes::new(of))?))
    }
}

/// States that a request may hold: its own, one that it began with and one that is inserted (`_calculate_mamba_ratio`), and two
/// more where prompts leave checkpoints.
fn states_of_a_request(shape: &ModelShape, version: SglangVersion) -> u64 {
    if version.buffers_states() && shape.extras.short_convolution.is_none() { 5 } else { 3 }
}

/// One rank's part: heads are split, and there is one at least (`ModelConfig.get_num_kv_heads`).
fn split(shape: &ModelShape, ranks: u64) -> ModelShape {
    kept_by_rank(shape, ranks, |heads| (heads / ranks.max(1)).max(heads.min(1)))
}

/// Bytes of a token in layer `index`: keys and values, or the latent vector, and the key by which tokens are chosen.
fn token_size(kept: &Kept<'_>, shape: &ModelShape, index: u64) -> Result<Bytes, Overflow> {
    let Kept { kv, .. } = *kept;
    if shape.mla.is_some() {
        return latent_size(kept, shape)?.plus(indexer_size(shape, index)?);
    }
    if shape.per_layer.is_some() {
        return kv_cache::heads_size(shape.layer(index), kv, 1);
    }
    kv_cache::layer_size(shape, kv, 1)
}

/// Elements that share an f32 scale where latent vectors and indexers' keys are 8-bit.
const SCALED: u64 = 128;

/// A latent vector. Where tokens are chosen, kernels before Blackwell's read 8-bit vectors with f32 scales and 16-bit positions.
fn latent_size(kept: &Kept<'_>, shape: &ModelShape) -> Result<Bytes, Overflow> {
    let Kept { gpu, kv, version, .. } = *kept;
    let has_scales = kv == KvFormat::Fp8
        && shape.extras.indexer.is_some()
        && version.counts_latent_scales()
        && gpu.compute_capability.major < 10;
    match shape.mla {
        Some(mla) if has_scales => {
            let scales = mla.kv_lora_rank / SCALED * 4;
            Ok(Bytes::new(mla.kv_lora_rank + scales + 2 * mla.qk_rope_head_dim))
        }
        _ => kv_cache::latent_size(shape, kv, 1),
    }
}

/// The key of an indexer in 8 bits, with its scales; one of every so many tokens where they are pooled (`index_page_size`).
fn indexer_size(shape: &ModelShape, index: u64) -> Result<Bytes, Overflow> {
    let Some(indexer) = shape.extras.indexer.as_ref().filter(|indexer| indexer.is_in(index)) else {
        return Ok(Bytes::ZERO);
    };
    let scales = Bytes::new(indexer.head_dim / SCALED).times(4)?;
    Bytes::new(indexer.head_dim).plus(scales)?.scale(1, indexer.pooled.unwrap_or(1))
}

/// A recurrent layer's state: the convolution's inputs in 16 bits, and the matrices in f32 (`mamba2_state_dtype`).
fn state_size(shape: &ModelShape) -> Result<Bytes, Overflow> {
    let element = shape.extras.state_bytes.unwrap_or(4);
    if let Some(convolution) = shape.extras.short_convolution {
        let taps = convolution.kernel.saturating_sub(1);
        return Bytes::product(&[taps, shape.hidden_size, 2]);
    }
    if let Some(ssm) = shape.ssm {
        let taps = ssm.conv_kernel.saturating_sub(1);
        let convolution = Bytes::product(&[taps, ssm.conv_width(), 2])?;
        return convolution.plus(Bytes::product(&[ssm.inner_size, ssm.state_size, element])?);
    }
    let Some(r) = shape.recurrent else { return Ok(Bytes::ZERO) };
    let channels = 2 * r.key_heads * r.key_head_dim + r.value_heads * r.value_head_dim;
    let convolution = Bytes::product(&[r.conv_kernel.saturating_sub(1), channels, 2])?;
    let state = [r.value_heads, r.key_head_dim, r.value_head_dim, element];
    convolution.plus(Bytes::product(&state)?)
}
