//! The sizes of what a layer asks for.

use crate::dtype::WeightFormat;
use crate::estimate::Scenario;
use crate::estimate::transformers::forward_pass::method;
use crate::estimate::transformers::gemm_4bit::Card;
use crate::spec::{
    Attention, BitsandbytesVersion, Mla, ModelShape, Moe, RmsNorm, TransformersVersion,
};

/// The first compute capability whose cuBLAS workspace is larger.
const HOPPER: u32 = 9;
/// That of Blackwell cards for consumers.
const CONSUMER_BLACKWELL: u32 = 12;
/// cuBLASLt's workspace (`_getWorkspaceSize` in `CUDABlas.cpp`), before Hopper and from it on.
const LT_WORKSPACE: [u64; 2] = [1 << 20, 32 << 20];

/// The same beside a version of transformers: under `PyTorch` 2.11 it is as small on Hopper, under 2.8 that of cuBLAS
/// serves both.
fn lt_workspace(version: TransformersVersion, is_hopper: bool) -> u64 {
    match version {
        TransformersVersion::AllLogits | TransformersVersion::RepeatedHeads => 0,
        TransformersVersion::ExpertModules => LT_WORKSPACE[0],
        TransformersVersion::Current => LT_WORKSPACE[usize::from(is_hopper)],
    }
}

/// What does not change from pass to pass.
#[derive(Clone, Copy, Debug)]
pub struct Widths<'s> {
    /// The model.
    pub shape: &'s ModelShape,
    /// Bytes of an activation.
    pub element: u64,
    /// How the family's norms are computed.
    pub norm: RmsNorm,
    /// How attention is computed.
    pub attention: Attention,
    /// cuBLAS's workspace of a product.
    pub workspace: u64,
    /// cuBLASLt's, which computes products with a bias.
    pub lt_workspace: u64,
    /// The format of weights.
    pub format: WeightFormat,
    /// The version of bitsandbytes.
    pub bitsandbytes: BitsandbytesVersion,
    /// The version of transformers.
    pub transformers: TransformersVersion,
    /// What bitsandbytes asks of the card.
    pub card: Card,
    /// Whether experts are packed, and multiplied as they are.
    pub packed_experts: bool,
}

impl<'s> Widths<'s> {
    /// Those of a scenario.
    pub fn of(scenario: &Scenario<'s>) -> Self {
        let stack = scenario.runtime.options.stack();
        let major = scenario.gpu.compute_capability.major;
        // `PyTorch` 2.8 and 2.11 take as little on the consumers' Blackwell as before Hopper.
        let is_small = stack.transformers.keeps_workspaces() && major >= CONSUMER_BLACKWELL;
        let is_hopper = major >= HOPPER && !is_small;
        let spec = scenario.runtime;
        let workspace = if is_hopper { &spec.blas_workspace_hopper } else { &spec.blas_workspace };
        let shape = &scenario.model.shape;
        Self {
            shape,
            element: 2,
            norm: shape.architecture.family().transformers.norm,
            attention: method(scenario),
            workspace: workspace.value.get(),
            lt_workspace: lt_workspace(stack.transformers, is_hopper),
            format: scenario.weights.format,
            bitsandbytes: stack.bitsandbytes,
            transformers: stack.transformers,
            card: Card::of(scenario.gpu),
            packed_experts: scenario.weights.packed_experts,
        }
    }

    /// Bytes of `rows` rows so wide.
    pub const fn rows(&self, rows: u64, width: u64) -> u64 {
        rows * width * self.element
    }

    /// The experts of a layer, where it has some.
    pub fn experts(&self, layer: u64) -> Option<Moe> {
        self.shape.moe.filter(|_| self.shape.is_moe(layer))
    }

    /// Latent attention.
    pub const fn mla(&self) -> Option<Mla> {
        self.shape.mla
    }
}
