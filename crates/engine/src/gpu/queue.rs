//! What the backend asks of its device. Spans come from buffers that the backend borrows while it
//! queues; a device runs what was queued before it releases memory.

#![allow(
    unsafe_code,
    reason = "launches take addresses; they are of borrowed buffers, checked for length"
)]

use super::{Device, OnDevice, Product};
use crate::EngineError;
use crate::launch::{Launch, LaunchError, Span};
use crate::memory::Span as Part;

impl<D: Device> OnDevice<D> {
    /// The memory of a buffer.
    pub(super) fn whole(&self, buffer: &D::Buffer) -> Span {
        self.device.span(buffer)
    }

    /// A part of the arena.
    pub(super) fn part(&self, arena: &D::Buffer, part: Part) -> Result<Span, LaunchError> {
        self.whole(arena).part(part.range().start, part.len())
    }

    pub(super) fn run(&self, launch: &Launch) -> Result<(), EngineError> {
        // SAFETY: `crate::launch` has checked the lengths of the launch's spans, and the backend made
        // them of buffers that it borrows.
        unsafe { self.device.launch(launch) }
    }

    pub(super) fn multiply(&self, product: &Product) -> Result<(), EngineError> {
        // SAFETY: as for `run`; the lengths are checked in `OnDevice::product`.
        unsafe { self.device.multiply(product) }
    }

    pub(super) fn replay(&self, graph: &D::Graph) -> Result<(), EngineError> {
        // SAFETY: what was recorded is of the engine's own buffers and weights, which live as long as the
        // workspace that keeps the recording.
        unsafe { self.device.replay(graph) }
    }

    /// Copies `bytes` to the start of a span.
    pub(super) fn put(&self, to: Span, bytes: &[u8]) -> Result<(), EngineError> {
        let to = to.part(0, bytes.len())?;
        // SAFETY: the span is part of a borrowed buffer, and as long as `bytes`.
        unsafe { self.device.upload(to, bytes) }
    }

    /// Copies the start of a span to the host.
    pub(super) fn get(&self, from: Span, into: &mut [u8]) -> Result<(), EngineError> {
        let from = from.part(0, into.len())?;
        // SAFETY: as for `put`.
        unsafe { self.device.download(from, into) }
    }

    /// Writes `byte` to every byte of a span.
    pub(super) fn set(&self, span: Span, byte: u8) -> Result<(), EngineError> {
        // SAFETY: the span is part of a borrowed buffer.
        unsafe { self.device.fill(span, byte) }
    }

    /// Copies a span to one of its length that it does not overlap.
    pub(super) fn duplicate(&self, from: Span, to: Span) -> Result<(), EngineError> {
        let apart =
            from.address + from.bytes <= to.address || to.address + to.bytes <= from.address;
        if from.bytes != to.bytes || !apart {
            let what = format!("{} B to {} B that may overlap", from.bytes, to.bytes);
            return Err(EngineError::device("copying on the device", what));
        }
        // SAFETY: parts of a borrowed buffer, checked just now.
        unsafe { self.device.copy(from, to) }
    }
}
