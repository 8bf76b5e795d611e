//! Slots for adapters: vLLM allocates two matrices of the largest rank for every slot and every linear layer when it loads the
//! model, whatever adapters there will be (`lora/model_manager.py`, `_create_lora_modules`).
//!
//! Of a layer that maps `row` values to `rows` a slot has `rank · row` elements and `rows · rank`, in the type of the model. A
//! rank of tensor parallelism has as much of the first as of the layer's input, and as much of the second as of its output.
//! Layers that join several (`qkv_proj`, `gate_up_proj`) have the first matrix once for each, where checkpoints have them
//! apart. Every expert has its own two. Embeddings and the output head are not split over ranks, and only classes that say so
//! (`embedding_modules`) adapt them.
//!
//! Sources: vLLM 0.33 `lora/layers/base_linear.py`, `column_parallel_linear.py`, `fused_moe.py`, `vocab_parallel_embedding.py`,
//! `logits_processor.py` (`create_lora_weights`), `lora/punica_wrapper/punica_base.py`; to the byte as the engine's own classes
//! have them (`evidence/vllm/lora-0.33.0.csv`).

use super::element;
use crate::estimate::serving::tensors::{Cut, VOCAB_PADDING, is_replicated, shard};
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario,
};
use crate::spec::families::LayerKinds;
use crate::spec::{
    Basis, Bounds, LoraSlots, ModelShape, ModelSpec, Part, Role, Serving, TensorSpec,
};
use crate::units::{Bytes, Overflow};

/// The largest vocabulary whose output head vLLM adapts.
const MOST_TOKENS: u64 = 258_048;

const SOURCE: &str = "vLLM lora/layers, create_lora_weights of every class";

/// Lists the slots, and the tables by which tokens find theirs.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let Some(lora) = serving.server.lora else { return Ok(()) };
    let shape = &scenario.model.shape;
    let adapters = shape.architecture.family().vllm.adapters;
    if adapters.head && shape.vocab_size > MOST_TOKENS {
        let reason =
            format!("vLLM adapts vocabularies of at most {MOST_TOKENS} tokens, see `--max-loras`");
        return Err(EstimateError::Model { field: "vocab_size", reason });
    }
    let held = slots(scenario.model, scenario.part(), lora, element(scenario))?;
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: SOURCE,
    };
    let values = [("slots", lora.slots), ("rank", lora.rank)];
    for (id, size) in [
        (BufferId::AdapterSlots, held.linear),
        (BufferId::ExpertAdapterSlots, held.experts),
        (BufferId::EmbeddingAdapterSlots, held.outside),
    ] {
        let formula = Formula::text("Σ slots · rank · (inputs + outputs) · B", &values);
        buffers.push(kind, id, Bounds::exactly(size), formula);
    }
    let kind = Kind { component: Component::SmallBuffers, ..kind };
    let size = Bounds::exactly(tables(lora, scenario.workload.prefill_chunk, serving.max_seqs)?);
    let formula = Formula::text(
        "48 B · tokens + 24 B · sequences + 12 B · slots",
        &[("tokens", scenario.workload.prefill_chunk), ("sequences", serving.max_seqs)],
    );
    buffers.push(kind, "which token has which adapter", size, formula);
    Ok(())
}

/// What slots take on one GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Of linear layers that are no experts.
    pub linear: Bytes,
    /// Of experts.
    pub experts: Bytes,
    /// Of the embedding and the output head.
    pub outside: Bytes,
}

impl Slots {
    /// All of it.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn sum(&self) -> Result<Bytes, Overflow> {
        self.linear.plus(self.experts)?.plus(self.outside)
    }
}

/// What slots for adapters take on one GPU, `element` being the bytes of an activation.
///
/// # Errors
/// On sizes that no device has.
pub fn slots(
    model: &ModelSpec,
    part: &Part,
    lora: LoraSlots,
    element: u64,
) -> Result<Slots, Overflow> {
    let cut = Cut::of(&model.shape, part);
    let adapters = model.shape.architecture.family().vllm.adapters;
    let of =
        |times: u64, width: u64| Bytes::product(&[lora.slots, lora.rank, times, width, element]);
    let mut held = Slots::default();
    let mut with_experts = None;
    for tensor in &model.tensors {
        if !tensor.layer.is_some_and(|layer| part.layers.contains(&layer))
            || !is_linear(tensor.role)
        {
            continue;
        }
        let own = shard(&model.shape, *tensor, cut);
        if tensor.role.is_routed_expert() {
            let all = model.shape.moe.map_or(1, |moe| moe.n_experts);
            let (here, of_all) = cut.experts;
            let count = all / of_all * here;
            let joins = adapters.joined_experts && tensor.role == Role::ExpertUp;
            let inputs = of(if joins { 0 } else { count }, own.row)?;
            held.experts = held.experts.plus(inputs)?.plus(of(1, own.rows)?)?;
            if with_experts != tensor.layer {
                with_experts = tensor.layer;
                // Which slots are in use.
                held.experts = held.experts.plus(Bytes::product(&[lora.slots + 1, 4])?)?;
            }
            continue;
        }
        let times = parts(&model.shape, tensor.role, cut.ranks);
        let times = if adapters.joined_mlp && tensor.role == Role::FfnUp {
            0
        } else if tensor.role == Role::RecurrentBetaAlpha && joins_gates(&model.shape) {
            // Both are one; the second adds to its outputs only.
            u64::from(is_first(model, tensor))
        } else {
            times
        };
        held.linear = held.linear.plus(of(times, own.row)?)?.plus(of(1, own.rows)?)?;
    }
    let (vocab, hidden) = (model.shape.vocab_size, model.shape.hidden_size);
    let every = model.shape.architecture.family().vllm.every_stage;
    // The last stage has the embedding, too, where it is the output head.
    let is_tied = model.shape.tied_embeddings && part.has_head;
    if adapters.embedding && (part.has_embedding || every.embedding || is_tied) {
        held.outside = held.outside.plus(of(1, vocab)?)?.plus(of(1, hidden)?)?;
    }
    if adapters.head && (part.has_head || every.head) {
        held.outside = held.outside.plus(of(1, vocab)?)?.plus(of(1, hidden)?)?;
        // Where tokens are in the logits that ranks have put together.
        let places = if cut.ranks > 1 { padded(vocab, cut.ranks)? } else { Bytes::ZERO };
        held.outside = held.outside.plus(places)?;
    }
    Ok(held)
}

/// 8 B for every row of the head, those that pad it included.
fn padded(vocab: u64, ranks: u64) -> Result<Bytes, Overflow> {
    let rows = vocab.checked_next_multiple_of(VOCAB_PADDING).ok_or(Overflow)?;
    Bytes::product(&[rows.div_ceil(ranks), ranks, 8])
}

/// Whether it is a linear layer to vLLM; causal convolutions are.
fn is_linear(role: Role) -> bool {
    role.is_block_linear() || role == Role::RecurrentConv || is_gate(role)
}

fn is_gate(role: Role) -> bool {
    is_replicated(role) && matches!(role, Role::Router | Role::SharedRouter)
}

/// How often an adapter has the matrix of a layer's inputs: once for each of the layers that it joins.
fn parts(shape: &ModelShape, role: Role, ranks: u64) -> u64 {
    let groups = shape.ssm.map_or(1, |ssm| ssm.n_groups);
    let merges = groups.is_multiple_of(ranks);
    match role {
        // Gate, input, B, C and time steps; or one where groups are repeated.
        Role::SsmIn if merges => 5,
        Role::RecurrentConv if shape.ssm.is_some() && merges => 3,
        // Queries, keys and values; the gate is a layer of its own here.
        Role::RecurrentQkv if !joins_gates(shape) => 3,
        Role::RecurrentGate if joins_gates(shape) => 0,
        _ => 1,
    }
}

fn joins_gates(shape: &ModelShape) -> bool {
    match shape.architecture.family().layers {
        LayerKinds::DeltaNet(delta_net) => delta_net.joint_gates,
        _ => false,
    }
}

/// Whether no tensor of that role comes before in the same layer.
fn is_first(model: &ModelSpec, tensor: &TensorSpec) -> bool {
    model
        .tensors
        .iter()
        .find(|other| other.role == tensor.role && other.layer == tensor.layer)
        .is_some_and(|first| std::ptr::eq(first, tensor))
}

/// Tables by which tokens find their adapters: four of 64 bits and four of 32 for every token, three of 64 for every sequence,
/// and four numbers of every slot, twice.
///
/// # Errors
/// On sizes that no device has.
pub fn tables(lora: LoraSlots, tokens: u64, sequences: u64) -> Result<Bytes, Overflow> {
    let of_tokens = Bytes::product(&[tokens, 4 * 8 + 4 * 4])?;
    let of_slots = Bytes::product(&[2 * 4, 3 * lora.slots + 4])?;
    of_tokens.plus(Bytes::product(&[sequences, 3 * 8])?)?.plus(of_slots)
}
