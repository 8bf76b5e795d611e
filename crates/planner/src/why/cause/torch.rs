//! `PyTorch`'s out of memory: fragmentation, other processes, the request itself, or the run.

use super::{Cause, CauseKind, place};
use crate::units::Bytes;
use crate::why::Printed;
use crate::why::evidence::{Engine, Evidence, Failure, TermKind, TorchError};

/// What a context and libraries take at most beside `PyTorch`'s allocator, where only that is told: 0.75 GiB.
const CONTEXT: Bytes = Bytes::new(768 << 20);

/// What others must hold to be told of where no process is named: 1 GiB, and a tenth of the card. Below that it may be
/// what the driver keeps.
const UNNAMED: Bytes = Bytes::new(1 << 30);

/// What others hold of the card that `PyTorch` names.
fn others(evidence: &Evidence, error: &TorchError) -> Option<Bytes> {
    let named = Bytes::sum(evidence.holders.iter().map(|holder| holder.size)).ok()?;
    if !named.is_zero() {
        return Some(named);
    }
    let (total, free) = (error.total?, error.free?);
    let least = UNNAMED.max(Bytes::new(total.bytes.get() / 10));
    let own = match (error.process, error.held()) {
        // Under WSL and on virtual cards the driver counts nothing, or not all.
        (Some(process), held) => process.bytes.max(held.unwrap_or(Bytes::ZERO)),
        // Until 2.0 the context is not told of.
        (None, Some(held)) => held.plus(CONTEXT).ok()?,
        (None, None) => return None,
    };
    let others = total.bytes.minus_or_zero(free.bytes).minus_or_zero(own);
    (others >= least).then_some(others)
}

/// Of a card whose tensors hold more than so many times what is kept unused, pieces are not what is short.
const PIECES: u64 = 10;

pub(super) fn torch(evidence: &Evidence, failure: &Failure, error: &TorchError) -> Cause {
    if error.metal {
        return metal(failure, error);
    }
    let size = |size: Option<Printed>| size.map(|size| size.bytes);
    let (asked, total, free) = (size(error.asked), size(error.total), size(error.free));
    let what = asked.map(|asked| format!(": {asked} were asked for")).unwrap_or_default();
    let of = match (free, total) {
        (Some(free), Some(total)) => format!(", {free} of {total} were free"),
        _ => String::new(),
    };
    let place = failure.place.map(place).unwrap_or_default();
    let pools = makes_pool(evidence, failure);
    let when = if pools { " while vLLM made its cache" } else { "" };
    let sentence = format!("PyTorch ran out of memory{when}{place}{what}{of}");
    let mut cause = Cause::new(CauseKind::CardFull, sentence, failure);
    cause.term = pools.then_some(TermKind::Cache);
    let short = asked.zip(free).map(|(asked, free)| asked.minus_or_zero(free));
    cause.short_by = short.filter(|short| !short.is_zero());
    let Some(asked) = asked else { return cause };
    let kept = size(error.unallocated).unwrap_or(Bytes::ZERO);
    let others = others(evidence, error).unwrap_or(Bytes::ZERO);
    let allocated = size(error.allocated).unwrap_or(Bytes::ZERO);
    let total = total.unwrap_or(Bytes::ZERO);
    if !total.is_zero() && asked > Bytes::new(total.get() / 2) && asked > allocated {
        cause.kind = CauseKind::Request;
        let than =
            if asked > total { "larger than the card" } else { "more than half of the card" };
        return cause.because(format!(
            "the request alone is {than}: a tensor that grows with the square of the context, or a whole model at once"
        ));
    }
    if kept >= asked && Bytes::new(kept.get().saturating_mul(PIECES)) >= allocated {
        cause.kind = CauseKind::Fragmentation;
        let cause = cause.because(format!(
            "PyTorch keeps {kept} that it does not use, more than was asked for, but in pieces: fragmentation"
        ));
        return match beside(error, short) {
            Some(outside) => cause.because(format!(
                "{outside} of the card are neither free nor this PyTorch's, more than was short: other processes hold them, and contexts"
            )),
            None => cause,
        };
    }
    if free.is_some_and(|free| free >= asked && free.get() >= total.get() / 20) {
        cause.kind = CauseKind::Allocation;
        let limit = size(error.allowed).filter(|allowed| *allowed < total).map(|allowed| {
            format!("the process may take {allowed}, which is less than the card has")
        });
        return cause.because(limit.unwrap_or_else(|| {
            "more was free than was asked for: something else took it meanwhile, or the driver could not give it".to_owned()
        }));
    }
    let is_cut = error.allocated.is_none() && error.reserved.is_none() && error.process.is_none();
    if is_cut && !others.is_zero() {
        cause.kind = CauseKind::CardFull;
        return cause.because(format!(
            "processes hold {others} of the card, this one perhaps among them: the message is cut before it says what PyTorch holds"
        ));
    }
    if short.is_some_and(|short| others >= short) && !others.is_zero() {
        cause.kind = CauseKind::OtherProcesses;
        return cause.because(format!(
            "other processes hold {others} of the card: without them it would have been enough"
        ));
    }
    if pools {
        return cause.because(
            "the cache was to fill vLLM's share of the card, and so much was not left of it",
        );
    }
    full(cause, evidence, error)
}

/// Lines of a traceback between vLLM's allocation of its cache and the error.
const TRACEBACK: u64 = 40;

/// Whether vLLM was allocating the tensors of its cache.
fn makes_pool(evidence: &Evidence, failure: &Failure) -> bool {
    let before = |line: u64| failure.line.checked_sub(line).is_some_and(|away| away <= TRACEBACK);
    evidence.run.pools.is_some_and(before)
}

/// What others and contexts hold, where that is more than was short, and more than a context.
pub fn beside(error: &TorchError, short: Option<Bytes>) -> Option<Bytes> {
    let outside = error.outside().filter(|_| error.is_old())?;
    (outside >= UNNAMED && short.is_some_and(|short| outside > short)).then_some(outside)
}

/// On a Mac there is a limit of what Metal gives the process, and no card that could be full.
fn metal(failure: &Failure, error: &TorchError) -> Cause {
    let size = |size: Option<Printed>| size.map_or(Bytes::ZERO, |size| size.bytes);
    let (asked, most) = (size(error.asked), size(error.total));
    let (tensors, other) = (size(error.allocated), size(error.other));
    let sentence = format!(
        "PyTorch ran out of memory on a Mac: {asked} were asked for, and it takes {most} of Metal at most"
    );
    let mut cause = Cause::new(CauseKind::CardFull, sentence, failure);
    let all = Bytes::sum([asked, tensors, other]).unwrap_or(Bytes::ZERO);
    cause.short_by = Some(all.minus_or_zero(most)).filter(|short| !short.is_zero());
    cause = cause.because(format!("its tensors hold {tensors}"));
    if other.is_zero() {
        return cause;
    }
    cause.because(format!(
        "the process holds {other} of Metal beside them: what its graphs compute in, and what was freed and not given back"
    ))
}

/// What tensors are that fill a card. A server fills its share whatever the model takes.
fn whose(evidence: &Evidence) -> &'static str {
    let engine = evidence.engine.map(|(engine, _)| engine);
    if matches!(engine, Some(Engine::Vllm | Engine::Sglang)) {
        "the weights, and a pool that fills the server's share of the card"
    } else if evidence.is_message_alone() {
        "the model and its work, or of a server such as vLLM and SGLang the pool that fills its share; the message alone does not tell"
    } else {
        "the model and its work are larger than the card"
    }
}

/// The run itself holds the card.
fn full(mut cause: Cause, evidence: &Evidence, error: &TorchError) -> Cause {
    if let Some(allocated) = error.allocated.filter(|allocated| !allocated.bytes.is_zero()) {
        cause = cause.because(format!("its tensors hold {}: {}", allocated.bytes, whose(evidence)));
    }
    if error.uncounted {
        cause = cause.because(
            "the message counts less for this process than PyTorch holds: under WSL and on virtual cards the driver does not know",
        );
    }
    if error.overcommitted {
        cause = cause.because(
            "more is allocated than the card has: Windows has moved some of it to main memory, which is slow before it ends",
        );
    }
    cause
}
