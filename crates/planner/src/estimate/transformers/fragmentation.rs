//! What `PyTorch`'s caching allocator cannot use: what a card has to have beyond what is alive at the peak.
//!
//! It is the run's own sequence of requests played through the allocator's rules on ever smaller cards
//! ([`super::allocator`]). Where a card has more, the allocator keeps segments of every earlier length of a grown
//! cache, which can be several times the cache, and returns them once `cudaMalloc` fails.
//!
//! Bounds hold what differs from start to start: threads read tensors as they come, so that a layer's experts may lie
//! between others, where they leave no hole that is large enough for the next layer's.

use super::allocator::{Needed, about_needed, high};
use crate::dtype::WeightFormat;
use crate::estimate::fragmentation::{kind, push_rounding};
use crate::estimate::weights::torch;
use crate::estimate::{
    Buffer, BufferId, Buffers, Deviation, EstimateError, Formula, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, Bounds, TransformersVersion};
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
    let size = beyond(card, beside);
    let beside = beside.expected;
    let formula = Formula::text(
        "smallest card that grants the run's requests in their order − what is counted of them",
        &[("smallest card", needed.card), ("counted", beside.get())],
    );
    let source = "PyTorch CUDACachingAllocator.cpp, played with the run's own requests";
    buffers.push(kind(Basis::Modelled, source), "segments' remainders", size, formula);
    Ok(())
}

/// What the card has beyond what is counted elsewhere. The card's bounds are those of the sum: how far parts may lie
/// from what is expected of them is in there already.
fn beyond(card: Bounds, beside: Bounds) -> Bounds {
    let expected = card.expected.minus_or_zero(beside.expected);
    let low = card.low.minus_or_zero(beside.low).min(expected);
    Bounds::new(low, expected, card.high.minus_or_zero(beside.high).max(expected))
}

/// A constant part of what starts differ by: about a segment of 20 MiB less.
const LESS: Bytes = Bytes::new(16 << 20);

/// The smallest card, and what it may be on another start, or with a few tokens more or less.
fn bounds(scenario: &Scenario<'_>, needed: Needed) -> Result<Bounds, Overflow> {
    let card = Bytes::new(needed.card);
    let low = Deviation::SMALLEST_CARD.around(card)?.low.minus_or_zero(LESS);
    let low = low.max(Bytes::new(needed.allocated)).min(card);
    // Before 5 the first block is half of what is quantized, whether or not as much is loaded.
    let is_current = scenario.runtime.options.stack().transformers == TransformersVersion::Current;
    let loading = Bytes::new(needed.loading).plus(read_ahead(scenario)?)?;
    let loading = if is_current { loading } else { Bytes::ZERO };
    let high = high(card)?.max(Bytes::new(needed.nearby)).max(loading).plus(opened(scenario)?)?;
    Ok(Bounds::new(low, card, high))
}

/// Half of a matrix that is opened to 16 bits beside a cache that grows: the hole that it leaves is another in each pass.
fn opened(scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    let is_opened =
        matches!(scenario.weights.format, WeightFormat::Nf4 { .. } | WeightFormat::Fp4 { .. });
    if !is_opened || !scenario.workload.grown_cache {
        return Ok(Bytes::ZERO);
    }
    scenario.weights.largest_moved.scale(1, 2)
}

/// Experts of a layer, whose holes the next layer's may not fit. What is quantized as it is loaded is read in one order.
fn read_ahead(scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    if torch::is_bitsandbytes(scenario.weights.format) {
        return Ok(Bytes::ZERO);
    }
    let experts = || scenario.weights.pieces.iter().filter(|piece| piece.joined > 0);
    let layer = experts().map(|piece| piece.layer).max().flatten();
    Bytes::sum(experts().filter(|piece| piece.layer == layer).map(|piece| piece.held[0]))
}

/// What the plan counts of the smallest card elsewhere: what is asked for, the workspace, the rounding of weights,
/// and what loading is said to keep beyond what later phases need. No more than the phases of the played run list: where
/// formulas are less than what is played, the card is what is played. A captured pass is none of them: it comes
/// behind the run, and holds beside it what it lists.
fn beside(buffers: &[Buffer], needed: Needed) -> Result<Bounds, Overflow> {
    const LISTED: [BufferId; 2] = [BufferId::BlasWorkspace, BufferId::WeightRounding];
    let listed = buffers.iter().filter(|buffer| LISTED.contains(&buffer.id));
    let listed = listed.map(|buffer| buffer.size.expected);
    let (mut of_load, mut of_others, mut most) = (Bytes::ZERO, Bytes::ZERO, Bounds::ZERO);
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Capture) {
        let moment = largest_moment(buffers, phase)?;
        match phase {
            Phase::Load => of_load = moment.expected,
            _ => of_others = moment.expected.max(of_others),
        }
        most = most.max(staying(buffers, phase)?.plus(moment)?);
    }
    let loading = of_load.minus_or_zero(of_others);
    let played = Bytes::sum(listed.chain([Bytes::new(needed.kept), loading]))?;
    let expected = played.min(most.expected);
    let less = most.expected.minus_or_zero(most.low);
    let more = most.high.minus_or_zero(most.expected);
    Ok(Bounds::new(expected.minus_or_zero(less), expected, expected.plus(more)?))
}

/// The most that a phase holds in one of its moments.
fn largest_moment(buffers: &[Buffer], of: Phase) -> Result<Bounds, Overflow> {
    let mut moments = [Bounds::ZERO; Moment::ALL.len()];
    for buffer in buffers {
        let Life::During(phase, moment) = buffer.life else { continue };
        if phase != of {
            continue;
        }
        let range = if moment == Moment::Whole {
            0..moments.len()
        } else {
            moment as usize..moment as usize + 1
        };
        for sum in &mut moments[range] {
            *sum = sum.plus(buffer.size)?;
        }
    }
    Ok(moments.into_iter().fold(Bounds::ZERO, Bounds::max))
}

/// What the allocator has given out for good once a phase is there.
fn staying(buffers: &[Buffer], phase: Phase) -> Result<Bounds, Overflow> {
    const OUTSIDE: [BufferId; 2] = [BufferId::CudaContext, BufferId::Libraries];
    let stays = |buffer: &&Buffer| {
        matches!(buffer.life, Life::From(begins) if begins <= phase)
            && !OUTSIDE.contains(&buffer.id)
    };
    buffers.iter().filter(stays).try_fold(Bounds::ZERO, |sum, buffer| sum.plus(buffer.size))
}
