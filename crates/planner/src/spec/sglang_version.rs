//! Releases of `SGLang`, and from which on it does what a plan depends on.
//!
//! Each threshold was read in the wheels on `PyPI`, of 0.4.9 and of every release from 0.5.2 to 0.5.23: the release before does
//! it otherwise, the one named does it so.

use std::fmt;
use std::str::FromStr;

use crate::text::printable;

/// A release of `SGLang`: the two numbers behind `0.`. Later ones than the newest that was read are planned as that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SglangVersion {
    minor: u8,
    patch: u8,
}

impl SglangVersion {
    /// The newest that was read and asked.
    pub const NEWEST: Self = Self::of(5, 23);
    /// The oldest that is planned: the first whose share of the card follows from what it reserves.
    pub const OLDEST: Self = Self::of(4, 9);

    /// Releases that plans were compared with, by logs or by their own arithmetic (`evidence/sglang`); the newest last.
    pub const CHECKED: [&'static str; 5] = ["0.4.9", "0.5.5", "0.5.9", "0.5.15", "0.5.23"];

    /// `0.minor.patch`.
    pub const fn of(minor: u8, patch: u8) -> Self {
        Self { minor, patch }
    }

    /// Whether it is `0.5.patch` or later.
    const fn since(self, patch: u8) -> bool {
        self.minor > 5 || (self.minor == 5 && self.patch >= patch)
    }

    /// Whether every token of a step has a state of its own only for requests that run (`handle_max_mamba_cache`); before, every
    /// state of the pool did, and copies of attention divided those of delta nets.
    pub const fn gives_steps_states_of_their_own(self) -> bool {
        self.since(7)
    }

    /// Whether requests that run together are of all copies of attention, which each get a part (`_resolve_max_num_reqs`); before,
    /// each copy ran as many.
    pub const fn divides_requests(self) -> bool {
        self.since(10)
    }

    /// Whether what predicts is loaded before the pool is sized, which counts its cache (`managers/scheduler.py`,
    /// `init_memory_pools`; `pool_configurator.py`, `eagle_draft_num_layers`); before, both came out of what the share leaves.
    pub const fn counts_predictions(self) -> bool {
        self.since(14)
    }

    /// Whether the share of the card is what a step and the captured batches are thought to leave (`server_args.py`,
    /// `_handle_gpu_memory_settings`); before, what a table by the card's memory leaves.
    pub const fn reserves_by_step(self) -> bool {
        self.since(3)
    }

    /// Batches captured on a card of 20 to 35 GiB, and of those split over four GPUs and more.
    pub const fn batches_of_small_cards(self) -> [u64; 2] {
        if self.since(20) {
            [48, 160]
        } else if self.since(5) {
            [24, 80]
        } else if self.since(3) {
            [16, 80]
        } else {
            [8, 80]
        }
    }

    /// Tokens of a step on such a card.
    pub const fn chunk_of_small_cards(self) -> u64 {
        if self.since(20) { 4096 } else { 2048 }
    }

    /// Whether the largest batch is captured where it is no step of the list (`_generate_decode_cuda_graph_batch_sizes`).
    pub const fn captures_largest(self) -> bool {
        self.since(14)
    }

    /// Whether steps of prompts are captured, too, unless the model is multimodal (`enable_piecewise_cuda_graph` until 0.5.9).
    pub const fn captures_prompts(self) -> bool {
        self.since(10)
    }

    /// Whether Gemma 3 has tables of sines and cosines, instead of reckoning them in every step (`models/gemma3_causal.py`).
    pub const fn keeps_tables_of_gemma_3(self) -> bool {
        self.since(10)
    }

    /// Whether steps of prompts of some multimodal models are captured, too: Qwen3.5 and Kimi K2.5
    /// (`multimodal_breakable_cuda_graph_supported_model_archs`).
    pub const fn replays_images(self) -> bool {
        self.since(16)
    }

    /// The largest step of prompts that is captured of a model with latent attention.
    pub const fn largest_latent_prompt(self) -> u64 {
        if self.since(23) { 8192 } else { 2048 }
    }

    /// Whether windows have a pool of their own by the model's class (`configs/model_config.py`, `is_hybrid_swa_model`).
    pub const fn lists_window_pools(self) -> bool {
        self.since(8)
    }

    /// Whether the tokens that requests are reckoned by are those beside windows (`pool_configurator.py`).
    pub const fn splits_windows_first(self) -> bool {
        self.since(11)
    }

    /// Whether the table of requests has a row for padding (`mem_cache/memory_pool.py`, `ReqToTokenPool`).
    pub const fn pads_requests(self) -> bool {
        self.since(12)
    }

    /// Whether requests are no more than half of the tokens of the pool (`resolve_max_num_reqs`).
    pub const fn halves_requests(self) -> bool {
        self.since(10)
    }

    /// The same where their number is given.
    pub const fn halves_asked_requests(self) -> bool {
        self.since(14)
    }

    /// Whether the padding of states is taken off the pool (`_handle_max_mamba_cache`).
    pub const fn counts_padded_states(self) -> bool {
        self.since(17)
    }

    /// Whether a request of a model with gated delta nets may hold five states, not three (`mamba_scheduler_strategy`, whose
    /// `auto` became `extra_buffer`).
    pub const fn buffers_states(self) -> bool {
        self.since(14)
    }

    /// Whether 8-bit latent vectors of models with an indexer are counted with their scales and 16-bit positions.
    pub const fn counts_latent_scales(self) -> bool {
        self.since(17)
    }

    /// Whether no more is reserved for captured batches than requests may run (`handle_gpu_memory_settings`).
    pub const fn reserves_for_asked_only(self) -> bool {
        self.since(22)
    }

    /// Whether nothing is reserved for graphs where none are captured.
    pub const fn reserves_for_captured_only(self) -> bool {
        self.since(14)
    }

    /// Whether memory for images is taken off the pool (`mm_runtime_reservation_gb`).
    pub const fn reserves_for_images(self) -> bool {
        self.since(18)
    }

    /// Whether it refuses to start where a window and a page fill the pool of windows (`validate_swa_pool_size`).
    pub const fn checks_window_pool(self) -> bool {
        self.since(23)
    }

    /// Whether it knows DeepSeek-V4 (`DSV4PoolConfigurator`).
    pub const fn knows_compressed_keys(self) -> bool {
        self.since(12)
    }

    /// Whether layers of DeepSeek-V4 are counted by the run of a rank, and not all that its configuration lists.
    pub const fn counts_layers_of_a_run(self) -> bool {
        self.since(13)
    }

    /// Whether what is not compressed yet of 128 tokens belongs to requests, not to windows (`_get_c128_state_fixed_bytes`).
    pub const fn rings_by_request(self) -> bool {
        self.since(15)
    }

    /// Whether what is not compressed yet of 4 tokens is there once for each page of windows, not for each window
    /// (`_get_bytes_per_swa_token`), and pages of compressed keys are counted with their padding (`_get_paged_kv_bytes_per_token`).
    pub const fn rings_by_page(self) -> bool {
        self.since(21)
    }

    /// Whether windows of DeepSeek-V4 are what its requests need at worst, not a part of the tokens (`_resolve_swa_cap_tokens`).
    pub const fn caps_windows(self) -> bool {
        self.since(21)
    }

    /// Whether Blackwell of data centres runs TensorRT-LLM's attention by default, in pages of 64 tokens.
    pub const fn has_tensorrt_attention(self) -> bool {
        self.since(7)
    }
}

impl Default for SglangVersion {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for SglangVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("0.{}.{}", self.minor, self.patch))
    }
}

impl FromStr for SglangVersion {
    type Err = String;

    /// `latest`, or a version such as `0.5.9`; `0.5` is the newest of those.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`{}` is not a version of SGLang: expected `{}` or later, such as `0.5.9`, or `latest`",
                printable(text),
                Self::OLDEST
            )
        };
        if text.eq_ignore_ascii_case("latest") {
            return Ok(Self::NEWEST);
        }
        let mut parts = text.strip_prefix(['v', 'V']).unwrap_or(text).splitn(3, '.');
        if parts.next() != Some("0") {
            return Err(malformed());
        }
        let minor: u64 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(malformed)?;
        let patch = parts
            .next()
            .map(leading_number)
            .map_or(Ok(u64::MAX), |found| found.ok_or_else(malformed))?;
        let small = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        let version = Self::of(small(minor), small(patch)).min(Self::NEWEST);
        if version < Self::OLDEST { Err(malformed()) } else { Ok(version) }
    }
}

/// The number that a text begins with: `15` of `15.post1`, `9` of `9rc0`.
fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_later_ones_are_the_newest() {
        for (text, version) in [
            ("latest", SglangVersion::NEWEST),
            ("0.5", SglangVersion::NEWEST),
            ("0.5.9", SglangVersion::of(5, 9)),
            ("v0.5.15.post1", SglangVersion::of(5, 15)),
            ("0.5.6rc0", SglangVersion::of(5, 6)),
            ("0.4.9.post2", SglangVersion::OLDEST),
            ("0.4.10", SglangVersion::of(4, 10)),
            ("0.5.24", SglangVersion::NEWEST),
            ("0.6.1", SglangVersion::NEWEST),
            ("0.999999.0", SglangVersion::NEWEST),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for text in ["0.4.8", "1.0", "5.9", "", "0.x", "0.5.x", "0.3"] {
            assert!(text.parse::<SglangVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn thresholds_are_where_the_releases_differ() {
        let version = |text: &str| text.parse::<SglangVersion>().unwrap();
        assert!(!version("0.4.10").reserves_by_step() && version("0.5.3").reserves_by_step());
        assert!(!version("0.5.9").captures_prompts() && version("0.5.10").captures_prompts());
        assert_eq!(version("0.5.19").batches_of_small_cards(), [24, 80]);
        assert_eq!(version("0.5.20").batches_of_small_cards(), [48, 160]);
    }
}
