//! The reference: every operation on the CPU, in f32, matrices in candle's kernels.

mod affine;
mod affine_kernel;
mod attention;
mod blocks;
mod buffer;
mod tiles;

pub use attention::Workspace;
pub use blocks::Matrix;
pub use buffer::Buffer;

use std::ops::Range;
use vramplan_planner::estimate::BufferId;

use rayon::prelude::*;

use super::{
    AttentionSpans, Backend, Begin, CacheShape, Caches, Extent, LayerStep, Part, RowHeads, Tables,
};
use crate::EngineError;
use crate::h2o::to_usize;
use crate::memory::Span;
use vramplan_planner::estimate::Component;
use vramplan_planner::read::gguf::GgufTensor;

/// The CPU, on rayon's and candle's threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

const F32: usize = size_of::<f32>();

impl Backend for Cpu {
    type Buffer = Buffer;
    type Weight = Matrix;
    type Workspace = Workspace;

    fn allocate(&self, bytes: usize) -> Result<Buffer, EngineError> {
        Buffer::zeroed(bytes)
    }

    fn workspace(
        &self,
        shape: CacheShape,
        extent: Extent,
    ) -> Result<(Workspace, Vec<Part>), EngineError> {
        let (workspace, size) = Workspace::new(shape, extent.rows)?;
        let component = Component::RuntimeOverhead;
        Ok((workspace, vec![Part { component, id: BufferId::Process, size }]))
    }

    fn weight(
        &self,
        tensor: &GgufTensor,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<Matrix, EngineError> {
        let mut data = Buffer::zeroed(to_usize(tensor.size.get()))?;
        fill(data.bytes_mut())?;
        Ok(Matrix { ty: tensor.ty, row: to_usize(tensor.row()), data })
    }

    fn clear(&self, buffer: &mut Buffer) -> Result<(), EngineError> {
        buffer.bytes_mut().fill(0);
        Ok(())
    }

    fn write(&self, buffer: &mut Buffer, values: &[f32]) -> Result<(), EngineError> {
        let [to] = buffer.parts([Range { start: 0, end: size_of_val(values) }]);
        to.copy_from_slice(values);
        Ok(())
    }

    fn read(&self, arena: &Buffer, span: Span, into: &mut [f32]) -> Result<(), EngineError> {
        into.copy_from_slice(arena.part(span.range()));
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "positions are below 2²⁴ in every context")]
    fn begin(
        &self,
        step: Begin<'_>,
        divisors: Option<&Matrix>,
        Tables { ids, rotation }: Tables<'_, Buffer>,
        _caches: &mut Caches<Buffer>,
        _workspace: &mut Workspace,
    ) -> Result<(), EngineError> {
        let rows = step.ids.len();
        let [tokens, positions] = ids.parts([0..rows * 4, rows * 4..rows * 8]);
        tokens.copy_from_slice(step.ids);
        let divisors: Option<&[f32]> =
            divisors.map(|divisors| divisors.data.part(0..divisors.row * F32));
        let [table] =
            rotation.parts::<f32, 1>([Range { start: 0, end: rows * step.head_dim * F32 }]);
        for (row, position) in step.positions().enumerate() {
            positions[row] = u32::try_from(position).unwrap_or(u32::MAX);
            let angles = &mut table[row * step.head_dim..][..step.head_dim];
            let (cosines, sines) = angles.split_at_mut(step.head_dim / 2);
            for (index, (cosine, sine)) in cosines.iter_mut().zip(sines).enumerate() {
                let divisor = divisors.map_or(1.0, |divisors| divisors[index]);
                let frequency = step.rope.frequency(index, step.head_dim, divisor);
                let (s, c) = (position as f32 * frequency).sin_cos();
                (*cosine, *sine) = (c * step.rope.magnitude(), s * step.rope.magnitude());
            }
        }
        Ok(())
    }

    fn embed(
        &self,
        arena: &mut Buffer,
        table: &Matrix,
        ids: &Buffer,
        out: Span,
    ) -> Result<(), EngineError> {
        let [out] = arena.parts::<f32, 1>([out.range()]);
        let ids: &[u32] = ids.part(0..out.len() / table.row * 4);
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(table.row)) {
            table.expand_row(to_usize(u64::from(*id)), out)?;
        }
        Ok(())
    }

    fn rms_norm(
        &self,
        arena: &mut Buffer,
        x: Span,
        weight: &Matrix,
        eps: f32,
        out: Span,
    ) -> Result<(), EngineError> {
        let [x, out] = arena.parts::<f32, 2>([x.range(), out.range()]);
        out.copy_from_slice(x);
        norm(out, weight, eps);
        Ok(())
    }

    fn rms_norm_in_place(
        &self,
        arena: &mut Buffer,
        x: Span,
        weight: &Matrix,
        eps: f32,
    ) -> Result<(), EngineError> {
        let [x] = arena.parts::<f32, 1>([x.range()]);
        norm(x, weight, eps);
        Ok(())
    }

    fn linear(
        &self,
        arena: &mut Buffer,
        workspace: &mut Workspace,
        x: Span,
        weight: &Matrix,
        bias: Option<&Matrix>,
        out: Span,
    ) -> Result<(), EngineError> {
        let [x, out] = arena.parts::<f32, 2>([x.range(), out.range()]);
        weight.multiply(x, out, &mut workspace.quantized)?;
        if let Some(bias) = bias {
            let bias: &[f32] = bias.data.part(0..bias.row * F32);
            for row in out.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
        }
        Ok(())
    }

    fn rotate(
        &self,
        arena: &mut Buffer,
        x: Span,
        RowHeads { heads, head_dim }: RowHeads,
        rotation: &Buffer,
    ) -> Result<(), EngineError> {
        let [x] = arena.parts::<f32, 1>([x.range()]);
        let rows = x.len() / (heads * head_dim);
        let angles: &[f32] = rotation.part(0..rows * head_dim * F32);
        for (row, angles) in x.chunks_exact_mut(heads * head_dim).zip(angles.chunks(head_dim)) {
            row.chunks_exact_mut(head_dim).for_each(|head| turn(head, angles));
        }
        Ok(())
    }

    fn attend(
        &self,
        arena: &mut Buffer,
        workspace: &mut Workspace,
        caches: &mut Caches<Buffer>,
        shape: CacheShape,
        at: LayerStep,
        spans: AttentionSpans,
    ) -> Result<(), EngineError> {
        attention::attend(arena, workspace, caches, shape, at, spans)
    }

    fn silu_mul(&self, arena: &mut Buffer, gate: Span, up: Span) -> Result<(), EngineError> {
        let [gate, up] = arena.parts::<f32, 2>([gate.range(), up.range()]);
        gate.par_chunks_mut(PART).zip(up.par_chunks(PART)).for_each(|(gate, up)| {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
        });
        Ok(())
    }

    fn copy(&self, arena: &mut Buffer, from: Span, to: Span) -> Result<(), EngineError> {
        let [from, to] = arena.parts::<f32, 2>([from.range(), to.range()]);
        to.copy_from_slice(from);
        Ok(())
    }

    fn scores(
        &self,
        caches: &Caches<Buffer>,
        shape: CacheShape,
        layer: usize,
        into: &mut [f32],
    ) -> Result<(), EngineError> {
        into.copy_from_slice(attention::scores(caches, shape, layer));
        Ok(())
    }

    fn attention_weights(
        &self,
        arena: &mut Buffer,
        caches: &Caches<Buffer>,
        shape: CacheShape,
        at: LayerStep,
        queries: Span,
        out: Span,
    ) -> Result<(), EngineError> {
        attention::weights(arena, caches, shape, at, (queries, out))
    }

    fn add(&self, arena: &mut Buffer, to: Span, from: Span) -> Result<(), EngineError> {
        let [to, from] = arena.parts::<f32, 2>([to.range(), from.range()]);
        to.iter_mut().zip(&*from).for_each(|(to, from)| *to += from);
        Ok(())
    }
}

/// Elements that a thread takes at once of work that is small for each.
const PART: usize = 1 << 14;

/// Rotates the pairs `(i, i + head_dim / 2)` of a head.
fn turn(head: &mut [f32], angles: &[f32]) {
    let (low, high) = head.split_at_mut(angles.len() / 2);
    let (cosines, sines) = angles.split_at(angles.len() / 2);
    for (((a, b), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
        (*a, *b) = (*a * cosine - *b * sine, *a * sine + *b * cosine);
    }
}

fn norm(x: &mut [f32], weight: &Matrix, eps: f32) {
    let weight: &[f32] = weight.data.part(0..weight.row * F32);
    #[allow(clippy::cast_precision_loss, reason = "a row has far fewer than 2²⁴ elements")]
    let width = weight.len() as f32;
    for row in x.chunks_exact_mut(weight.len()) {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / width;
        let scale = 1.0 / (mean + eps).sqrt();
        row.iter_mut().zip(weight).for_each(|(x, weight)| *x *= scale * weight);
    }
}
