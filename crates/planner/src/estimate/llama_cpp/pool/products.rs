//! What the products of weights by activations take of the pool.
//!
//! A quantized matrix is multiplied by activations in 8 bits (`ggml_cuda_mul_mat_q` in `mmq.cu`), tile by tile; a matrix
//! in 16 bits by activations in 16 bits, through cuBLAS (`ggml_cuda_mul_mat_cublas` in `ggml-cuda.cu`). A card that cannot
//! multiply in the matrix's own format has the matrix itself converted. Experts in 16 bits are multiplied one after the
//! other, with all activations sorted by expert before (`ggml_cuda_mul_mat_id`).

use super::{AMPERE, SLOW_HALF, TURING, VOLTA};
use crate::dtype::{GgmlType, WeightFormat};
use crate::estimate::Scenario;
use crate::estimate::llama_cpp::graph::GraphParams;
use crate::estimate::llama_cpp::weights::LlamaCppTensors;
use crate::estimate::weights::{Asked, Modules, SizedTensor, WeightsError, each_tensor};
use crate::spec::{Bounds, ComputeCapability, Role};
use crate::units::{Bytes, Overflow};

/// The first that multiplies 8-bit integers by four (`GGML_CUDA_CC_DP4A`).
const DP4A: ComputeCapability = ComputeCapability { major: 6, minor: 1 };
/// Up to so many rows a kernel without operands in another format multiplies (`MMVQ_MAX_BATCH_SIZE`).
const FEW_ROWS: u64 = 8;
/// Up to so many, tensor cores multiply 16-bit matrices by activations as they are (`ggml_cuda_should_use_mmf`).
const THIN: u64 = 16;
/// The same of experts, by their rows.
const THIN_EXPERTS: [(u64, u64); 2] = [(1024, 512), (u64::MAX, 128)];
/// Rows from which on Volta multiplies in 16 bits (`MMQ_DP4A_MAX_BATCH_SIZE`).
const VOLTA_ROWS: u64 = 64;
/// A tile's rows and columns.
const TILE: u64 = 128;
/// Elements to which a row of activations is padded, and bytes of 32 of them in 8 bits with their scale.
const PADDING: u64 = 512;
const EIGHT_BITS: (u64, u64) = (36, 32);
/// What a tile reads behind the last row.
const BEHIND: u64 = TILE * 144;
/// The most of a matrix in single precision at once, in newer builds (`max_src0_convert_size`).
const CHUNK: u64 = 512 << 20;

/// A product of weights by the activations of a micro-batch.
#[derive(Clone, Copy)]
struct Product {
    ty: GgmlType,
    inputs: u64,
    outputs: u64,
    /// Rows of activations.
    rows: u64,
    /// Experts and those that a token passes through.
    experts: Option<(u64, u64)>,
    /// What of the matrix is in single precision at once, at most.
    piece: Bytes,
}

/// What a product takes of the pool: each allocation, and how far it may be off.
#[derive(Clone, Default)]
pub(super) struct Taken {
    /// Allocations that are alive together.
    pub(super) certain: Vec<Bytes>,
    /// What comes to them where work is not divided evenly.
    pub(super) at_most: Bytes,
}

impl Taken {
    /// The sum.
    pub(super) fn bounds(&self) -> Result<Bounds, Overflow> {
        let certain = Bytes::sum(self.certain.iter().copied())?;
        let high = certain.plus(self.at_most)?;
        Ok(Bounds::new(certain, high, high))
    }
}

/// Whether products surely take no more than `most`: quantized matrices of an ordinary model, by its widths alone, so
/// that plans need no list of tensors.
pub(super) fn is_within(
    scenario: &Scenario<'_>,
    graph: &GraphParams,
    most: Bytes,
) -> Result<bool, Overflow> {
    let (model, cc) = (scenario.model, scenario.gpu.compute_capability);
    let shape = &model.shape;
    let WeightFormat::Gguf(file_type) = scenario.weights.format else { return Ok(false) };
    let base = file_type.base();
    let is_plain = shape.mla.is_none() && shape.recurrent.is_none() && shape.ssm.is_none();
    let is_quantized = base.is_quantized() && base != GgmlType::Mxfp4;
    if !is_plain || !is_quantized || model.file_caches.is_some() || cc < DP4A || cc == VOLTA {
        return Ok(false);
    }
    let heads = shape.n_heads.checked_mul(shape.head_dim).ok_or(Overflow)?;
    let dense = shape.hidden_size.max(shape.ffn_size).max(heads);
    let (used, expert) = shape.moe.map_or((1, 0), |moe| (moe.n_experts_used, moe.expert_ffn_size));
    let widest = |inputs, of_experts| {
        let ty = base;
        let experts = Some((of_experts, of_experts));
        Product { ty, inputs, outputs: 0, rows: graph.rows, experts, piece: Bytes::ZERO }
            .tiled(scenario, of_experts)?
            .bounds()
    };
    let shared = shape.moe.map_or(0, |moe| moe.shared_ffn_size);
    let dense = widest(dense.max(shared), 1)?;
    let experts = widest(shape.hidden_size.max(expert), used)?;
    Ok(dense.max(experts).high <= most)
}

/// What every kind of product on a GPU takes.
pub(super) fn taken(scenario: &Scenario<'_>, graph: &GraphParams) -> Result<Vec<Taken>, Overflow> {
    let part = scenario.part();
    let asked = Asked {
        model: scenario.model,
        format: scenario.weights.format,
        ranks: 1,
        part: part.placed.is_none().then_some(part),
        modules: Modules::default(),
    };
    let last = scenario.model.shape.n_layers.saturating_sub(1);
    let is_here = |tensor: &SizedTensor| {
        tensor.layer.is_none_or(|layer| part.placed.is_some() || part.layers.contains(&layer))
    };
    let mut seen = Vec::new();
    let mut all = Vec::new();
    let listed = each_tensor(&LlamaCppTensors, &asked, |tensor| {
        let Some(product) = product(scenario, graph, tensor).filter(|_| is_here(tensor)) else {
            return Ok(());
        };
        // The last layer has the rows alone of which logits are wanted.
        let shape = (product.ty, product.inputs, product.outputs, product.rows);
        if tensor.layer == Some(last) || seen.contains(&shape) {
            return Ok(());
        }
        seen.push(shape);
        all.push(product.takes(scenario)?);
        Ok(())
    });
    match listed {
        Err(WeightsError::Overflow(error)) => Err(error),
        // Weights that cannot be listed were sized by other means.
        Ok(()) | Err(_) => Ok(all),
    }
}

fn product(scenario: &Scenario<'_>, graph: &GraphParams, tensor: &SizedTensor) -> Option<Product> {
    let (role, ty) = (tensor.role?, tensor.ggml?);
    let block = ty.layout();
    let elements = tensor.size.get() / block.bytes * block.elements;
    let moe = scenario.model.shape.moe.filter(|_| role.is_routed_expert());
    let experts = moe.map(|moe| (moe.n_experts, moe.n_experts_used));
    let outputs = elements / tensor.row.max(1) / experts.map_or(1, |(all, _)| all.max(1));
    let rows = match role {
        Role::OutputHead => graph.n_outputs,
        Role::TokenEmbedding if scenario.model.shape.tied_embeddings => graph.n_outputs,
        _ if role.is_block_linear() => graph.rows,
        _ => return None,
    };
    let is_cut = graph.version.widens_in_pieces();
    let piece = Bytes::new(if is_cut { CHUNK } else { u64::MAX });
    Some(Product { ty, inputs: tensor.row, outputs, rows, experts, piece })
}

impl Product {
    fn takes(self, scenario: &Scenario<'_>) -> Result<Taken, Overflow> {
        let cc = scenario.gpu.compute_capability;
        let of_experts = self.experts.map_or(1, |(_, used)| used);
        if self.rows <= FEW_ROWS {
            return Ok(Taken::default());
        }
        match self.ty {
            GgmlType::F32 => Ok(Taken::default()),
            GgmlType::F16 | GgmlType::Bf16 => match self.experts {
                _ if self.is_thin(cc) => Ok(Taken::default()),
                Some(experts) => self.one_by_one(cc, experts),
                None => self.converted(cc, self.rows),
            },
            _ if self.is_tiled(cc) => self.tiled(scenario, of_experts),
            _ => match self.experts {
                Some(experts) => self.one_by_one(cc, experts),
                None => self.converted(cc, self.rows),
            },
        }
    }

    /// Whether a kernel takes the activations as they are.
    fn is_thin(self, cc: ComputeCapability) -> bool {
        let has_cores = if self.ty == GgmlType::Bf16 { cc >= AMPERE } else { cc >= VOLTA };
        let of_size = || {
            let row = THIN_EXPERTS.iter().find(|(outputs, _)| self.outputs <= *outputs);
            row.map_or(0, |(_, rows)| *rows)
        };
        let most = if self.experts.is_some() { of_size() } else { THIN };
        has_cores && self.rows <= most
    }

    /// Whether a card multiplies quantized matrices as they are (`ggml_cuda_should_use_mmq`).
    fn is_tiled(self, cc: ComputeCapability) -> bool {
        match cc {
            _ if cc >= TURING => true,
            _ if cc >= VOLTA => self.rows < VOLTA_ROWS,
            _ if cc >= DP4A => true,
            _ => self.experts.is_some() && cc.major >= 6,
        }
    }

    fn tiled(self, scenario: &Scenario<'_>, of_experts: u64) -> Result<Taken, Overflow> {
        let (bytes, elements) = EIGHT_BITS;
        let row = self.inputs.checked_next_multiple_of(PADDING).ok_or(Overflow)?;
        let rows = self.rows.checked_mul(of_experts).ok_or(Overflow)?;
        let activations = Bytes::product(&[rows, row])?.scale(bytes, elements)?;
        let numbers =
            if self.experts.is_some() { Bytes::product(&[rows, 4])? } else { Bytes::ZERO };
        // Tiles that several multiprocessors share, from Volta on.
        let shares = scenario.gpu.compute_capability >= VOLTA;
        let tiles = scenario.gpu.sm_count.value.checked_mul(u64::from(shares)).ok_or(Overflow)?;
        let at_most = Bytes::product(&[tiles, TILE, TILE, 4])?.plus(Bytes::new(BEHIND))?;
        Ok(Taken { certain: vec![activations, numbers, numbers], at_most })
    }

    /// Through cuBLAS, in one format.
    fn converted(self, cc: ComputeCapability, rows: u64) -> Result<Taken, Overflow> {
        let activations = Bytes::product(&[rows, self.inputs, 2])?;
        let results = Bytes::product(&[rows, self.outputs, 2])?;
        let matrix = |width: u64| Bytes::product(&[self.inputs, self.outputs, width]);
        let is_half_fast = cc.major >= 6 && cc != SLOW_HALF;
        let certain = match self.ty {
            GgmlType::Bf16 if cc >= AMPERE => vec![activations],
            GgmlType::F16 if cc == VOLTA => vec![activations],
            GgmlType::F16 if is_half_fast => vec![activations, results],
            GgmlType::F16 | GgmlType::Bf16 => vec![matrix(4)?.min(self.piece)],
            _ if !is_half_fast => vec![matrix(4)?],
            _ if cc == VOLTA => vec![matrix(2)?, activations],
            _ => vec![matrix(2)?, activations, results],
        };
        Ok(Taken { certain, at_most: Bytes::ZERO })
    }

    /// Experts one after the other: activations and results of all, sorted, and what the product of one takes, which
    /// tokens may be spread over evenly or not.
    fn one_by_one(self, cc: ComputeCapability, (all, used): (u64, u64)) -> Result<Taken, Overflow> {
        let rows = self.rows.checked_mul(used).ok_or(Overflow)?;
        let is_half = matches!(self.ty, GgmlType::F16 | GgmlType::Bf16);
        let is_wide = !is_half || (self.ty == GgmlType::F16 && cc == SLOW_HALF);
        let sorted = Bytes::product(&[rows, self.inputs, if is_wide { 4 } else { 2 }])?;
        let results = Bytes::product(&[rows, self.outputs, 4])?;
        let numbers = Bytes::product(&[rows, 8])?;
        let of = |rows| -> Result<Bytes, Overflow> {
            let taken = self.converted(cc, rows)?;
            // Sorted activations are in the matrix's format already.
            let own = Bytes::product(&[rows, self.inputs, 2])?;
            let rest = taken.certain.into_iter().filter(|size| !is_half || *size != own);
            Bytes::sum(rest)?.plus(taken.at_most)
        };
        let (even, all_to_one) = (of(rows.div_ceil(all.max(1)))?, of(self.rows)?);
        Ok(Taken {
            certain: vec![numbers, sorted, results, even],
            at_most: all_to_one.minus_or_zero(even),
        })
    }
}
