//! The operations of a step as launches.

use super::{Device, OnDevice, Product, Weight, Workspace};
use crate::EngineError;
use crate::backend::{
    AttentionSpans, Backend, Begin, CacheShape, Caches, Extent, LayerStep, Part, RowHeads, Tables,
    Target,
};
use crate::h2o::to_usize;
use crate::launch::{
    HeadRows, ProductShape, Rows, TableShape, add, add_bias, angles, clock_words, embed, linear,
    rms_norm, rope, silu_mul,
};
use crate::memory::Span;
use crate::weights::MATRIX_TYPES;
use vramplan_planner::dtype::GgmlType;
use vramplan_planner::read::gguf::GgufTensor;

const F32: usize = 4;

impl<D: Device> Backend for OnDevice<D> {
    type Buffer = D::Buffer;
    type Weight = Weight<D::Buffer>;
    type Workspace = Workspace<D::Buffer, D::Graph>;

    fn allocate(&self, bytes: usize) -> Result<D::Buffer, EngineError> {
        self.device.allocate(bytes)
    }

    fn workspace(
        &self,
        shape: CacheShape,
        extent: Extent,
    ) -> Result<(Self::Workspace, Vec<Part>), EngineError> {
        self.make_workspace(shape, extent)
    }

    fn weight(
        &self,
        tensor: &GgufTensor,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<Self::Weight, EngineError> {
        let (ty, bytes) = (tensor.ty, to_usize(tensor.size.get()));
        if !MATRIX_TYPES.contains(&ty) {
            let types = MATRIX_TYPES.map(GgmlType::name).join(", ");
            return Err(EngineError::tensor(&tensor.name, format!("of type {ty}"), types));
        }
        let width = to_usize(tensor.row());
        let rows = to_usize(tensor.elements()) / width.max(1);
        let padding = if is_quantized(ty) { Product::padding(ty, rows, width) } else { 0 };
        let mut host = vec![0; bytes];
        fill(&mut host)?;
        let data = self.device.allocate(bytes + padding)?;
        self.put(self.whole(&data), &host)?;
        Ok(Weight { ty, width, rows, bytes, data })
    }

    fn clear(&self, buffer: &mut D::Buffer) -> Result<(), EngineError> {
        self.set(self.whole(buffer), 0)
    }

    fn write(&self, buffer: &mut D::Buffer, values: &[f32]) -> Result<(), EngineError> {
        self.put(self.whole(buffer), bytemuck::cast_slice(values))
    }

    fn read(&self, arena: &D::Buffer, span: Span, into: &mut [f32]) -> Result<(), EngineError> {
        self.get(self.part(arena, span)?, bytemuck::cast_slice_mut(into))
    }

    fn begin(
        &self,
        step: Begin<'_>,
        divisors: Option<&Self::Weight>,
        Tables { ids, rotation }: Tables<'_, D::Buffer>,
        caches: &mut Caches<D::Buffer>,
        workspace: &mut Self::Workspace,
    ) -> Result<(), EngineError> {
        let (pinned, written) = match step.target {
            Target::Pinned { before } => (before, 0),
            Target::Conversation { pinned, before } => (pinned, before),
        };
        let clock = self.clock(caches)?;
        self.put(clock, bytemuck::cast_slice(&clock_words(pinned, written)?))?;
        let positions =
            step.positions().map(|position| u32::try_from(position).unwrap_or(u32::MAX));
        let numbers: Vec<u32> = step.ids.iter().copied().chain(positions).collect();
        self.put(self.whole(ids), bytemuck::cast_slice(&numbers))?;
        let frequencies = self.whole(&workspace.frequencies);
        if !workspace.has_frequencies {
            let values = self.frequencies(&step, divisors)?;
            self.put(frequencies, bytemuck::cast_slice(&values))?;
            workspace.has_frequencies = true;
        }
        let shape = Rows { rows: step.ids.len(), width: step.head_dim };
        let rotation = self.whole(rotation);
        self.run(&angles(clock, frequencies, step.rope.magnitude(), rotation, shape)?)
    }

    fn embed(
        &self,
        arena: &mut D::Buffer,
        table: &Self::Weight,
        ids: &D::Buffer,
        out: Span,
    ) -> Result<(), EngineError> {
        let (width, rows) = (table.width, out.len() / F32 / table.width);
        let shape = TableShape { rows, width, vocab: table.rows };
        let (data, out) = (self.data(table)?, self.part(arena, out)?);
        self.run(&embed(table.ty, data, self.whole(ids), out, shape)?)
    }

    fn rms_norm(
        &self,
        arena: &mut D::Buffer,
        x: Span,
        weight: &Self::Weight,
        eps: f32,
        out: Span,
    ) -> Result<(), EngineError> {
        let shape = Rows { rows: x.len() / F32 / weight.width, width: weight.width };
        let (x, out) = (self.part(arena, x)?, self.part(arena, out)?);
        self.run(&rms_norm(x, self.data(weight)?, out, shape, eps)?)
    }

    fn rms_norm_in_place(
        &self,
        arena: &mut D::Buffer,
        x: Span,
        weight: &Self::Weight,
        eps: f32,
    ) -> Result<(), EngineError> {
        self.rms_norm(arena, x, weight, eps, x)
    }

    fn linear(
        &self,
        arena: &mut D::Buffer,
        workspace: &mut Self::Workspace,
        x: Span,
        weight: &Self::Weight,
        bias: Option<&Self::Weight>,
        out: Span,
    ) -> Result<(), EngineError> {
        let rows = x.len() / F32 / weight.width;
        let (x, out) = (self.part(arena, x)?, self.part(arena, out)?);
        let data = self.data(weight)?;
        let shape = ProductShape { rows, width: weight.width, columns: weight.rows };
        if is_quantized(weight.ty) {
            self.multiply(&self.product(weight, workspace, (x, out), rows)?)?;
        } else {
            self.run(&linear(weight.ty, data, x, out, shape)?)?;
        }
        let Some(bias) = bias else { return Ok(()) };
        self.run(&add_bias(out, self.data(bias)?, Rows { rows, width: weight.rows })?)
    }

    fn rotate(
        &self,
        arena: &mut D::Buffer,
        x: Span,
        RowHeads { heads, head_dim }: RowHeads,
        rotation: &D::Buffer,
    ) -> Result<(), EngineError> {
        let rows = x.len() / F32 / (heads * head_dim);
        let x = self.part(arena, x)?;
        self.run(&rope(x, self.whole(rotation), HeadRows { rows, heads, head_dim })?)
    }

    fn attend(
        &self,
        arena: &mut D::Buffer,
        workspace: &mut Self::Workspace,
        caches: &mut Caches<D::Buffer>,
        shape: CacheShape,
        at: LayerStep,
        spans: AttentionSpans,
    ) -> Result<(), EngineError> {
        self.attend_layer(arena, workspace, caches, shape, at, spans)
    }

    fn silu_mul(&self, arena: &mut D::Buffer, gate: Span, up: Span) -> Result<(), EngineError> {
        let count = gate.len() / F32;
        self.run(&silu_mul(self.part(arena, gate)?, self.part(arena, up)?, count)?)
    }

    fn add(&self, arena: &mut D::Buffer, to: Span, from: Span) -> Result<(), EngineError> {
        let count = to.len() / F32;
        self.run(&add(self.part(arena, to)?, self.part(arena, from)?, count)?)
    }

    fn recall(&self, workspace: &mut Self::Workspace, target: Target) -> Result<bool, EngineError> {
        match target {
            Target::Pinned { .. } => Ok(false),
            Target::Conversation { before, .. } => self.recall_step(workspace, before),
        }
    }

    fn remember(&self, workspace: &mut Self::Workspace) -> Result<(), EngineError> {
        self.remember_step(workspace)
    }

    fn copy(&self, arena: &mut D::Buffer, from: Span, to: Span) -> Result<(), EngineError> {
        self.duplicate(self.part(arena, from)?, self.part(arena, to)?)
    }

    fn scores(
        &self,
        caches: &Caches<D::Buffer>,
        shape: CacheShape,
        layer: usize,
        into: &mut [f32],
    ) -> Result<(), EngineError> {
        let scores = self.cache_spans(caches).scores(shape, layer)?;
        self.get(scores, bytemuck::cast_slice_mut(into))
    }

    fn attention_weights(
        &self,
        arena: &mut D::Buffer,
        caches: &Caches<D::Buffer>,
        shape: CacheShape,
        at: LayerStep,
        queries: Span,
        out: Span,
    ) -> Result<(), EngineError> {
        let spans = (self.part(arena, queries)?, self.part(arena, out)?);
        self.look(caches, shape, at, spans)
    }
}

impl<D: Device> OnDevice<D> {
    /// A tensor without its padding.
    fn data(&self, weight: &Weight<D::Buffer>) -> Result<crate::launch::Span, EngineError> {
        Ok(self.whole(&weight.data).part(0, weight.bytes)?)
    }

    /// The angle of each pair of a head per position.
    fn frequencies(
        &self,
        step: &Begin<'_>,
        divisors: Option<&Weight<D::Buffer>>,
    ) -> Result<Vec<f32>, EngineError> {
        let mut of = vec![1.0; step.head_dim / 2];
        if let Some(divisors) = divisors {
            self.get(self.data(divisors)?, bytemuck::cast_slice_mut(&mut of))?;
        }
        let frequency = |(index, divisor)| step.rope.frequency(index, step.head_dim, divisor);
        Ok(of.into_iter().enumerate().map(frequency).collect())
    }

    fn product(
        &self,
        weight: &Weight<D::Buffer>,
        workspace: &Workspace<D::Buffer, D::Graph>,
        (x, out): (crate::launch::Span, crate::launch::Span),
        rows: usize,
    ) -> Result<Product, EngineError> {
        let (width, columns) = (weight.width, weight.rows);
        let partial = Product::partial_bytes(rows, self.device.gpu());
        let quantized = Product::quantized_bytes(rows, width);
        Ok(Product {
            ty: weight.ty,
            weight: self.whole(&weight.data),
            x: x.part(0, rows * width * F32)?,
            out: out.part(0, rows * columns * F32)?,
            rows,
            width,
            columns,
            quantized: self.whole(&workspace.quantized).part(0, quantized)?,
            partial: self.whole(&workspace.partial).part(0, partial)?,
        })
    }
}

fn is_quantized(ty: GgmlType) -> bool {
    ty.layout().elements > 1
}
