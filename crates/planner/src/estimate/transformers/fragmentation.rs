//! What `PyTorch`'s caching allocator cannot use: what a card has to have beyond what is alive at the peak.
//!
//! It is the run's own sequence of requests played through the allocator's rules on ever smaller cards
//! ([`super::allocator`]). Where a card has more, the allocator keeps segments of every earlier length of a grown
//! cache, which can be several times the cache, and returns them once `cudaMalloc` fails.
//!
//! Bounds hold what differs from start to start: threads read tensors as they come, so that a layer's experts may lie
//! between others, where they leave no hole that is large enough for the next layer's.

use super::allocator::{Needed, about_needed};
use crate::estimate::fragmentation::{kind, push_rounding};
use crate::estimate::{
    Buffer, BufferId, Buffers, Deviation, EstimateError, Formula, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, Bounds};
use crate::units::{Bytes, Overflow};

/// Lists it, on a GPU.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    push_rounding(buffers, scenario);
    let needed = about_needed(scenario)?;
    let card = bounds(scenario, needed)?;
    let beside = beside(&buffers.0, needed)?;
    let beyond = |size: Bytes| size.minus_or_zero(beside);
    let size = Bounds::new(beyond(card.low), beyond(card.expected), beyond(card.high));
    let formula = Formula::text(
        "smallest card that grants the run's requests in their order − what is counted of them",
        &[("smallest card", needed.card), ("counted", beside.get())],
    );
    let source = "PyTorch CUDACachingAllocator.cpp, played with the run's own requests";
    buffers.push(kind(Basis::Modelled, source), "segments' remainders", size, formula);
    Ok(())
}

/// A constant part of what starts differ by: a segment of 20 MiB less, or about one more.
const LESS: Bytes = Bytes::new(20 << 20);
const MORE: Bytes = Bytes::new(16 << 20);

/// The smallest card, and what it may be on another start.
fn bounds(scenario: &Scenario<'_>, needed: Needed) -> Result<Bounds, Overflow> {
    let card = Bytes::new(needed.card);
    let around = Deviation::SMALLEST_CARD.around(card)?;
    let low = around.low.minus_or_zero(LESS).max(Bytes::new(needed.allocated)).min(card);
    let loading = Bytes::new(needed.loading).plus(read_ahead(scenario)?)?;
    // Half of another matrix in 16 bits, which leaves its hole between others.
    let moved = scenario.weights.largest_moved.scale(1, 2)?;
    let high = around.high.max(loading).plus(moved)?.plus(MORE)?;
    Ok(Bounds::new(low, card, high))
}

/// Experts of a layer, whose holes the next layer's may not fit.
fn read_ahead(scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    let experts = || scenario.weights.pieces.iter().filter(|piece| piece.joined > 0);
    let layer = experts().map(|piece| piece.layer).max().flatten();
    Bytes::sum(experts().filter(|piece| piece.layer == layer).map(|piece| piece.held[0]))
}

/// What the plan counts of the smallest card elsewhere: what is asked for, the workspace, the rounding of weights,
/// and what loading is said to keep beyond what later phases need.
fn beside(buffers: &[Buffer], needed: Needed) -> Result<Bytes, Overflow> {
    const LISTED: [BufferId; 2] = [BufferId::BlasWorkspace, BufferId::WeightRounding];
    let listed = buffers.iter().filter(|buffer| LISTED.contains(&buffer.id));
    let listed = listed.map(|buffer| buffer.size.expected);
    let largest = |is_load: bool| -> Result<Bytes, Overflow> {
        let mut moments = [[Bytes::ZERO; Moment::ALL.len()]; Phase::ALL.len()];
        for buffer in buffers {
            let Life::During(phase, moment) = buffer.life else { continue };
            if (phase == Phase::Load) != is_load || phase == Phase::Capture {
                continue;
            }
            let of_phase = &mut moments[phase as usize];
            let range = if moment == Moment::Whole {
                0..of_phase.len()
            } else {
                moment as usize..moment as usize + 1
            };
            for sum in &mut of_phase[range] {
                *sum = sum.plus(buffer.size.expected)?;
            }
        }
        Ok(moments.into_iter().flatten().max().unwrap_or(Bytes::ZERO))
    };
    let loading = largest(true)?.minus_or_zero(largest(false)?);
    Bytes::sum(listed.chain([Bytes::new(needed.kept), loading]))
}
