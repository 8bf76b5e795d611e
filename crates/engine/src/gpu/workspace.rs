//! What the kernels hold beside the plan's table.

use super::{Device, OnDevice, Product};
use crate::EngineError;
use crate::backend::{CacheShape, Extent, Part};
use crate::h2o::to_usize;
use crate::launch::{Variant, check_heads, splits};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::Component;
use vramplan_planner::estimate::vramplan::attention::MAX_SPLITS;
use vramplan_planner::units::Bytes;
use vramplan_planner::units::to_u64;

const F32: usize = 4;
const U64: usize = 8;

/// Scratch of matrix products, frequencies of the rotation, and the next victims of every layer.
#[derive(Debug)]
pub struct Workspace<B, G> {
    /// Activations in 8 bits, `[rows, widest]`.
    pub(super) quantized: B,
    /// Partial tiles of products of many rows.
    pub(super) partial: B,
    /// f32 `[head_dim / 2]`, written by the first step.
    pub(super) frequencies: B,
    pub(super) has_frequencies: bool,
    /// u64 `[layers, kv_heads]`, those of the next token.
    pub(super) victims: B,
    /// For each layer, before which token of the conversation its victims are known.
    pub(super) known: Vec<Option<usize>>,
    pub(super) variant: Variant,
    /// Parts of a decode step's attention.
    pub(super) splits: usize,
    /// A decode step: the launches of all are the same.
    pub(super) recording: Recording<G>,
}

/// How far the recording of a decode step is.
#[derive(Debug)]
pub(super) enum Recording<G> {
    /// No step has been recorded.
    None,
    /// A step is being recorded, unless it failed.
    Begun,
    /// A step that can be replayed.
    Done(G),
}

impl<B, G> Workspace<B, G> {
    /// Whether the victims of every layer are known before token `before`.
    fn is_ready(&self, before: usize) -> bool {
        self.known.iter().all(|known| *known == Some(before))
    }
}

/// The workspace of a device.
type Of<D> = Workspace<<D as Device>::Buffer, <D as Device>::Graph>;

impl<D: Device> OnDevice<D> {
    pub(super) fn make_workspace(
        &self,
        shape: CacheShape,
        extent: Extent,
    ) -> Result<(Of<D>, Vec<Part>), EngineError> {
        let (heads, gpu) = (shape.heads, self.device.gpu());
        check_heads(heads)?;
        let variant = Variant::for_gpu(gpu);
        let mut parts = Vec::new();
        let mut allocate = |component, id, bytes: usize| {
            let size = Bytes::new(to_u64(bytes));
            parts.push(Part { component, id, size });
            self.device.allocate(bytes)
        };
        let (activations, small) = (Component::Activations, Component::SmallBuffers);
        let quantized = Product::quantized_bytes(extent.rows, extent.widest);
        let partial = Product::partial_bytes(extent.rows, gpu);
        let (frequencies, victims) =
            (heads.head_dim() / 2 * F32, extent.layers * heads.kv_heads() * U64);
        let workspace = Workspace {
            quantized: allocate(activations, BufferId::EightBitActivations, quantized)?,
            partial: allocate(activations, BufferId::PartialProducts, partial)?,
            frequencies: allocate(small, BufferId::RotationFrequencies, frequencies)?,
            has_frequencies: false,
            victims: allocate(small, BufferId::NextVictims, victims)?,
            known: vec![None; extent.layers],
            variant,
            splits: splits(gpu, variant, heads, to_usize(MAX_SPLITS)),
            recording: Recording::None,
        };
        Ok((workspace, parts))
    }

    /// Replays a decode step, or begins to record one: the second in a row, whose kernels are loaded.
    pub(super) fn recall_step(
        &self,
        workspace: &mut Of<D>,
        before: usize,
    ) -> Result<bool, EngineError> {
        if matches!(workspace.recording, Recording::Begun) {
            // The step has failed, and said why.
            workspace.recording = Recording::None;
            let _ = self.device.recorded();
        }
        if !workspace.is_ready(before) {
            return Ok(false);
        }
        if let Recording::Done(graph) = &workspace.recording {
            self.replay(graph)?;
            workspace.known.fill(Some(before + 1));
            return Ok(true);
        }
        self.device.record()?;
        workspace.recording = Recording::Begun;
        Ok(false)
    }

    pub(super) fn remember_step(&self, workspace: &mut Of<D>) -> Result<(), EngineError> {
        if !matches!(workspace.recording, Recording::Begun) {
            return Ok(());
        }
        workspace.recording = Recording::None;
        let graph = self.device.recorded()?;
        self.replay(&graph)?;
        workspace.recording = Recording::Done(graph);
        Ok(())
    }
}
