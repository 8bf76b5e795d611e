//! vLLM's pool of cache blocks.
//!
//! Every layer's cache is cut into blocks of 16 tokens, or of as many as the kernels of latent attention
//! read at once. Layers of one kind form groups of equal size,
//! and a block of the pool holds 16 tokens of every layer of one group: with two kinds (Gemma 2) a
//! token takes a block of each group, with windows five times as many (Gemma 3) of seven. Where
//! layers keep a recurrent state, blocks are as long as it takes for 16-bit keys and values to be as
//! large as a state.
//!
//! The number of blocks is `floor(pool / block)`, and vLLM prints `blocks / groups · tokens of a
//! block` as the tokens that the cache holds, which a conversation with windows exceeds: of those it
//! holds `window − 1 + chunk` tokens only.
//!
//! Source: vLLM `v1/core/kv_cache_utils.py` (`_get_kv_cache_groups_uniform_page_size`),
//! `v1/kv_cache_interface.py` (`max_memory_usage_bytes`), `model_executor/models/config.py`
//! (`HybridAttentionMambaModelConfig`), `platforms/interface.py` (`update_block_size_for_backend`); compared
//! with what vLLM 0.19 itself makes of 6 models (`evidence/vllm`).

use std::collections::BTreeMap;
use std::ops::Range;

use super::compressed;
use super::drafting::Drafted;
use super::graphs::HOPPER;
use super::states::States;
use crate::dtype::KvFormat;
use crate::estimate::kv_cache;
use crate::estimate::serving::layer::kept_by_rank;
use crate::spec::{Architecture, GpuSpec, Layer, ModelShape, ModelSpec, VllmVersion};
use crate::units::{Bytes, Overflow};

/// Tokens of a block, where layers do not need larger ones.
const BLOCK_TOKENS: u64 = 16;

/// Bytes that a latent vector has more where it is packed: four scales in f32, and 64 numbers in 16 bits, not 8.
const PACKED: u64 = 4 * 4 + 64;

/// Numbers of an indexer's key that share a scale.
const SCALED: u64 = 128;

/// Tokens of a block that kernels read which attend to chosen tokens (`flashmla_sparse.py`, `mla/indexer.py`).
const SPARSE_TOKENS: u64 = 64;

/// Tokens of which a block of latent vectors beside states has a whole multiple in releases that look at no kernel
/// (`models/config.py`).
const LATENT_TOKENS: u64 = 64;

/// The widest heads that `FlashAttention` takes.
const WIDE: u64 = 256;

/// Tokens of the checkpoints that gated delta nets leave while they process a prompt, which blocks end with from 0.33 on
/// (`update_block_size_for_backend`, `get_mamba_prefill_checkpoint_alignment`).
const CHECKPOINT_TOKENS: u64 = 64;

/// Tokens of which a block has a whole multiple: what the kernels want which vLLM chooses for latent attention,
/// `FlashInfer`'s on Blackwell, `FlashMLA`'s on Hopper for 8-bit caches, all others 16 (`platforms/cuda.py`
/// `_get_backend_priorities`, `get_supported_kernel_block_sizes` of each backend); and gated delta nets' checkpoints.
pub fn kernel_block_tokens(
    model: &ModelSpec,
    kv: KvFormat,
    gpu: &GpuSpec,
    version: VllmVersion,
) -> u64 {
    let shape = &model.shape;
    match (&shape.mla, gpu.compute_capability.major, kv) {
        _ if shape.extras.compressed.is_some() => compressed::BLOCK_TOKENS,
        (Some(_), 9 | 10, _) if shape.extras.indexer.is_some() => SPARSE_TOKENS,
        (Some(_), ..) if shape.recurrent.is_some() && version.aligns_latent_hybrids() => {
            LATENT_TOKENS
        }
        (Some(_), 10, _) => 32,
        (Some(_), 9, KvFormat::Fp8) => 64,
        // The one kernel for heads so wide reads 8-bit caches by 64: what 0.33 makes of Gemma 4.
        (None, _, KvFormat::Fp8)
            if shape.widest_head() > WIDE && version.reads_wide_heads_by_64() =>
        {
            64
        }
        _ if shape.recurrent.is_some()
            && version.ends_blocks_with_checkpoints()
            && has_checkpoints(shape, gpu) =>
        {
            CHECKPOINT_TOKENS
        }
        _ => BLOCK_TOKENS,
    }
}

/// Whether recurrent layers leave checkpoints while they process a prompt: state-space layers do, gated delta nets where
/// `FlashInfer` has their kernel, on Hopper and Blackwell (`gdn/qwen_gdn_linear_attn.py`, `_resolve_gdn_prefill_backend`).
pub fn has_checkpoints(shape: &ModelShape, gpu: &GpuSpec) -> bool {
    shape.recurrent.is_none() || matches!(gpu.compute_capability.major, 9 | 10 | 12)
}

/// Tokens of which a block has a whole multiple where there is a state for each: those that state-space layers work on at
/// once (`config/model.py`, `get_mamba_chunk_size`; Nemotron-H's configurations say 128, Granite's and Falcon's 256).
pub const fn with_states(shape: &ModelShape, tokens: u64, states: States) -> u64 {
    let chunk = if matches!(shape.architecture, Architecture::NemotronH) { 128 } else { 256 };
    match states {
        States::OfEveryBlock if tokens < chunk => chunk,
        _ => tokens,
    }
}

/// Tokens of which a block has a whole multiple where `asked` are given (`--block-size`): a kernel that takes them is chosen,
/// but blocks of gated delta nets keep theirs.
pub const fn asked_block_tokens(shape: &ModelShape, tokens: u64, asked: Option<u64>) -> u64 {
    match asked {
        Some(asked) if shape.recurrent.is_some() && asked < tokens => tokens,
        Some(asked) => asked,
        None => tokens,
    }
}

/// How a model's cache is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Tokens of a block; of a full layer's where windowed layers have wider heads or narrower.
    pub block_tokens: u64,
    /// Bytes of a block: one group's layers.
    pub block: Bytes,
    /// Layers of a group, of those on this GPU.
    pub group_layers: u64,
    /// Groups whose layers keep every token.
    pub full: u64,
    /// Groups whose layers keep a window.
    pub windows: [Windows; KINDS_OF_WINDOWS],
    /// Groups whose layers keep a state.
    pub recurrent: u64,
    /// What is counted where groups differ in bytes.
    pub unequal: Option<Unequal>,
    /// Groups of a draft's layers alone.
    pub apart: [ApartGroups; 2],
}

/// Groups of a draft's layers that are not like the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApartGroups {
    /// How many.
    pub groups: u64,
    /// Tokens of their blocks.
    pub block_tokens: u64,
    /// Tokens that they keep; 0 for all.
    pub window: u64,
}

impl ApartGroups {
    /// Blocks of a request of so many tokens, of which so many are in steps under way.
    fn of_a_request(&self, tokens: u64, in_flight: u64) -> Result<u64, Overflow> {
        let size = self.block_tokens.max(1);
        let blocks = if self.window == 0 {
            tokens.div_ceil(size)
        } else {
            let seen = self.window.saturating_sub(1).saturating_add(in_flight).min(tokens);
            seen.div_ceil(size).checked_add(1).ok_or(Overflow)?
        };
        blocks.checked_mul(self.groups).ok_or(Overflow)
    }
}

/// Kinds of windows that a model has at most: DeepSeek-V4's, and those of its two compressors.
pub const KINDS_OF_WINDOWS: usize = 3;

/// Groups whose layers keep the same window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// How many.
    pub groups: u64,
    /// Tokens that a layer attends to.
    pub size: u64,
    /// Tokens of a block.
    pub block_tokens: u64,
}

/// What releases count by bytes where the groups of a model differ in them (`compressed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unequal {
    /// Bytes of a block, where it is checked that a request has room.
    pub checked_block: Bytes,
    /// Bytes of a block of the layers that keep every token, and of each kind of windows.
    pub of_groups: [Bytes; 1 + KINDS_OF_WINDOWS],
}

impl Windows {
    /// Blocks of one of these groups that hold the last tokens of so many: the window does not end with a block.
    fn blocks(&self, tokens: u64) -> Result<u64, Overflow> {
        tokens.div_ceil(self.block_tokens.max(1)).checked_add(1).ok_or(Overflow)
    }

    /// Tokens that are kept of `tokens`, with `step` of them worked on.
    fn seen(&self, tokens: u64, step: u64) -> u64 {
        self.size.saturating_sub(1).saturating_add(step).min(tokens)
    }
}

/// What is cached at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Tokens that all conversations begin with.
    pub system: u64,
    /// Further tokens of a conversation.
    pub conversation: u64,
    /// Conversations.
    pub sequences: u64,
    /// Tokens of a step.
    pub chunk: u64,
    /// Whether layers that keep a state keep one for every block of tokens.
    pub has_every_state: bool,
}

impl Paging {
    /// The blocks of a model whose layers are split over `ranks` GPUs.
    pub fn of(model: &ModelSpec, kv: KvFormat, ranks: u64) -> Result<Self, Overflow> {
        Self::of_run(model, &(0..model.shape.n_layers), kv, ranks, BLOCK_TOKENS)
    }

    /// The same on a GPU that has a run of the layers. Groups are those of the whole model, each GPU
    /// has its layers of them (`get_kv_cache_configs`, `_project_kv_cache_groups_to_worker`). A block has
    /// a multiple of `kernel_tokens`, see [`kernel_block_tokens`].
    pub fn of_run(
        model: &ModelSpec,
        run: &Range<u64>,
        kv: KvFormat,
        ranks: u64,
        kernel_tokens: u64,
    ) -> Result<Self, Overflow> {
        Self::with_drafts(model, run, kv, (ranks, kernel_tokens), Drafted::default())
    }

    /// The same with the layers of what predicts tokens ahead, in the pool of the last stage.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn with_drafts(
        model: &ModelSpec,
        run: &Range<u64>,
        kv: KvFormat,
        (ranks, kernel_tokens): (u64, u64),
        drafted: Drafted,
    ) -> Result<Self, Overflow> {
        let shape = split(&model.shape, ranks);
        let token = token_size(&shape, kv, first_full(&shape))?;
        let windowed = token_size(&shape, kv, 0)?;
        let state = state_size(&shape, drafted.ahead)?;
        let block_tokens = state.get().div_ceil(token.get().max(1));
        let block_tokens = block_tokens.checked_next_multiple_of(kernel_tokens).ok_or(Overflow)?;
        let mut block_tokens = block_tokens.max(kernel_tokens);
        let mut window_block_tokens = block_tokens;
        // Layers with smaller keys and values have longer blocks, of the same size in bytes.
        if model.window_layers() > 0 && model.full_layers() > 0 {
            let longer = |size: Bytes, than: Bytes| (size.get() / than.get().max(1)).max(1);
            let times = |tokens: u64, n: u64| tokens.checked_mul(n).ok_or(Overflow);
            block_tokens = times(block_tokens, longer(windowed, token))?;
            window_block_tokens = times(window_block_tokens, longer(token, windowed))?;
        }
        let mut counts = [model.full_layers(), model.window_layers(), model.recurrent_layers()];
        counts[0] = counts[0].saturating_add(drafted.layers);
        let [full, windowed] = drafted.apart.map(|apart| apart.layers);
        let group_layers = group_layers(&[counts[0], counts[1], counts[2], full, windowed]);
        let groups = counts.map(|layers| layers.div_ceil(group_layers));
        let own =
            layers_of_a_group(&layers_with(model, drafted), &run_with(model, run, drafted), groups);
        // Pages of all layers are as large as the largest; those of drafts have at first as many tokens as the model's.
        let page = token.times(block_tokens)?;
        let largest =
            drafted.apart.iter().filter(|apart| apart.layers > 0).map(|apart| apart.token);
        let largest = largest.max().unwrap_or(Bytes::ZERO).times(block_tokens)?.max(page);
        let longer = |than: Bytes| largest.get() / than.get().max(1);
        let apart = drafted.apart.map(|apart| ApartGroups {
            groups: apart.layers.div_ceil(group_layers),
            block_tokens: longer(apart.token),
            window: apart.window,
        });
        if largest > page {
            let times = |tokens: u64| tokens.checked_mul(longer(page)).ok_or(Overflow);
            window_block_tokens = times(window_block_tokens)?;
            block_tokens = times(block_tokens)?;
        }
        let index = index_key_size(&shape).times(indexed_layers(&shape, run, drafted))?;
        let block = token.times(own)?.plus(index)?.plus(drafted.other)?.times(block_tokens)?;
        let windows = Windows {
            groups: groups[1],
            size: window_size(model),
            block_tokens: window_block_tokens,
        };
        Ok(Self {
            apart,
            block_tokens,
            block,
            group_layers: own.saturating_add(drafted.other_layers),
            full: groups[0],
            windows: [windows, Windows::default(), Windows::default()],
            recurrent: groups[2],
            unequal: None,
        })
    }

    /// The same where keys are packed as Hopper's kernel reads those that an indexer chooses in 8 bits: with scales, and
    /// positions in 16 (`fp8_ds_mla`).
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn packed_for(
        self,
        (model, gpu): (&ModelSpec, &GpuSpec),
        run: &Range<u64>,
        kv: KvFormat,
        drafted: Drafted,
    ) -> Result<Self, Overflow> {
        let shape = &model.shape;
        let is_chosen = shape.mla.is_some() && shape.extras.indexer.is_some();
        if !is_chosen || kv != KvFormat::Fp8 || gpu.compute_capability.major != HOPPER {
            return Ok(self);
        }
        let run = run_with(model, run, drafted);
        let more = Bytes::product(&[PACKED, run.end.saturating_sub(run.start), self.block_tokens])?;
        Ok(Self { block: self.block.plus(more)?, ..self })
    }

    /// Whole blocks in a pool.
    pub const fn blocks(&self, pool: Bytes) -> u64 {
        let block = if self.block.is_zero() { 1 } else { self.block.get() };
        pool.get() / block
    }

    /// Groups that share a table of blocks.
    pub fn groups(&self) -> u64 {
        let windows = self.windows.iter().fold(0, |sum: u64, w| sum.saturating_add(w.groups));
        let drafts = self.apart.iter().fold(0, |sum: u64, apart| sum.saturating_add(apart.groups));
        let own = windows.saturating_add(self.full).saturating_add(self.recurrent);
        own.saturating_add(drafts)
    }

    /// The kinds of windows that there are.
    fn kinds_of_windows(&self) -> impl Iterator<Item = &Windows> {
        self.windows.iter().filter(|windows| windows.groups > 0)
    }

    /// The fewest tokens of any group's block.
    pub fn least_block_tokens(&self) -> u64 {
        let windows = self.kinds_of_windows().map(|windows| windows.block_tokens);
        let full = (self.full > 0 || self.recurrent > 0).then_some(self.block_tokens);
        let drafts = self.apart.iter().filter(|apart| apart.groups > 0);
        let drafts = drafts.map(|apart| apart.block_tokens);
        windows.chain(full).chain(drafts).min().unwrap_or(self.block_tokens)
    }

    /// The tokens that vLLM says a pool of so many blocks holds.
    pub fn tokens(&self, blocks: u64) -> u64 {
        blocks / self.groups().max(1) * self.least_block_tokens()
    }

    /// Blocks that a request of so many tokens may hold at most, with so many more in steps that are under way: every token of
    /// full layers, a window and those steps of windowed ones, and `states` blocks of recurrent ones.
    pub fn of_a_request(&self, tokens: u64, in_flight: u64, states: u64) -> Result<u64, Overflow> {
        let mut own = Bytes::product(&[tokens.div_ceil(self.block_tokens), self.full])?;
        for windows in self.kinds_of_windows() {
            let blocks = windows.blocks(windows.seen(tokens, in_flight))?;
            own = own.plus(Bytes::product(&[blocks, windows.groups])?)?;
        }
        let own = own.plus(Bytes::product(&[states, self.recurrent])?)?;
        Ok(own.plus(Bytes::new(self.of_drafts(tokens, in_flight)?))?.get())
    }

    /// Blocks that a draft's own groups may hold of a request.
    fn of_drafts(&self, tokens: u64, in_flight: u64) -> Result<u64, Overflow> {
        let [all, windowed] = self.apart.map(|apart| apart.of_a_request(tokens, in_flight));
        all?.checked_add(windowed?).ok_or(Overflow)
    }

    /// The same as bytes of the groups that hold them, in blocks of the layers that keep every token.
    ///
    /// # Errors
    /// On numbers that no pool has.
    pub fn of_a_request_by_bytes(
        &self,
        unequal: &Unequal,
        tokens: u64,
        in_flight: u64,
    ) -> Result<u64, Overflow> {
        let [full, others @ ..] = unequal.of_groups;
        let mut own = full.times(tokens.div_ceil(self.block_tokens))?;
        for (windows, bytes) in self.windows.iter().zip(others) {
            own = own.plus(bytes.times(windows.blocks(windows.seen(tokens, in_flight))?)?)?;
        }
        Ok(own.get().div_ceil(full.get().max(1)))
    }

    /// Blocks that the system prompt takes once for all conversations: those it fills, of layers
    /// that keep every token.
    pub const fn shared(&self, cached: &Cached) -> u64 {
        cached.system / self.block_tokens * self.full
    }

    /// Blocks that the conversations take together, the null block of the pool included. Nothing is
    /// saturated silently: numbers that overflow are refused.
    pub fn needed(&self, cached: &Cached) -> Result<u64, Overflow> {
        let tokens = cached.system.checked_add(cached.conversation).ok_or(Overflow)?;
        let full = tokens.div_ceil(self.block_tokens) - cached.system / self.block_tokens;
        let states = if cached.has_every_state { tokens.div_ceil(self.block_tokens) } else { 1 };
        let states = Bytes::product(&[states, self.recurrent])?;
        let own = Bytes::product(&[full, self.full])?.plus(states)?;
        let drafts = self.of_drafts(cached.conversation, cached.chunk)?;
        let own = own.plus(Bytes::new(drafts))?;
        let mut all = own.times(cached.sequences)?.plus(Bytes::new(self.shared(cached)))?;
        for windows in self.kinds_of_windows() {
            let held = windows.blocks(windows.seen(tokens, cached.chunk))?;
            let held = held.min(tokens.div_ceil(windows.block_tokens.max(1)));
            // The engine counts a step for every request, whoever's turn it is.
            all = all.plus(Bytes::product(&[held, windows.groups, cached.sequences])?)?;
        }
        Ok(all.plus(Bytes::new(NULL_BLOCK))?.get())
    }
}

/// A block that stands for none (`block_pool.py`).
const NULL_BLOCK: u64 = 1;

/// The smallest kind's layers, or the largest's where padding the others to it costs little.
fn group_layers(counts: &[u64]) -> u64 {
    let present = || counts.iter().copied().filter(|&layers| layers > 0);
    let (least, most) = (present().min().unwrap_or(1), present().max().unwrap_or(1));
    if 2 * most < 3 * least { most } else { least }
}

/// The most layers that a run has of any group. Layers of a kind are dealt out to its groups in turn, so
/// that every stage of a pipeline has some of each.
fn layers_of_a_group(layers: &[Layer], run: &Range<u64>, groups: [u64; 3]) -> u64 {
    let mut seen = [0; 3];
    let mut own = BTreeMap::new();
    for (index, layer) in (0..).zip(layers) {
        let kind = match layer {
            Layer::Full | Layer::FullAndRecurrent => 0,
            Layer::Window { .. } => 1,
            Layer::Recurrent => 2,
            Layer::Nothing => continue,
        };
        if run.contains(&index) {
            *own.entry((kind, seen[kind] % groups[kind].max(1))).or_insert(0) += 1;
        }
        seen[kind] += 1;
    }
    own.into_values().max().unwrap_or(0)
}

/// The layers of a model and those like them that predict.
fn layers_with(model: &ModelSpec, drafted: Drafted) -> Vec<Layer> {
    let more = (0..drafted.layers).map(|_| Layer::Full);
    model.layers.iter().copied().chain(more).collect()
}

/// A run of layers with those that come behind the model's last.
fn run_with(model: &ModelSpec, run: &Range<u64>, drafted: Drafted) -> Range<u64> {
    let is_last = run.end >= model.shape.n_layers;
    let more = if is_last { drafted.layers } else { 0 };
    run.start..run.end.saturating_add(more)
}

fn window_size(model: &ModelSpec) -> u64 {
    let sizes = model.layers.iter().filter_map(|layer| match layer {
        Layer::Window { size } => Some(*size),
        _ => None,
    });
    sizes.max().unwrap_or(0)
}

/// One rank's part: heads are split, and repeated where there are fewer than ranks.
fn split(shape: &ModelShape, ranks: u64) -> ModelShape {
    kept_by_rank(shape, ranks, |heads| heads.div_ceil(ranks))
}

/// The first layer that keeps every token.
fn first_full(shape: &ModelShape) -> u64 {
    let last = if shape.per_layer.is_some() { shape.n_layers } else { 0 };
    let is_full =
        |index: &u64| shape.layer(*index).kv_heads > 0 && shape.window_of(*index).is_none();
    (0..last).find(is_full).unwrap_or(0)
}

/// Keys and values, or the latent vector, of a token in layer `index`.
fn token_size(shape: &ModelShape, kv: KvFormat, index: u64) -> Result<Bytes, Overflow> {
    match shape.mla {
        Some(_) => kv_cache::latent_size(shape, kv, 1),
        None if shape.per_layer.is_some() => kv_cache::heads_size(shape.layer(index), kv, 1),
        None => kv_cache::layer_size(shape, kv, 1),
    }
}

/// What an indexer beside latent vectors caches of a token: its key in 8 bits, with a scale of 4 B for each 128 numbers
/// (`models/deepseek_v32/`, `DeepseekV32IndexerCache`).
fn index_key_size(shape: &ModelShape) -> Bytes {
    let indexer = shape.extras.indexer.as_ref().filter(|indexer| !indexer.plain);
    let width = indexer.filter(|_| shape.mla.is_some()).map_or(0, |indexer| indexer.head_dim);
    Bytes::new(width.saturating_add(width / SCALED * 4))
}

/// Layers of a run that have one; those behind the last that predict have.
fn indexed_layers(shape: &ModelShape, run: &Range<u64>, drafted: Drafted) -> u64 {
    let Some(indexer) = &shape.extras.indexer else { return 0 };
    let own = run.clone().filter(|&index| indexer.is_in(index)).count() as u64;
    let is_last = run.end >= shape.n_layers;
    own.saturating_add(if is_last { drafted.layers } else { 0 })
}

/// Inputs that a convolution keeps.
const fn inputs(kernel: u64, ahead: u64) -> u64 {
    kernel.saturating_sub(1).saturating_add(ahead)
}

/// Keys and values of a token in one layer of a model whose layers are all alike, on one of so many ranks.
pub(super) fn token_size_of(
    shape: &ModelShape,
    kv: KvFormat,
    ranks: u64,
) -> Result<Bytes, Overflow> {
    let shape = split(shape, ranks);
    token_size(&shape, kv, first_full(&shape))
}

/// A recurrent layer's state: the convolution's inputs in 16 bits, and the matrices in f32 where the
/// model's configuration asks for it.
///
/// Convolutions keep as many inputs more as tokens are predicted ahead.
fn state_size(shape: &ModelShape, ahead: u64) -> Result<Bytes, Overflow> {
    let told = shape.extras.state_bytes;
    if let Some(ssm) = shape.ssm {
        // Both parts in the model's own 16 bits (`mamba_cache_dtype` auto), unless `mamba_ssm_cache_dtype` says otherwise.
        let convolution = Bytes::product(&[inputs(ssm.conv_kernel, ahead), ssm.conv_width(), 2])?;
        return convolution.plus(Bytes::product(&[
            ssm.inner_size,
            ssm.state_size,
            told.unwrap_or(2),
        ])?);
    }
    let Some(r) = shape.recurrent else { return Ok(Bytes::ZERO) };
    let channels = 2 * r.key_heads * r.key_head_dim + r.value_heads * r.value_head_dim;
    let convolution = Bytes::product(&[inputs(r.conv_kernel, ahead), channels, 2])?;
    let delta_net = shape.architecture.family().delta_net();
    let own = delta_net.map_or(4, |delta_net| delta_net.vllm_state_bytes);
    let element = told.unwrap_or(own);
    convolution.plus(Bytes::product(&[r.value_heads, r.key_head_dim, r.value_head_dim, element])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Window;
    use crate::spec::samples::{llama_8b, qwen_14b};

    #[test]
    fn a_block_of_llama_8b_is_two_mebibytes() {
        let paging = Paging::of(&llama_8b(), KvFormat::Bf16, 1).unwrap();
        assert_eq!((paging.block_tokens, paging.block), (16, Bytes::new(2 << 20)));
        let halves = Paging::of(&llama_8b(), KvFormat::Fp8, 2).unwrap();
        assert_eq!(halves.block, Bytes::new(2 << 18));
        // Fewer heads than ranks: they are repeated.
        let most = Paging::of(&llama_8b(), KvFormat::Bf16, 16).unwrap();
        assert_eq!(most.block, Bytes::new(2 << 17));
    }

    #[test]
    fn layers_of_two_kinds_form_groups_of_one_size() {
        let of = |counts: [u64; 3]| group_layers(&counts);
        assert_eq!(of([23, 23, 0]), 23);
        assert_eq!(of([10, 52, 0]), 10);
        assert_eq!(of([13, 12, 0]), 13);
        assert_eq!(of([0, 32, 0]), 32);
        assert_eq!(of([8, 0, 24]), 8);
    }

    #[test]
    fn stages_have_their_layers_of_every_group() {
        // Gemma 3 27B: 10 full layers, and 52 with windows in six groups.
        let mut shape = llama_8b().shape;
        (shape.n_layers, shape.window) = (62, Some(Window { size: 1024, full_every: Some(6) }));
        let model = ModelSpec::new("windows", shape, "test").unwrap();
        let of = |run| {
            let paging = Paging::of_run(&model, &run, KvFormat::Bf16, 1, BLOCK_TOKENS).unwrap();
            (paging.group_layers, paging.full, paging.windows[0].groups)
        };
        assert_eq!(of(0..62), (10, 1, 6));
        assert_eq!(of(0..31), (5, 1, 6));
        assert_eq!(of(31..62), (5, 1, 6));
        // No full layer at all.
        assert_eq!(of(0..5), (1, 1, 6));
    }

    #[test]
    fn the_system_prompt_is_shared_and_the_rest_is_not() {
        let paging = Paging::of(&qwen_14b(), KvFormat::Bf16, 1).unwrap();
        let cached = Cached {
            system: 100,
            conversation: 60,
            sequences: 3,
            chunk: 2048,
            has_every_state: false,
        };
        // Six full blocks are shared; each conversation fills four more.
        assert_eq!(paging.shared(&cached), 6);
        assert_eq!(paging.needed(&cached), Ok(1 + 6 + 3 * 4));
    }

    #[test]
    fn windows_hold_a_window_and_a_chunk() {
        let mut shape = llama_8b().shape;
        shape.window = Some(Window { size: 1024, full_every: Some(2) });
        let model = ModelSpec::new("windows", shape, "test").unwrap();
        let paging = Paging::of(&model, KvFormat::Bf16, 1).unwrap();
        let windows = (paging.windows[0].groups, paging.windows[0].size);
        assert_eq!((paging.group_layers, paging.full, windows), (16, 1, (1, 1024)));
        let cached = Cached {
            system: 0,
            conversation: 16_000,
            sequences: 1,
            chunk: 513,
            has_every_state: false,
        };
        assert_eq!(paging.needed(&cached), Ok(1 + 1000 + 1536 / 16 + 1));
        assert_eq!(paging.tokens(2001), 16_000);
    }
}
