//! The pool of DeepSeek-V4, whose layers keep a window and, of what is before it, keys that several tokens share.
//!
//! What a token of the pool takes is a part of each of these:
//!
//! - *compressed keys*, one for 4 or for 128 tokens, and an indexer's where 4 tokens share one;
//! - *windows* for a tenth of the tokens (`swa_full_tokens_ratio`), in every layer, with what compressors have not compressed
//!   yet of 4 tokens, a ring for each window, from 0.5.21 on for each page;
//! - before 0.5.15 as many rings of what is not compressed yet of 128 tokens.
//!
//! Those of 128 tokens belong to requests from 0.5.15 on, and come off the pool first. From 0.5.21 on windows do, too: a server
//! always knows how many requests run together (256 where nothing is said), so that the pool of windows is as large as those
//! need at worst, and four prefixes of each besides.
//!
//! A draft layer makes all of it larger by one layer's part, and rings twice as long.
//!
//! Sources: `SGLang` 0.5.23 `srt/model_executor/pool_configurator.py` (`DSV4PoolConfigurator`, `compute_swa_request_cap`),
//! `srt/mem_cache/deepseek_v4_memory_pool.py` (`get_compress_state_ring_size`), `kernels/ops/attention/dsv4/kv_layout.py`
//! (`page_bytes`), `srt/arg_groups/deepseek_v4_hook.py`; the same files of 0.5.12, the first that has them, to 0.5.22.
//! Compared with what these functions answer (`evidence/sglang/compressed.csv`).

use std::ops::Range;

use super::pool::Predicting;
use crate::dtype::KvFormat;
use crate::estimate::serving::compressed::{
    ALIGNMENT, HEAD, INDEX_HEAD, INDEX_KEY, KEY, LITTLE, MUCH,
};
use crate::estimate::{Buffers, EstimateError, Formula, Kind, Scenario};
use crate::spec::{Bounds, Compressed, Layer, ModelSpec, SglangVersion};
use crate::units::{Bytes, Overflow};

/// Tokens of a page, whatever is asked (`srt/layers/attention/deepseek_v4_backend.py`).
pub const PAGE: u64 = 256;
/// Requests that run together where nothing is said.
pub const REQUESTS: u64 = 256;
/// Bytes of what is not compressed yet of a token: keys and weights in f32, which overlap where four tokens share a key.
const LITTLE_STATE: u64 = 4 * (HEAD + INDEX_HEAD) * 4;
const MUCH_STATE: u64 = 2 * HEAD * 4;
/// One of so many tokens has a window, where windows are a part of the tokens.
const WINDOWED: u64 = 10;
/// Tokens behind which windows are given back (`SGLANG_SWA_EVICTION_INTERVAL`).
const EVICTION: u64 = 128;
/// Prefixes of a request whose windows are kept for reuse (`_resolve_swa_prefix_tails`).
const PREFIXES: u64 = 4;
/// Steps of prompts that are under way at once.
const STEPS: u64 = 2;
/// Tokens whose size is whole bytes: those that a page of windows is for.
const WHOLE: u64 = WINDOWED * PAGE;

/// What the pool is sized by.
#[derive(Clone, Copy, Debug)]
pub struct CompressedPool<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// What it compresses.
    pub compressed: &'a Compressed,
    /// The release.
    pub version: SglangVersion,
    /// What predicts.
    pub predicting: Predicting,
    /// Requests that run together, of a copy of attention.
    pub requests: u64,
    /// Tokens of a step of prompts.
    pub chunk: u64,
}

/// What it takes on one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedCells {
    /// Bytes of `tokens` tokens.
    pub size: Bytes,
    /// As many as make whole bytes.
    pub tokens: u64,
    /// Bytes whatever the tokens are.
    pub fixed: Bytes,
}

impl CompressedCells {
    /// What so many tokens take, rounded up, and how that is reckoned.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn sized(&self, tokens: u64) -> Result<(Bounds, Formula), Overflow> {
        let size = Bytes::new(self.size.times(tokens)?.get().div_ceil(self.tokens));
        let formula = Formula::text(
            "tokens · B of a page and its layers / tokens of that",
            &[("tokens", tokens), ("B", self.size.get()), ("tokens of that", self.tokens)],
        );
        Ok((Bounds::exactly(size), formula))
    }

    /// Lists what so many requests have whatever the tokens are.
    pub fn push_fixed(&self, buffers: &mut Buffers, kind: Kind<'_>, requests: u64) {
        if self.fixed.is_zero() {
            return;
        }
        let size = Bounds::exactly(self.fixed);
        let formula = Formula::text(
            "windows of requests and their prefixes, and what they have not compressed yet",
            &[("requests", requests), ("B of all", self.fixed.get())],
        );
        buffers.push(kind, "windows of requests", size, formula);
    }
}

/// Layers of each kind in a run of layers.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    all: u64,
    little: u64,
    much: u64,
}

impl CompressedPool<'_> {
    /// What a run of layers takes.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn cells(&self, run: &Range<u64>) -> Result<CompressedCells, Overflow> {
        let counted = self.counted(run);
        let windows = self.windows(counted)?;
        let (of_tokens, of_requests) = match self.most_windowed()? {
            None => (self.keys(counted)?.plus(windows)?, Bytes::ZERO),
            Some(tokens) => (self.keys(counted)?, windows.scale(tokens, PAGE)?),
        };
        let [part, of] = self.drafted(counted);
        Ok(CompressedCells {
            size: of_tokens.times(part)?,
            tokens: WHOLE * of,
            fixed: self.much_states(counted)?.plus(of_requests.scale(part, of)?)?,
        })
    }

    /// Bytes of the compressed keys of [`WHOLE`] tokens: ten pages in each layer.
    fn keys(&self, counted: Counted) -> Result<Bytes, Overflow> {
        let indexed = product(&[WHOLE / LITTLE, INDEX_KEY, counted.little])?;
        let little = product(&[WINDOWED, self.page(PAGE / LITTLE), counted.little])?;
        let much = product(&[WINDOWED, self.page(PAGE / MUCH), counted.much])?;
        little.plus(indexed)?.plus(much)
    }

    /// The list of the model's configuration has the layer that predicts, too, which was counted before layers were a run.
    fn counted(&self, run: &Range<u64>) -> Counted {
        let mut counted = Counted::default();
        if !self.version.counts_layers_of_a_run() {
            counted.all += 1;
        }
        for index in run.clone() {
            counted.all += 1;
            match self.compressed.ratio(index) {
                Some(LITTLE) => counted.little += 1,
                Some(MUCH) => counted.much += 1,
                _ => {}
            }
        }
        counted
    }

    /// Bytes of a page of so many keys.
    fn page(&self, keys: u64) -> u64 {
        let size = keys * KEY;
        if self.version.rings_by_page() { size.next_multiple_of(ALIGNMENT) } else { size }
    }

    /// Bytes of the windows of a page of tokens, with what belongs to them.
    fn windows(&self, counted: Counted) -> Result<Bytes, Overflow> {
        let per_page = if self.version.rings_by_page() { 1 } else { PAGE / self.window() };
        let little = product(&[self.ring(LITTLE), LITTLE_STATE, per_page, counted.little])?;
        let much = if self.version.rings_by_request() {
            Bytes::ZERO
        } else {
            product(&[self.ring(MUCH), MUCH_STATE, per_page, counted.much])?
        };
        let keys = product(&[self.page(PAGE), counted.all])?;
        keys.plus(little)?.plus(much)
    }

    /// Tokens that a window has.
    fn window(&self) -> u64 {
        let sizes = self.model.layers.iter().filter_map(|layer| match layer {
            Layer::Window { size } => Some(*size),
            _ => None,
        });
        sizes.max().unwrap_or(MUCH).clamp(1, PAGE)
    }

    /// Tokens whose part is kept until they are compressed.
    fn ring(&self, ratio: u64) -> u64 {
        let own = if ratio == LITTLE { 2 * LITTLE } else { MUCH };
        if self.predicting.tokens > 0 { 2 * own } else { own }
    }

    /// Tokens with windows at worst, where requests decide; nothing where they are a part of the tokens.
    fn most_windowed(&self) -> Result<Option<u64>, Overflow> {
        if !self.version.caps_windows() || self.chunk == 0 {
            return Ok(None);
        }
        let ahead = self.predicting.tokens;
        let behind = product(&[EVICTION, ahead.max(1)])?.get() + self.window() + PAGE;
        let next = if ahead > 0 { 2 * ahead } else { PAGE };
        let of_a_request = behind + next + PREFIXES * (self.window() + PAGE);
        let tokens = product(&[of_a_request, self.requests])?
            .plus(product(&[STEPS, self.chunk])?)?
            .plus(Bytes::new(PAGE))?;
        tokens.get().checked_next_multiple_of(PAGE).ok_or(Overflow).map(Some)
    }

    /// Bytes of what is not compressed yet of 128 tokens, where it belongs to requests: whole compressions, and one ring more.
    fn much_states(&self, counted: Counted) -> Result<Bytes, Overflow> {
        if !self.version.rings_by_request() || counted.much == 0 {
            return Ok(Bytes::ZERO);
        }
        let ring = self.ring(MUCH);
        let rows = product(&[self.requests.saturating_add(2), ring])?.get() + 1;
        product(&[rows.next_multiple_of(MUCH), MUCH_STATE, counted.much])
    }

    /// By how much a draft layer makes everything larger: the layers and it, to the layers.
    fn drafted(&self, counted: Counted) -> [u64; 2] {
        let layers = counted.all.max(1);
        if self.predicting.tokens > 0 { [layers + 1, layers] } else { [1, 1] }
    }
}

/// Refuses what no kernel reads, and releases that do not know such models.
///
/// # Errors
/// For shapes, formats and releases that `SGLang` ends with an error for.
pub fn check(scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let Some(compressed) = &shape.extras.compressed else { return Ok(()) };
    let refuse = |field, reason: String| Err(EstimateError::Model { field, reason });
    let version = scenario.runtime.options.token_serving().unwrap_or_default().version;
    if !version.knows_compressed_keys() {
        return refuse(
            "version",
            format!("SGLang {version} does not know this model: 0.5.12 is the first that does"),
        );
    }
    if scenario.kv != KvFormat::Fp8 {
        let kv = scenario.kv;
        return refuse(
            "kv",
            format!("SGLang's compressed keys are planned in `fp8`, not in `{kv}`"),
        );
    }
    let index_head = shape.extras.indexer.as_ref().map_or(0, |indexer| indexer.head_dim);
    if shape.head_dim != HEAD || index_head != INDEX_HEAD {
        let reason =
            "SGLang's kernels for compressed keys read heads of 512 elements, and indexers of 128";
        return refuse("attention", reason.to_owned());
    }
    let mut ratios = (0..shape.n_layers).filter_map(|index| compressed.ratio(index));
    match ratios.find(|ratio| ![LITTLE, MUCH].contains(ratio)) {
        None => Ok(()),
        Some(ratio) => refuse(
            "attention",
            format!(
                "SGLang's pools of keys that {ratio} tokens share are not modelled, of 4 and 128 they are"
            ),
        ),
    }
}

fn product(factors: &[u64]) -> Result<Bytes, Overflow> {
    factors.iter().try_fold(Bytes::new(1), |product, factor| product.times(*factor))
}
