//! Tensors as vLLM and SGLang hold them on one of `ranks` GPUs: SGLang's layers were vLLM's.
//!
//! q, k and v are one tensor, and so are gate and up; the vocabulary is padded to a multiple of 64;
//! layers are split by output with their biases (q, k, v, gate, up, experts) or by input (their
//! outputs), and what cannot be split is on every rank: norms, routers, latent projections, and key
//! and value heads where there are fewer than ranks. Multi-head latent attention keeps `kv_b_proj`
//! for prefill and its two halves once more for decode.
//!
//! Sources: vLLM `model_executor/layers/linear.py`, `vocab_parallel_embedding.py`
//! (`DEFAULT_VOCAB_PADDING_SIZE`), `fused_moe/layer.py`, `attention/mla_attention.py`
//! (`process_weights_after_loading`); SGLang 0.5.23 `srt/layers/linear.py`, `vocab_parallel_embedding.py` (the same constant),
//! `models/deepseek_common/` (`w_kc` and `w_vc` beside `kv_b_proj`).

use crate::dtype::WeightFormat;
use crate::estimate::weights::gguf::{self, loaded_experts};
use crate::estimate::weights::{Modules, Sizer, WeightsError, is_gguf_file, torch};
use crate::spec::families::RouterBias;
use crate::spec::{ModelShape, ModelSpec, Part, Role, Runtime, TensorSpec};

/// Rows that the embedding and the output head are padded to.
pub const VOCAB_PADDING: u64 = 64;

/// Heads that a rank's attention over compressed keys is padded to a multiple of (`deepseek_v4/nvidia/flashmla.py`,
/// `get_padded_num_q_heads`).
pub const PADDED_HEADS: u64 = 64;

/// What a server says of formats that it does not load as they are.
pub struct Unloaded {
    /// Which server.
    pub runtime: Runtime,
    /// Why no GGUF file.
    pub gguf: &'static str,
    /// Why no FP4 of bitsandbytes.
    pub fp4: &'static str,
}

/// Refuses formats that neither server's plan has.
///
/// # Errors
/// For GGUF files and FP4.
pub fn check(model: &ModelSpec, format: WeightFormat, why: &Unloaded) -> Result<(), WeightsError> {
    let (reason, hint) = match format {
        WeightFormat::Gguf(_) => (
            why.gguf,
            "use `--weights awq-int4`, `gptq-int4`, `fp8`, `int8`, `nf4` or `bf16`, or `--runtime llama.cpp`",
        ),
        WeightFormat::AsStored if torch::described(model, format).is_some() => return Ok(()),
        WeightFormat::AsStored if is_gguf_file(model) => {
            (why.gguf, "use `--weights bf16`, or `--runtime llama.cpp`")
        }
        WeightFormat::Fp4 { .. } => (why.fp4, "use `--weights nf4`"),
        _ => return Ok(()),
    };
    Err(WeightsError::Unsupported { runtime: why.runtime, format, reason, hint })
}

/// How a tensor of the model is sized: as the checkpoint says, else by the format of its linear layers.
pub fn sizer(model: &ModelSpec, format: WeightFormat, modules: Modules) -> Sizer<'_> {
    if let Some(checkpoint) = torch::described(model, format) {
        let experts = model.shape.moe.map_or(1, |moe| moe.n_experts);
        return Box::new(move |tensor| {
            if is_f32(&model.shape, tensor.role) {
                return Ok(torch::whole(tensor, torch::dense(tensor, WeightFormat::F32)?));
            }
            torch::in_checkpoint(tensor, checkpoint, experts)
        });
    }
    let experts = loaded_experts(model, format);
    // What is published in MXFP4 has its experts in it, and nothing else.
    let held = held_as(if experts.is_some() { WeightFormat::Bf16 } else { format });
    Box::new(move |tensor| match experts.filter(|_| tensor.role.is_routed_expert()) {
        Some(ty) => gguf::sized(tensor, ty),
        None if is_f32(&model.shape, tensor.role) => {
            Ok(torch::whole(tensor, torch::dense(tensor, WeightFormat::F32)?))
        }
        // Checkpoints for vLLM leave towers out of quantization.
        None if tensor.role.is_vision() => Ok(torch::whole(tensor, torch::dense(tensor, held)?)),
        None => torch::sized(tensor, held, modules),
    })
}

/// Both expand doubly quantized scales to f32 when they load them (`bitsandbytes_loader.py`,
/// `_dequantize_dq`).
const fn held_as(format: WeightFormat) -> WeightFormat {
    match format {
        WeightFormat::Nf4 { .. } => WeightFormat::Nf4 { double_quant: false },
        format => format,
    }
}

/// How one rank's tensors are cut out of a model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// GPUs that attention and what has no other number is split over.
    pub ranks: u64,
    /// GPUs that dense feed-forward layers are split over.
    pub ffn_ranks: u64,
    /// GPUs that the embedding is split over, and those that the output head is.
    pub vocabulary_ranks: [u64; 2],
    /// GPUs that every expert is split over.
    pub expert_ranks: u64,
    /// Experts of a layer that the rank has, of how many.
    pub experts: (u64, u64),
    /// GPUs that shared experts are split over.
    pub shared_ranks: u64,
}

impl Cut {
    /// Over so many GPUs that share everything.
    pub const fn evenly(ranks: u64) -> Self {
        Self {
            ranks,
            ffn_ranks: ranks,
            vocabulary_ranks: [ranks; 2],
            expert_ranks: ranks,
            experts: (1, 1),
            shared_ranks: ranks,
        }
    }

    /// What a GPU has: without `--enable-expert-parallel` experts are split over the ranks of all copies
    /// (`fused_moe/config.py`, `flatten_tp_across_dp_and_pcp`); with it they are dealt out whole, those left over to the first
    /// (`fused_moe/expert_map_manager.py`, `determine_expert_map`).
    pub fn of(shape: &ModelShape, part: &Part) -> Self {
        let Some(grid) = part.grid else { return Self::evenly(part.ranks()) };
        let (ranks, spread) = (grid.tensor.max(1), grid.experts().max(1));
        let Some(moe) = shape.moe.filter(|_| grid.whole_experts && spread > 1) else {
            return Self { expert_ranks: spread, ..Self::evenly(ranks) };
        };
        let experts = dealt(moe.n_experts, spread, part);
        let is_whole = shape.architecture.family().vllm.whole_shared_experts && grid.copies > 1;
        let shared_ranks = if is_whole { 1 } else { ranks };
        Self { expert_ranks: 1, experts, shared_ranks, ..Self::evenly(ranks) }
    }

    /// What a GPU has under SGLang where copies of attention share everything else (`--enable-dp-attention`): each copy has a
    /// whole embedding among its ranks, all ranks together have one output head (`models/deepseek_v2.py`, `models/qwen3_moe.py`).
    pub fn with_copies_of_attention(shape: &ModelShape, part: &Part) -> Self {
        let Some(grid) = part.grid else { return Self::evenly(part.ranks()) };
        let (ranks, all) = (grid.tensor.max(1), grid.experts().max(1));
        let whole = shape.moe.filter(|_| grid.whole_experts && all > 1);
        Self {
            ranks,
            vocabulary_ranks: [ranks, all],
            expert_ranks: if whole.is_some() { 1 } else { all },
            experts: whole.map_or((1, 1), |moe| dealt(moe.n_experts, all, part)),
            ..Self::evenly(all)
        }
    }

    /// So much of what all experts have together.
    const fn of_experts(self, all: u64) -> u64 {
        let (own, of) = self.experts;
        all / of * own
    }
}

/// Experts of a GPU where so many are dealt out over so many of them, and all: those left over go to the first.
fn dealt(experts: u64, spread: u64, part: &Part) -> (u64, u64) {
    let index = part.copy().saturating_mul(part.ranks()).saturating_add(part.rank_of_stage());
    let (each, left) = (experts / spread, experts % spread);
    (each + u64::from(index < left), experts.max(1))
}

/// Every tensor of one rank.
pub fn tensors(model: &ModelSpec, cut: Cut) -> Vec<TensorSpec> {
    let mut fused: Vec<TensorSpec> = Vec::with_capacity(model.tensors.len());
    let mut before: Option<(TensorSpec, TensorSpec)> = None;
    for &tensor in model.tensors.iter().chain(&model.vision_tensors) {
        let related =
            before.and_then(|before| of_the_one_before(&model.shape, before, tensor, cut));
        let part = related.unwrap_or_else(|| shard(&model.shape, tensor, cut));
        before = Some((tensor, part));
        let part = TensorSpec { role: fused_role(part.role), ..part };
        if tensor.role == Role::RecurrentVector {
            fused.push(TensorSpec { role: Role::RecurrentDecay, rows: 1, ..part });
            fused.push(TensorSpec { rows: part.rows - 1, ..part });
        } else if !fuse(&mut fused, tensor.role, &part) {
            fused.push(part);
        }
        if let Some(table) = table_of_experts(&model.shape, tensor) {
            fused.push(table);
        }
        if tensor.role == Role::MlaKvB {
            // Two matrices of every head, for queries and for outputs, which no format quantizes.
            fused.push(TensorSpec { role: Role::MlaAbsorbed, ..part });
        }
    }
    fused
}

/// Which experts every token has where its number chooses them, beside such a layer's router: integers as wide as the f32 of
/// other layers' corrections (`deepseek_v4/nvidia/model.py`, `tid2eid`).
fn table_of_experts(shape: &ModelShape, tensor: TensorSpec) -> Option<TensorSpec> {
    let compressed = shape.extras.compressed.as_ref()?;
    if tensor.role != Role::Router || tensor.layer? >= compressed.hashed_layers {
        return None;
    }
    let (row, rows) = (shape.moe?.n_experts_used, shape.vocab_size);
    Some(TensorSpec { role: Role::ScoreCorrection, row, rows, ..tensor })
}

/// One rank's part of a bias or a norm that goes with the tensor before it: the bias of a layer that is
/// split by its output, the correction of a router's scores, the norm of all heads of a state-space layer.
fn of_the_one_before(
    shape: &ModelShape,
    (before, part): (TensorSpec, TensorSpec),
    tensor: TensorSpec,
    cut: Cut,
) -> Option<TensorSpec> {
    use Role as R;
    let experts = shape.architecture.family().experts;
    match (before.role, tensor.role) {
        (R::Router, R::Bias) if experts.router_bias != RouterBias::Linear => {
            Some(TensorSpec { role: R::ScoreCorrection, ..tensor })
        }
        (R::RecurrentVector, R::Norm) if shape.ssm.is_some() => {
            Some(TensorSpec { row: tensor.row.div_ceil(cut.ranks), ..tensor })
        }
        (R::ExpertDown, R::Bias) => Some(TensorSpec { row: cut.of_experts(tensor.row), ..tensor }),
        (role, R::Bias) if is_split_by_output(role) && tensor.row == before.rows => {
            Some(TensorSpec { role: R::SplitBias, row: part.rows, ..tensor })
        }
        _ => None,
    }
}

/// Whether a tensor is kept in f32: vLLM 0.19.1 `gdn_linear_attn.py` and `mamba_mixer2.py` (decay),
/// `deepseek_v2.py` and `glm4_moe.py` (correction of scores; GLM's router too); 0.33 `deepseek_v4/nvidia/model.py` (what
/// mixes residual streams) and `deepseek_v4/attention.py` (sinks).
pub fn is_f32(shape: &ModelShape, role: Role) -> bool {
    match role {
        Role::RecurrentDecay | Role::ScoreCorrection | Role::StreamMix => true,
        Role::Sinks => shape.extras.compressed.is_some(),
        Role::Router => shape.architecture.family().vllm.router_in_f32,
        _ => false,
    }
}

/// Whether every rank has all of such a tensor.
pub fn is_replicated(role: Role) -> bool {
    use Role as R;
    matches!(
        role,
        R::Router
            | R::SharedRouter
            | R::MlaQa
            | R::MlaKvA
            | R::Norm
            | R::Bias
            | R::ScoreCorrection
            | R::VisionOther
    )
}

/// The tensor that a part of it becomes.
const fn fused_role(role: Role) -> Role {
    match role {
        Role::AttnQ | Role::AttnK | Role::AttnV => Role::AttnQkv,
        Role::FfnGate | Role::FfnUp => Role::FfnGateUp,
        Role::ExpertUp => Role::ExpertGate,
        Role::SharedUp => Role::SharedGate,
        other => other,
    }
}

/// Adds a part to the tensor that it continues, if there is one: a matrix to that before it, but for
/// the bias in between, a bias to the bias before it.
fn fuse(fused: &mut [TensorSpec], role: Role, part: &TensorSpec) -> bool {
    let is_bias = part.role == Role::SplitBias;
    let before = fused.iter_mut().rev().find(|last| is_bias || last.role != Role::SplitBias);
    let Some(last) = before.filter(|last| (last.role, last.layer) == (part.role, part.layer))
    else {
        return false;
    };
    if is_bias {
        last.row += part.row;
    } else if is_next_part(role) && last.row == part.row {
        last.rows += part.rows;
    } else {
        return false;
    }
    true
}

/// Whether a part continues the tensor before it.
const fn is_next_part(role: Role) -> bool {
    use Role as R;
    matches!(role, R::AttnK | R::AttnV | R::FfnUp | R::ExpertUp | R::SharedUp)
}

/// One rank's part of a tensor.
pub fn shard(shape: &ModelShape, tensor: TensorSpec, cut: Cut) -> TensorSpec {
    use Role as R;
    let TensorSpec { role, row, mut rows, .. } = tensor;
    let ranks = match role {
        role if role.is_routed_expert() => cut.expert_ranks,
        R::SharedGate | R::SharedUp | R::SharedDown => cut.shared_ranks,
        R::FfnGate | R::FfnUp | R::FfnGateUp | R::FfnDown => cut.ffn_ranks,
        R::TokenEmbedding => cut.vocabulary_ranks[0],
        R::OutputHead => cut.vocabulary_ranks[1],
        _ => cut.ranks,
    };
    if role.is_routed_expert() {
        rows = cut.of_experts(rows);
    }
    let (row, rows) = match role {
        R::TokenEmbedding | R::OutputHead => {
            (row, rows.next_multiple_of(VOCAB_PADDING).div_ceil(ranks))
        }
        R::AttnK | R::AttnV => {
            let index = tensor.layer.unwrap_or(0);
            let kv_heads = shape.layer(index).kv_heads.max(1);
            // The fused projection has room for values even where keys serve as values.
            let parts = if role == R::AttnK && !shape.has_values(index) { 2 } else { 1 };
            (row, parts * (rows / kv_heads * kv_heads.div_ceil(ranks)))
        }
        R::SsmIn | R::RecurrentConv if shape.ssm.is_some() => {
            (row, state_space_rows(shape, role, ranks).unwrap_or(rows))
        }
        // One table is dealt out to all ranks (vLLM's `--engram-config`, `ETP=TP`).
        R::RunEmbedding => (row, rows.div_ceil(ranks)),
        R::AttnOutput
        | R::FfnDown
        | R::ExpertDown
        | R::SharedDown
        | R::RecurrentOutput
        | R::RecurrentVector
        | R::RecurrentDecay => (row.div_ceil(ranks), rows),
        // Kernels for compressed keys read as many heads at once.
        R::Sinks if shape.extras.compressed.is_some() => {
            (row.div_ceil(ranks).next_multiple_of(PADDED_HEADS), rows)
        }
        role if is_split_by_output(role) => (row, rows.div_ceil(ranks)),
        _ => (row, rows),
    };
    TensorSpec { row, rows, ..tensor }
}

/// Whether every rank has some of a matrix's outputs.
const fn is_split_by_output(role: Role) -> bool {
    use Role as R;
    matches!(
        role,
        R::AttnQ
            | R::AttnK
            | R::AttnV
            | R::AttnQkv
            | R::FfnGate
            | R::FfnUp
            | R::FfnGateUp
            | R::ExpertGate
            | R::ExpertUp
            | R::SharedGate
            | R::SharedUp
            | R::MlaQb
            | R::MlaKvB
            | R::MlaAbsorbed
            | R::RecurrentQkv
            | R::RecurrentGate
            | R::RecurrentBetaAlpha
            | R::RecurrentConv
            | R::SsmIn
            | R::Sinks
            | R::VisionLinear
    )
}

/// Gate, input, B, C and time steps of one rank, or the channels of its convolution, which has at
/// least one group of B and C (`mamba_mixer2.py`, `extra_groups_for_head_shards`).
fn state_space_rows(shape: &ModelShape, role: Role, ranks: u64) -> Option<u64> {
    let ssm = shape.ssm?;
    let inner = match role {
        Role::RecurrentConv => ssm.inner_size,
        _ => 2 * ssm.inner_size + ssm.n_heads,
    };
    Some(inner.div_ceil(ranks) + 2 * ssm.n_groups.div_ceil(ranks) * ssm.state_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::{llama_8b, qwen_14b};

    fn elements(model: &ModelSpec, ranks: u64) -> u64 {
        tensors(model, Cut::evenly(ranks)).iter().map(TensorSpec::elements).sum()
    }

    #[test]
    fn fusing_keeps_every_element_and_splitting_all_but_norms() {
        let model = llama_8b();
        assert_eq!(elements(&model, 1), model.parameters());
        let norms = (2 * 32 + 1) * 4096;
        assert_eq!(elements(&model, 2), (model.parameters() - norms) / 2 + norms);
        // Eight key and value heads are repeated on sixteen ranks.
        let repeated = 32 * 2 * 8 * 128 * 4096 / 16;
        assert_eq!(elements(&model, 16), (model.parameters() - norms) / 16 + norms + repeated);
        let fused =
            tensors(&qwen_14b(), Cut::evenly(1)).into_iter().filter(|t| t.role == Role::FfnGateUp);
        assert!(fused.clone().count() == 48 && fused.into_iter().all(|t| t.rows == 2 * 13_824));
    }
}
