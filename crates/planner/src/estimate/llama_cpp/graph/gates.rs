//! Which products of gate and up projections the CUDA backend computes together, by the types of their weights
//! (`ggml_cuda_mul_mat_q_fusion_matches`, `ggml_cuda_match_shared_expert` in `ggml-cuda.cu`).

use crate::dtype::GgmlType;
use crate::spec::{ModelShape, ModelSpec, Role};

/// Rows of a whole tile.
const TILE: u64 = 128;

/// What is computed together in some layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Gate and up of the dense MLP.
    pub dense: bool,
    /// Those of the routed experts.
    pub routed: bool,
    /// Whether gate and up of the routed experts are one tensor.
    pub routed_in_one: bool,
    /// Those of the shared expert.
    pub shared: bool,
    /// Those of the shared expert with those of the routed ones.
    pub shared_with_routed: bool,
}

/// Types whose products have a kernel that applies the gate.
const fn is_fused(ty: GgmlType) -> bool {
    matches!(ty, GgmlType::Q4K | GgmlType::Q5K | GgmlType::Q6K | GgmlType::Q8_0 | GgmlType::Iq4Xs)
}

impl Gates {
    /// Those of a model whose weights a file holds; none where no file is known.
    pub fn stored(model: &ModelSpec) -> Self {
        let stored = model.stored.iter().flat_map(|stored| &stored.tensors);
        let tensors = stored.filter_map(|tensor| Some((tensor.role?, tensor.layer, tensor.ggml?)));
        Self::of(&model.shape, tensors)
    }

    /// Those of tensors, each with its role, layer and type.
    pub fn of(
        shape: &ModelShape,
        tensors: impl Iterator<Item = (Role, Option<u64>, GgmlType)>,
    ) -> Self {
        let mut layers: Vec<Layer> = Vec::new();
        for (role, layer, ty) in tensors {
            let Some(index) = layer.and_then(|layer| usize::try_from(layer).ok()) else { continue };
            if index >= MOST_LAYERS {
                continue;
            }
            if layers.len() <= index {
                layers.resize_with(index + 1, Layer::default);
            }
            layers[index].note(role, ty);
        }
        let widths = Widths::of(shape);
        layers.iter().fold(Self::default(), |all, layer| all.or(layer.gates(&widths)))
    }

    const fn or(self, other: Self) -> Self {
        Self {
            dense: self.dense || other.dense,
            routed: self.routed || other.routed,
            routed_in_one: self.routed_in_one || other.routed_in_one,
            shared: self.shared || other.shared,
            shared_with_routed: self.shared_with_routed || other.shared_with_routed,
        }
    }
}

/// More layers than any model has.
const MOST_LAYERS: usize = 2_000;

/// Widths of the projections, of which whole tiles are computed.
struct Widths {
    dense: u64,
    routed: u64,
    shared: u64,
}

impl Widths {
    fn of(shape: &ModelShape) -> Self {
        let moe = shape.moe;
        Self {
            dense: shape.widest_ffn(),
            routed: moe.map_or(0, |moe| moe.expert_ffn_size),
            shared: moe.map_or(0, |moe| moe.shared_ffn_size),
        }
    }
}

/// Types of the pairs of a layer.
#[derive(Default)]
struct Layer {
    dense: Pair,
    routed: Pair,
    shared: Pair,
}

#[derive(Default)]
struct Pair {
    gate: Option<GgmlType>,
    up: Option<GgmlType>,
}

impl Pair {
    /// The type that both have.
    fn both(&self) -> Option<GgmlType> {
        self.gate.filter(|gate| self.up == Some(*gate))
    }

    fn is_fused(&self, width: u64) -> bool {
        self.both().is_some_and(is_fused) && width > 0 && width.is_multiple_of(TILE)
    }
}

impl Layer {
    fn note(&mut self, role: Role, ty: GgmlType) {
        let slot = match role {
            Role::FfnGate => &mut self.dense.gate,
            Role::FfnUp => &mut self.dense.up,
            Role::ExpertGate => &mut self.routed.gate,
            Role::ExpertUp => &mut self.routed.up,
            Role::SharedGate => &mut self.shared.gate,
            Role::SharedUp => &mut self.shared.up,
            _ => return,
        };
        *slot = Some(ty);
    }

    fn gates(&self, widths: &Widths) -> Gates {
        let (routed, shared) = (self.routed.both(), self.shared.both());
        Gates {
            dense: self.dense.is_fused(widths.dense),
            routed: self.routed.is_fused(widths.routed),
            routed_in_one: self.routed.gate.is_none() && self.routed.up.is_some(),
            shared: self.shared.is_fused(widths.shared),
            shared_with_routed: routed.is_some_and(GgmlType::is_quantized)
                && routed == shared
                && widths.routed == widths.shared,
        }
    }
}
