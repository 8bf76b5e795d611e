//! Releases of vLLM, and from which on it does what a plan depends on.
//!
//! Each threshold was read in the wheels on `PyPI`: the release before does it otherwise, the one named does it so.

use std::fmt;
use std::str::FromStr;

use super::ComputeCapability;
use crate::text::printable;

/// A release of vLLM: the number behind `0.`. Later ones than the newest that was read are planned as that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VllmVersion(u8);

/// How caches whose blocks differ in bytes share the blocks of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A block has as many places as the largest group has layers of one size, each as large as one of every size.
    Tuples,
    /// As many places of every size as any group has layers of it; windows' caches are padded to sizes that there are.
    Places,
    /// A block is as large as the largest group.
    Overlaid,
    /// The same, of groups that are as long as the longest of those with caches of two sizes.
    Patterns,
}

impl VllmVersion {
    /// The newest that was read and asked.
    pub const NEWEST: Self = Self(33);
    /// The oldest that is planned: the first whose pool is what a profile run leaves.
    pub const OLDEST: Self = Self(2);

    /// Releases that plans were compared with, by logs, by their own answers (`evidence/vllm`) or on virtual cards; the
    /// newest last.
    pub const CHECKED: [&'static str; 3] = ["0.6 to 0.15", "0.16 to 0.22", "0.33"];

    /// `0.minor`.
    const fn since(self, minor: u8) -> bool {
        self.0 >= minor
    }

    /// Whether it is the second engine (V1), which cuts prompts into chunks by itself.
    pub const fn chunks_prompts(self) -> bool {
        self.since(8)
    }

    /// The step of a prompt in a context of more than 32,768 tokens, which 0.5 to 0.7 cut into chunks by themselves
    /// (`engine/arg_utils.py`, `use_long_context`; `config.py`, `SchedulerConfig`).
    pub const fn chunk_of_long_contexts(self) -> Option<u64> {
        match self.0 {
            5 | 6 => Some(512),
            7 => Some(2048),
            _ => None,
        }
    }

    /// Whether it can be told to take the longest sequence that its pool holds (`human_readable_int_or_auto`, `_auto_fit_max_model_len`).
    pub const fn fits_its_length(self) -> bool {
        self.since(14)
    }

    /// Whether an A100 has the defaults of a smaller card (pull request 17885).
    pub const fn spares_a100(self) -> bool {
        self.since(9)
    }

    /// Whether a DGX Spark has (`engine/arg_utils.py`, `is_gb10`).
    pub const fn spares_gb10(self) -> bool {
        self.since(33)
    }

    /// Whether the vocabulary is sorted to filter logits; later a Triton kernel searches the pivot (pull request 33538,
    /// February 2026).
    pub const fn sorts(self) -> bool {
        !self.since(16)
    }

    /// Whether the experts' workspaces are kept from one step to the next (`v1/worker/workspace.py`).
    pub const fn keeps_workspaces(self) -> bool {
        self.since(16)
    }

    /// Whether zero points are widened for Hopper's kernel (`machete.py`). Versions before 0.16 were not asked.
    pub const fn widens_zero_points(self) -> bool {
        self.since(16)
    }

    /// Whether it takes 0.92 of a card by itself, not 0.9 (`config/cache.py`).
    pub const fn takes_more(self) -> bool {
        self.since(20)
    }

    /// Whether captured graphs are estimated and taken off the pool (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`).
    pub const fn counts_graphs(self) -> bool {
        self.since(20)
    }

    /// Whether steps are captured for as many tokens as sequences decode at once with those that are drafted, too
    /// (`config/vllm.py`, `_set_cudagraph_sizes`, `decode_query_len`).
    pub const fn captures_drafted(self) -> bool {
        self.since(20)
    }

    /// Whether `FlashInfer`'s own kernels decode drafted tokens in whole graphs (`v1/attention/backends/flashinfer.py`,
    /// `_use_fa2_native_decode`): before, models that draft are captured piece by piece under it.
    pub const fn captures_drafted_with_flashinfer(self) -> bool {
        self.since(33)
    }

    /// Whether `FlashInfer` decodes with XQA's kernels on Blackwell of compute capability 12 (`utils/flashinfer.py`,
    /// `supports_trtllm_attention`).
    pub const fn decodes_with_xqa(self) -> bool {
        self.since(28)
    }

    /// Whether `FlashInfer`'s workspace is as large as a step may need (pull request 48428).
    pub const fn sizes_workspaces_by_steps(self) -> bool {
        self.since(26)
    }

    /// Of what multiples hidden states and MLPs of experts in MXFP4 are, where that was read in a log of the release and does
    /// not depend on the card, as it does with the second model runner.
    pub const fn pads_experts(self) -> Option<[u64; 2]> {
        match self.0 {
            29.. => None,
            12..=28 => Some([256, 128]),
            11 => Some([256, 64]),
            _ => Some([32, 64]),
        }
    }

    /// Whether `FlashInfer` filters logits where it is installed and can compile its kernels
    /// (`VLLM_USE_FLASHINFER_SAMPLER`).
    pub const fn filters_with_flashinfer(self) -> bool {
        self.since(21)
    }

    /// Whether weights are loaded under `max_split_size_mb:20`, so that a tensor of 20 MiB and more keeps all of its
    /// segment (`gpu_worker.py`, `_scoped_allocator_max_split`).
    pub const fn keeps_remainders(self) -> bool {
        self.since(21)
    }

    /// Whether what is left for the pool is measured by what the driver gave out, segments that are not full included
    /// (`utils/mem_utils.py`, `total_consumed`); before by what was allocated.
    pub const fn counts_segments(self) -> bool {
        self.since(27)
    }

    /// Whether it is measured by what was allocated, after ranks have met; releases before 0.16 were not compared so.
    pub const fn counts_what_is_allocated(self) -> bool {
        self.since(16) && !self.counts_segments()
    }

    /// Whether cards of 160 GiB and more have defaults of their own (`engine/arg_utils.py`, `get_batch_defaults`).
    pub const fn knows_huge_cards(self) -> bool {
        self.since(28)
    }

    /// Whether graphs of up to 1,024 tokens are captured on this card, not of 512: on Blackwell of data centres
    /// (`config/vllm.py`, `_set_cudagraph_sizes`).
    pub const fn captures_more_on(self, capability: ComputeCapability) -> bool {
        self.since(28) && capability.major == 10
    }

    /// Whether a step of as many tokens as sequences is captured where that is no stride, too.
    pub const fn captures_all_sequences(self) -> bool {
        self.since(29)
    }

    /// Whether the second model runner serves every model (`config/vllm.py`, `use_v2_model_runner`). From 0.22 to 0.28 it
    /// serves a list of families, whose plans are those of the first.
    pub const fn has_second_runner(self) -> bool {
        self.since(29)
    }

    /// Steps whose tokens windows may have to keep together: asynchronous scheduling has one more under way than a pipeline has
    /// stages, with the first model runner as many (`config/vllm.py`, `max_concurrent_batches`).
    pub const fn steps_in_flight(self, stages: u64) -> u64 {
        match self.0 {
            ..26 => 1,
            26..=28 if stages > 1 => stages,
            _ => stages.saturating_add(1),
        }
    }

    /// Whether prompts of recurrent models that begin alike share their blocks where nothing is said of it
    /// (`config/model.py`, `is_prefix_caching_supported`).
    pub const fn shares_states(self) -> bool {
        self.since(26)
    }

    /// Whether state-space layers that share keep a state for every block of a prompt, as attention keeps keys
    /// (`models/config.py`, `MambaModelConfig`: mode `all` in place of `align`).
    pub const fn keeps_every_state(self) -> bool {
        !self.since(28)
    }

    /// Blocks of a recurrent layer that a request may hold (`v1/kv_cache_interface.py`, `MambaSpec`): one; two where prompts
    /// that begin alike share theirs; and one more for checkpoints of a prefill.
    pub const fn states_of_a_request(self, is_shared: bool, has_checkpoints: bool) -> u64 {
        match self.0 {
            29.. if is_shared && has_checkpoints => 3,
            _ if is_shared => 2,
            _ => 1,
        }
    }

    /// Whether it refuses to capture more sequences than the pool has blocks where layers keep states
    /// (`config/compilation.py`, `resolve_cudagraph_mode_and_sizes`).
    pub const fn captures_no_more_than_states(self) -> bool {
        self.since(20)
    }

    /// Whether blocks of gated delta nets end with their checkpoints.
    pub const fn ends_blocks_with_checkpoints(self) -> bool {
        self.since(33)
    }

    /// Whether 8-bit caches of heads above 256 have blocks of 64 tokens, as 0.33 answers; 0.19 answers 16, those between were
    /// not asked.
    pub const fn reads_wide_heads_by_64(self) -> bool {
        self.since(29)
    }

    /// Whether caches may be in NVFP4, or in 8 bits with scales per token and head (`config/cache.py`, `CacheDType`).
    pub const fn has_small_caches(self) -> bool {
        self.since(20)
    }

    /// Whether caches may be in 4-bit integers.
    pub const fn has_int4_caches(self) -> bool {
        self.since(25)
    }

    /// Whether `--swap-space` takes main memory: the first engine's only, which 0.8 replaced.
    pub const fn swaps(self) -> bool {
        !self.chunks_prompts()
    }

    /// Whether it has no `--swap-space` any more: 0.19 has not, 0.15 accepts it and takes nothing.
    pub const fn refuses_swap_space(self) -> bool {
        self.since(19)
    }

    /// Whether layers of a block's draft that see a window keep no more than it (`models/qwen3_dflash.py`,
    /// `_resolve_layer_attention`); before, all of them keep every token.
    pub const fn keeps_windows_of_drafts(self) -> bool {
        self.since(25)
    }

    /// Whether it counts the requests of the longest kind that its pool holds by the blocks that one of them may take
    /// (`get_max_concurrency_for_kv_cache_config`, which 0.9.1 has); the first of the second engine divide tokens (pull request
    /// 13596).
    pub const fn counts_requests_by_blocks(self) -> bool {
        self.since(9)
    }

    /// Whether blocks of models with both latent attention and layers with states are multiples of 64 tokens, whatever kernel
    /// reads them (`models/config.py`, `HybridAttentionMambaModelConfig`, up to 0.19); 0.20 asks the kernel.
    pub const fn aligns_latent_hybrids(self) -> bool {
        !self.since(20)
    }

    /// Whether it prints `concurrency · max_model_len` as the tokens of its cache (`v1/core/kv_cache_utils.py`); before, blocks
    /// of a group.
    pub const fn prints_concurrency(self) -> bool {
        self.since(21)
    }

    /// Whether an indexer gathers keys of fewer contexts at once where they are longer than 262,144 tokens
    /// (`config/attention.py`, `sparse_mla_prefill_workspace_factor`).
    pub const fn spares_long_contexts(self) -> bool {
        self.since(32)
    }

    /// Whether that concurrency is of bytes, where groups of layers differ in them; later of blocks
    /// (`get_max_concurrency_for_kv_cache_config`).
    pub const fn prints_by_bytes(self) -> bool {
        !self.since(27)
    }

    /// How it lays out caches of compressed keys in blocks; nothing before 0.20, which does not know DeepSeek-V4
    /// (`v1/core/kv_cache_utils.py`, in 0.33 `kv_cache_planning.py`).
    pub const fn packs(self) -> Option<Packing> {
        match self.0 {
            ..20 => None,
            20..=22 => Some(Packing::Tuples),
            23..=26 => Some(Packing::Places),
            27 | 28 => Some(Packing::Overlaid),
            29.. => Some(Packing::Patterns),
        }
    }

    /// Whether the block that stands for none is left out where it checks that the longest request has room.
    pub const fn holds_a_block_back(self) -> bool {
        self.since(29)
    }

    /// Whether the encoder is not loaded where prompts have neither images nor videos: Qwen's and Mistral's of 0.11, every
    /// model's from 0.16 on (`models/interfaces.py`, `_mark_tower_model`); 0.8 loads it.
    pub const fn leaves_encoders_out(self) -> bool {
        self.since(11)
    }

    /// Whether the profile run encodes one item more than the budget holds, where it holds no whole number of them
    /// (`v1/worker/gpu_model_runner.py`, `cdiv`): to 0.9.
    pub const fn rounds_items_up(self) -> bool {
        !self.since(10)
    }

    /// Whether the longest video of Qwen2-VL leaves room for an image in the context: to 0.9 (`models/qwen2_vl.py`,
    /// `get_num_frames_with_most_features`).
    pub const fn leaves_room_for_an_image(self) -> bool {
        !self.since(10)
    }

    /// Frames of its longest video (`_MAX_FRAMES_PER_VIDEO`).
    pub const fn most_frames(self) -> u64 {
        if self.since(11) { 14 } else { 16 }
    }

    /// Whether marks between the frames of Qwen3-VL's videos are among the tokens that the encoder's budget has room for
    /// (`models/qwen3_vl.py`, `formatted_video_soft_tokens`), and every item's embeddings are kept as long as that budget
    /// (`profile_run`, `expanded_outputs`): 0.11 and 0.12.
    pub const fn budgets_for_marks(self) -> bool {
        matches!(self.0, 11 | 12)
    }

    /// Whether marks around an image of Gemma 3 are among the tokens that items are counted by: to 0.12.
    pub const fn counts_marks_of_images(self) -> bool {
        !self.since(13)
    }

    /// Whether encoders are given pixels in f32, of which they make a copy in 16 bits: to 0.10 (`multimodal/processing.py` of
    /// 0.11 converts them in main memory).
    pub const fn takes_pixels_in_f32(self) -> bool {
        !self.since(11)
    }

    /// Widths of Qwen's encoders that a layer's attention holds for every patch, of those that ranks share: queries, keys and
    /// values, their copies, and their rotations, in f32 to 0.11 (`models/qwen2_5_vl.py`, `Qwen2_5_VisionAttention.forward`;
    /// `models/qwen2_vl.py`, `apply_rotary_pos_emb_vision`).
    pub const fn rotated_widths(self) -> u64 {
        match self.0 {
            0..=8 => 14,
            9 | 10 => 11,
            11 => 18,
            _ => 8,
        }
    }

    /// Whether ranks gather queries, keys and values of Qwen's encoders from each other: to 0.11 (`split_qkv`).
    pub const fn gathers_encoders(self) -> bool {
        !self.since(12)
    }

    /// Whether a gate and its product with the rest are one kernel outside of models that are compiled, too
    /// (`layers/activation.py`, `compile_native`): from 0.16 on, not in 0.14.
    pub const fn fuses_gates_of_encoders(self) -> bool {
        self.since(16)
    }

    /// Whether the profile run samples once more with every filter and penalty (`model_runner.py`, `_dummy_sampler_run`).
    pub const fn profiles_filters(self) -> bool {
        self.since(33)
    }
}

impl Default for VllmVersion {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for VllmVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("0.{}", self.0))
    }
}

impl FromStr for VllmVersion {
    type Err = String;

    /// `latest`, or a version such as `0.11.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        match super::version::parse(text) {
            Some(super::version::LATEST) => Ok(Self::NEWEST),
            Some((0, minor)) if minor >= u64::from(Self::OLDEST.0) => {
                let minor = minor.saturating_add(u64::from(is_of_the_next(text, minor)));
                Ok(u8::try_from(minor).map_or(Self::NEWEST, Self).min(Self::NEWEST))
            }
            _ => Err(format!(
                "`{}` is not a version of vLLM: expected `{}` or later, such as `0.11.2`, or `latest`",
                printable(text),
                Self::OLDEST
            )),
        }
    }
}

/// The first release whose patches come from a branch of their own: those before were cut from what was developed.
const BRANCHED: u64 = 12;

/// Whether a build is of what becomes the next release although its number is that of a patch to come: `0.20.2rc1.dev9`, which
/// has what 0.21 has.
fn is_of_the_next(text: &str, minor: u64) -> bool {
    let is_developed = text.contains("rc") || text.contains("dev");
    let patch = text.trim_start_matches(['v', 'V']).split('.').nth(2);
    let is_patch = patch.is_some_and(|patch| !patch.starts_with('0'));
    minor >= BRANCHED && is_developed && is_patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_later_ones_are_the_newest() {
        for (text, version) in [
            ("latest", VllmVersion::NEWEST),
            ("0.28", VllmVersion(28)),
            ("v0.16.0", VllmVersion(16)),
            ("0.14.0rc1.dev2+g7d9f6663a", VllmVersion(14)),
            ("0.20.2rc1.dev9+g01d4d1ad3", VllmVersion(21)),
            ("0.11.1rc7.dev145", VllmVersion(11)),
            ("0.20.2", VllmVersion(20)),
            ("0.6.3.post1", VllmVersion(6)),
            ("0.2.7", VllmVersion::OLDEST),
            ("0.40.1", VllmVersion::NEWEST),
            ("0.4000", VllmVersion::NEWEST),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for text in ["0.1.7", "1.0", "19", "", "0.x"] {
            assert!(text.parse::<VllmVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn thresholds_are_where_the_releases_differ() {
        let version = |text: &str| text.parse::<VllmVersion>().unwrap();
        assert!(version("0.15.1").sorts() && !version("0.16.0").sorts());
        assert!(!version("0.19.1").counts_graphs() && version("0.20.0").counts_graphs());
        assert!(!version("0.32.0").profiles_filters() && version("0.33.0").profiles_filters());
    }
}
