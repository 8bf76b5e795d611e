//! vLLM's pool for DeepSeek-V4, whose layers keep a window and, of what is before it, keys that several tokens share.
//!
//! A layer has up to five caches, in blocks of 256, 64, 4 and 8 tokens:
//!
//! - *a window* of 128 tokens, in every layer: 64 vectors of 584 B to a block (448 numbers in 8 bits with eight scales, 64 in
//!   16 bits);
//! - *compressed keys*, one such vector for 4 or 128 tokens: 64 or 2 to a block;
//! - *an indexer's keys* where 4 tokens share a key: 132 B each (128 numbers in 8 bits and a scale), 64 to a block;
//! - *what its compressors have not compressed yet*: keys and weights in f32, of the last 8 tokens where 4 share a key, which
//!   overlap, and of 128; for the keys and for the indexer's.
//!
//! Blocks are aligned to 576 B, the stride of the kernel that reads them. Caches of as many tokens to a block and of one window
//! share a table of blocks, so that a block of the pool is as large as what one group has in it; how groups are formed and laid
//! out changed three times ([`Packing`]).
//!
//! Sources: vLLM 0.33 `models/deepseek_v4/attention.py` (`get_kv_cache_spec`), `compressor.py` (`CompressorStateCache`),
//! `v1/attention/backends/mla/sparse_swa.py` (`DeepseekV4SWACache`), `v1/core/kv_cache_planning.py`
//! (`_get_packed_kv_cache_groups`); `v1/core/kv_cache_utils.py` of 0.20 to 0.32; to the block as 0.33 itself answers
//! (`evidence/vllm/compressed-0.33.0.csv`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::paged::{ApartGroups, KINDS_OF_WINDOWS, Paging, Unequal, Windows};
use crate::dtype::KvFormat;
use crate::estimate::EstimateError;
use crate::estimate::serving::compressed::{
    ALIGNMENT, HEAD, INDEX_HEAD, INDEX_KEY, KEY, LITTLE, MUCH,
};
use crate::spec::{Compressed, ModelShape, Packing, Serving, VllmVersion};
use crate::units::{Bytes, Overflow};

/// Tokens of a block of compressed keys: what the kernels read.
pub const BLOCK_TOKENS: u64 = 256;
/// Tokens of a block of a window, and of what is not compressed yet where 4 and where 128 tokens share a key.
const WINDOW_TOKENS: u64 = 64;
const LITTLE_TOKENS: u64 = 4;
const MUCH_TOKENS: u64 = 8;
/// What tokens share a key that kernels read.
const RATIOS: [u64; 3] = [0, LITTLE, MUCH];

/// What layers of a model cache.
#[derive(Clone, Copy, Debug)]
pub struct CompressedCache<'a> {
    shape: &'a ModelShape,
    compressed: &'a Compressed,
}

/// Caches that share a table of blocks, or could: of so many tokens to a block, and of one window or none.
#[derive(Clone, Debug, Default)]
struct Caches {
    block_tokens: u64,
    /// Tokens that are kept; all, where there are none.
    window: u64,
    /// Bytes of a block of one layer, and which layers have such.
    pages: BTreeMap<u64, Vec<u64>>,
}

impl<'a> CompressedCache<'a> {
    /// Of a model that has such.
    pub fn of(shape: &'a ModelShape) -> Option<Self> {
        let compressed = shape.extras.compressed.as_ref()?;
        Some(Self { shape, compressed })
    }

    /// Refuses what no release has kernels for, or this one not.
    ///
    /// # Errors
    /// For shapes, formats and options that vLLM ends with an error for.
    pub fn check(&self, serving: Serving, kv: KvFormat) -> Result<(), EstimateError> {
        let refuse = |field, reason: String| Err(EstimateError::Model { field, reason });
        let version = serving.version;
        if version.packs().is_none() {
            return refuse(
                "version",
                format!("vLLM {version} does not know this model: 0.20 is the first that does"),
            );
        }
        if kv != KvFormat::Fp8 {
            return refuse(
                "kv",
                format!("vLLM's kernels for compressed keys read caches in `fp8`, not in `{kv}`"),
            );
        }
        let index_head = self.shape.extras.indexer.as_ref().map_or(0, |indexer| indexer.head_dim);
        if self.shape.head_dim != HEAD || index_head != INDEX_HEAD {
            return refuse(
                "attention",
                "vLLM's kernels for compressed keys read heads of 512 elements, and indexers of 128".to_owned(),
            );
        }
        let ratios = (0..self.shape.n_layers).map(|index| self.ratio(index));
        if let Some(ratio) = ratios.clone().find(|ratio| !RATIOS.contains(ratio)) {
            return refuse(
                "attention",
                format!("vLLM compresses 4 or 128 tokens to a key, not {ratio}"),
            );
        }
        if !ratios.clone().any(|ratio| ratio == LITTLE) {
            return refuse(
                "attention",
                "vLLM lays out compressed keys beside those of layers that compress 4 tokens, which this model has not"
                    .to_owned(),
            );
        }
        self.check_options(serving)
    }

    fn check_options(&self, serving: Serving) -> Result<(), EstimateError> {
        let server = serving.server;
        let refuse =
            |field, reason: &str| Err(EstimateError::Model { field, reason: reason.to_owned() });
        if server.block_tokens.is_some_and(|asked| asked != BLOCK_TOKENS) {
            return refuse(
                "block_size",
                "vLLM's kernels read compressed keys in blocks of 256 tokens",
            );
        }
        if server.context_ranks > 1 {
            return refuse("context_ranks", "vLLM deals out no windows over ranks of context");
        }
        if !self.shape.n_heads.is_multiple_of(serving.ranks.max(1)) {
            return refuse("ranks", "vLLM splits attention's heads evenly");
        }
        Ok(())
    }

    /// How the caches of a run of layers are cut into blocks, with those of so many layers behind the last that predict.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn paging(
        &self,
        run: &Range<u64>,
        drafted: u64,
        version: VllmVersion,
    ) -> Result<Paging, Overflow> {
        let packing = version.packs().unwrap_or(Packing::Patterns);
        let buckets = self.buckets(drafted)?;
        let groups = match packing {
            Packing::Patterns => by_patterns(&buckets),
            Packing::Tuples | Packing::Places | Packing::Overlaid => by_tuples(&buckets),
        };
        let is_last = run.end >= self.shape.n_layers;
        let run = run.start..if is_last { run.end.saturating_add(drafted) } else { run.end };
        let own: Vec<_> = groups.iter().map(|group| group.of_run(&run)).collect();
        let tuples = own.iter().map(Caches::longest).max().unwrap_or(0);
        let full = own.iter().find(|group| group.window == 0);
        let full_sizes: BTreeSet<u64> =
            full.into_iter().flat_map(|group| group.pages.keys().copied()).collect();
        let of_tuples = Bytes::new(full_sizes.iter().sum()).times(tuples)?;
        let padded = |page: u64| full_sizes.range(page..).next().copied().unwrap_or(page);
        let block = match packing {
            Packing::Tuples => of_tuples,
            Packing::Places => places(&own, padded)?,
            Packing::Overlaid | Packing::Patterns => largest(&own)?,
        };
        let size = |group: &Caches| match packing {
            Packing::Tuples | Packing::Places => group.size(padded),
            Packing::Overlaid | Packing::Patterns => group.size(|page| page),
        };
        let mut windows = [Windows::default(); KINDS_OF_WINDOWS];
        let mut of_groups = [Bytes::ZERO; 1 + KINDS_OF_WINDOWS];
        // A stage without layers of a group has the group nevertheless.
        for (group, own) in groups.iter().zip(&own) {
            let kind = group.kind();
            of_groups[kind] = of_groups[kind].plus(size(own)?)?;
            if let Some(windows) = kind.checked_sub(1).and_then(|kind| windows.get_mut(kind)) {
                windows.groups += 1;
                (windows.size, windows.block_tokens) = (group.window, group.block_tokens);
            }
        }
        let checked_block = if packing == Packing::Patterns { block } else { of_tuples };
        Ok(Paging {
            apart: [ApartGroups::default(); 2],
            block_tokens: BLOCK_TOKENS,
            block,
            group_layers: own.iter().map(Caches::count).max().unwrap_or(0),
            full: u64::from(groups.iter().any(|group| group.window == 0)),
            windows,
            recurrent: 0,
            unequal: Some(Unequal { checked_block, of_groups }),
        })
    }

    fn ratio(&self, index: u64) -> u64 {
        self.compressed.ratio(index).unwrap_or(0)
    }

    /// The caches of all layers, those first that keep every token.
    fn buckets(&self, drafted: u64) -> Result<Vec<Caches>, Overflow> {
        let bucket = |block_tokens, window| Caches { block_tokens, window, ..Caches::default() };
        let window = self.shape.window.map_or(MUCH, |window| window.size);
        let mut all = [
            bucket(BLOCK_TOKENS, 0),
            bucket(WINDOW_TOKENS, window),
            bucket(LITTLE_TOKENS, 2 * LITTLE),
            bucket(MUCH_TOKENS, MUCH),
        ];
        let [full, windows, little, much] = &mut all;
        let layers = self.shape.n_layers.checked_add(drafted).ok_or(Overflow)?;
        for index in 0..layers {
            windows.add(WINDOW_TOKENS * KEY, index);
            // Layers behind the model's have a window alone.
            let ratio = if index < self.shape.n_layers { self.ratio(index) } else { 0 };
            if ratio == 0 {
                continue;
            }
            full.add(BLOCK_TOKENS / ratio * KEY, index);
            if ratio == LITTLE {
                full.add(BLOCK_TOKENS / LITTLE * INDEX_KEY, index);
                // Keys and weights, each of two windows that overlap.
                little.add(LITTLE_TOKENS * 4 * HEAD * 4, index);
                little.add(LITTLE_TOKENS * 4 * INDEX_HEAD * 4, index);
            } else {
                much.add(MUCH_TOKENS * 2 * HEAD * 4, index);
            }
        }
        Ok(all.into_iter().filter(|bucket| !bucket.pages.is_empty()).collect())
    }
}

impl Caches {
    /// A block of so many bytes in layer `index`.
    fn add(&mut self, bytes: u64, index: u64) {
        self.pages.entry(bytes.next_multiple_of(ALIGNMENT)).or_default().push(index);
    }

    /// Layers of the size of which there are most.
    fn longest(&self) -> u64 {
        self.pages.values().map(|layers| layers.len() as u64).max().unwrap_or(0)
    }

    /// Whether there are as many layers of every size.
    fn is_balanced(&self) -> bool {
        let counts: BTreeSet<_> = self.pages.values().map(Vec::len).collect();
        counts.len() == 1
    }

    /// Dealt out to so many groups in turn.
    fn split(&self, groups: u64) -> impl Iterator<Item = Self> {
        let groups = usize::try_from(groups.max(1)).unwrap_or(1);
        (0..groups).map(move |first| {
            let every =
                |layers: &Vec<u64>| layers.iter().skip(first).step_by(groups).copied().collect();
            let pages = self.pages.iter().map(|(&bytes, layers)| (bytes, every(layers))).collect();
            Self { block_tokens: self.block_tokens, window: self.window, pages }
        })
    }

    /// Those of its caches that a run of layers has.
    fn of_run(&self, run: &Range<u64>) -> Self {
        let own = |layers: &Vec<u64>| {
            layers.iter().copied().filter(|index| run.contains(index)).collect()
        };
        let pages = self.pages.iter().map(|(&bytes, layers)| (bytes, own(layers)));
        let pages = pages.filter(|(_, layers): &(u64, Vec<u64>)| !layers.is_empty()).collect();
        Self { pages, ..self.clone() }
    }

    /// How many.
    fn count(&self) -> u64 {
        self.pages.values().map(|layers| layers.len() as u64).sum()
    }

    /// Bytes of a block, each cache in as many as it is padded to.
    fn size(&self, padded: impl Fn(u64) -> u64) -> Result<Bytes, Overflow> {
        let sizes = self.pages.iter();
        let sizes =
            sizes.map(|(&page, layers)| Bytes::product(&[padded(page), layers.len() as u64]));
        Bytes::sum(sizes.collect::<Result<Vec<_>, _>>()?)
    }

    /// Which kind it is of: all tokens, or one of the windows.
    const fn kind(&self) -> usize {
        match (self.window, self.block_tokens) {
            (0, _) => 0,
            (_, LITTLE_TOKENS) => 2,
            (_, MUCH_TOKENS) => 3,
            _ => 1,
        }
    }
}

fn largest(groups: &[Caches]) -> Result<Bytes, Overflow> {
    let sizes: Result<Vec<_>, _> = groups.iter().map(|group| group.size(|page| page)).collect();
    Ok(sizes?.into_iter().max().unwrap_or(Bytes::ZERO))
}

/// As many places of every size as any group has.
fn places(groups: &[Caches], padded: impl Fn(u64) -> u64) -> Result<Bytes, Overflow> {
    let mut most: BTreeMap<u64, u64> = BTreeMap::new();
    for group in groups {
        for (&page, layers) in &group.pages {
            let places = most.entry(padded(page)).or_default();
            *places = (*places).max(layers.len() as u64);
        }
    }
    let sizes = most.into_iter().map(|(page, places)| Bytes::product(&[page, places]));
    Bytes::sum(sizes.collect::<Result<Vec<_>, _>>()?)
}

/// Groups of as many layers as those that keep every token have of one size, or a few more
/// (`_get_kv_cache_groups_uniform_groups`).
fn by_tuples(buckets: &[Caches]) -> Vec<Caches> {
    let counts: Vec<u64> = buckets.iter().map(Caches::longest).collect();
    let least = counts.first().copied().unwrap_or(1);
    let tuples = least_padding(&counts, least);
    let groups = |bucket: &Caches| match bucket.window {
        0 => 1,
        _ => bucket.longest().div_ceil(tuples),
    };
    buckets.iter().flat_map(|bucket| bucket.split(groups(bucket))).collect()
}

/// Cachess with as many caches of each of several sizes stay whole, and those of one size are as long as they or a few more;
/// a bucket with other counts stays whole (`_get_packed_kv_cache_groups`).
fn by_patterns(buckets: &[Caches]) -> Vec<Caches> {
    let patterns = buckets.iter().filter(|bucket| bucket.is_balanced());
    let least = patterns.clone().filter(|bucket| bucket.pages.len() > 1).map(Caches::longest).max();
    let repeats = least.map(|least| {
        let counts: Vec<u64> = patterns.map(Caches::longest).collect();
        least_padding(&counts, least)
    });
    let groups = |bucket: &Caches| match repeats {
        Some(repeats) if bucket.is_balanced() => bucket.longest().div_ceil(repeats),
        _ => 1,
    };
    buckets.iter().flat_map(|bucket| bucket.split(groups(bucket))).collect()
}

/// The length, from `least` on, that rounds all counts up by the least together; the longest of several (`_approximate_gcd`).
fn least_padding(counts: &[u64], least: u64) -> u64 {
    let least = least.max(1);
    let most = counts.iter().copied().max().unwrap_or(least);
    let padding = |length: u64| -> u64 {
        counts.iter().map(|count| count.next_multiple_of(length) - count).sum()
    };
    (least..=most.max(least)).rev().min_by_key(|&length| padding(length)).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_as_long_as_pads_least() {
        // DeepSeek-V4-Flash: 43 windows, 21 and 20 compressed layers.
        assert_eq!(least_padding(&[43, 21, 20], 21), 22);
        assert_eq!(least_padding(&[61, 30, 31], 30), 31);
        assert_eq!(least_padding(&[4, 2], 2), 2);
        assert_eq!(least_padding(&[], 0), 1);
    }
}
