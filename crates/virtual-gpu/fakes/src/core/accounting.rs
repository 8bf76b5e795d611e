//! Takes memory of the cards and gives it back, in the books of all processes.

use vramplan_virtual_gpu::event::{Change, What};
use vramplan_virtual_gpu::shared::{ByKind, Kind, resident};

use super::{events, process};
use crate::error::{Code, Result};
use crate::machine::card;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) card: usize,
    pub(crate) kind: Kind,
    /// In the driver's units.
    pub(crate) bytes: u64,
    /// As the program asked for it.
    pub(crate) asked: u64,
    pub(crate) call: &'static str,
}

impl Request {
    /// A request that is not rounded.
    pub(crate) fn exact(card: usize, kind: Kind, bytes: u64, call: &'static str) -> Self {
        Self { card, kind, bytes, asked: bytes, call }
    }

    fn change(self, held: u64) -> Change {
        let Self { card, kind, bytes, asked, .. } = self;
        Change { card, kind, bytes, asked, held }
    }
}

struct Outcome {
    granted: bool,
    held: u64,
    free: u64,
    rises: bool,
}

/// Takes memory.
///
/// # Errors
/// Where the card has less; the refusal is reported with what was free.
pub(crate) fn take(request: Request) -> Result {
    if process::is_ending() {
        return Ok(());
    }
    let outcome = try_take(request, true)?;
    if outcome.granted {
        events::took(request.change(outcome.held), outcome.rises);
        return Ok(());
    }
    let Request { card, kind, asked, call, .. } = request;
    let call = call.to_owned();
    events::send(What::Refuse { card, kind, bytes: asked, free: outcome.free, call });
    Err(Code::OUT_OF_MEMORY)
}

/// Takes memory if there is enough, and keeps silent where there is not: for who can make room.
pub(crate) fn take_quietly(request: Request) -> Result<bool> {
    if process::is_ending() {
        return Ok(true);
    }
    let outcome = try_take(request, false)?;
    if outcome.granted {
        events::took(request.change(outcome.held), outcome.rises);
    }
    Ok(outcome.granted)
}

fn try_take(request: Request, counts: bool) -> Result<Outcome> {
    let Request { card: at, kind, bytes, .. } = request;
    let slot = process::slot().ok_or(Code::OUT_OF_MEMORY)?;
    let capacity = card(at).capacity();
    Ok(process::shared().with(|books| {
        // Managed memory moves to the host where the card is full; host memory is the host's.
        let bounded = !kind.on_host() && kind != Kind::Managed;
        if bounded && books.available(at, capacity) < bytes {
            books.bury();
        }
        let free = books.available(at, capacity);
        let granted = !bounded || free >= bytes;
        let before = books.card(at).peak_total;
        if granted {
            *books.own(slot, at, kind) += bytes;
            books.note_peak(at, capacity);
        } else if counts {
            books.note_refusal(at);
        }
        let held = held(&books.used(at), kind, capacity);
        Outcome { granted, held, free, rises: books.card(at).peak_total > before }
    }))
}

/// Gives back what a request took.
pub(crate) fn give(request: Request) {
    let Request { card: at, kind, bytes, .. } = request;
    let Some(slot) = process::slot().filter(|_| bytes > 0) else { return };
    let capacity = card(at).capacity();
    let held = process::shared().with(|books| {
        let own = books.own(slot, at, kind);
        *own = own.saturating_sub(bytes);
        held(&books.used(at), kind, capacity)
    });
    events::gave(request.change(held));
}

fn held(used: &ByKind, kind: Kind, capacity: u64) -> u64 {
    if kind.on_host() { used[kind as usize] } else { resident(used, capacity) }
}

/// What a card's memory looks like to CUDA.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

pub(crate) fn levels(at: usize) -> Levels {
    let capacity = card(at).capacity();
    let used = process::shared().with(|books| {
        // Another process may have been killed since; its memory is free.
        if books.processes().any(|slot| slot.pid != process::pid()) {
            books.bury();
        }
        books.used(at)
    });
    Levels {
        free: capacity.saturating_sub(resident(&used, capacity)),
        total: card(at).cuda_total(),
    }
}

/// Every process on a card and what it holds there.
pub(crate) fn holders(at: usize) -> Vec<(i32, u64)> {
    let capacity = card(at).capacity();
    process::shared().with(|books| {
        books.bury();
        let held = books.processes().map(|slot| (slot.pid, resident(&slot.used[at], capacity)));
        held.filter(|(_, bytes)| *bytes > 0).collect()
    })
}
