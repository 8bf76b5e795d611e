//! Which card a thread talks to, and what its context takes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use vramplan_virtual_gpu::shared::Kind;

use super::accounting::{self, Request};
use super::{fresh_handle, process, world};
use crate::error::{Code, Result};
use crate::machine::{self, visible};

/// Contexts that a thread can have pushed.
const DEPTH: usize = 32;

thread_local! {
    // Plain cells, which need no destructor: programs still call CUDA in theirs, when a thread's
    // values with destructors are gone.
    static STACK: Cell<[usize; DEPTH]> = const { Cell::new([0; DEPTH]) };
    static HEIGHT: Cell<usize> = const { Cell::new(0) };
}

/// The contexts of this process.
#[derive(Default)]
pub(crate) struct Contexts {
    /// Cards whose context is paid for.
    made: BTreeSet<usize>,
    primary: BTreeMap<usize, usize>,
    /// The card of each context.
    cards: BTreeMap<usize, usize>,
    /// Pairs of cards of which the first may read the second.
    peers: BTreeSet<(usize, usize)>,
}

/// Makes the process's context on a card, if it has none.
pub(crate) fn ensure(card: usize) -> Result {
    if !world().contexts.made.insert(card) {
        return Ok(());
    }
    process::note_context();
    let bytes = machine::card(card).context;
    let made = accounting::take(Request::exact(card, Kind::Context, bytes, "the context"));
    if made.is_err() {
        world().contexts.made.remove(&card);
    }
    made
}

/// Makes the process's context on a card, and the thread's current, as the runtime does with a
/// thread's first use of the card.
pub(crate) fn enter(card: usize) -> Result {
    ensure(card)?;
    if current().is_none() {
        set(primary(current_card()?))?;
    }
    Ok(())
}

/// Whether the process has a context on a card.
pub(crate) fn is_made(card: usize) -> bool {
    world().contexts.made.contains(&card)
}

/// Ends what the process holds of a card: its memory, and its context (`cudaDeviceReset`).
pub(crate) fn reset(card: usize) {
    super::memory::free_all(card);
    if world().contexts.made.remove(&card) {
        let bytes = machine::card(card).context;
        accounting::give(Request::exact(card, Kind::Context, bytes, "cudaDeviceReset"));
    }
}

/// A card's primary context.
pub(crate) fn primary(card: usize) -> usize {
    let mut world = world();
    if let Some(&context) = world.contexts.primary.get(&card) {
        return context;
    }
    let context = fresh_handle();
    world.contexts.primary.insert(card, context);
    world.contexts.cards.insert(context, card);
    context
}

/// One more context on a card; it takes what the first did.
pub(crate) fn create(card: usize) -> Result<usize> {
    ensure(card)?;
    let context = fresh_handle();
    world().contexts.cards.insert(context, card);
    Ok(context)
}

pub(crate) fn card_of(context: usize) -> Result<usize> {
    world().contexts.cards.get(&context).copied().ok_or(Code::INVALID_CONTEXT)
}

/// The thread's context, as the driver sees it: none until one was set.
pub(crate) fn current() -> Option<usize> {
    let top = HEIGHT.get().checked_sub(1)?;
    Some(STACK.get()[top])
}

/// The thread's card, as the runtime sees it: the first that is visible until one was set.
pub(crate) fn current_card() -> Result<usize> {
    match current() {
        Some(context) => card_of(context),
        None => visible().first().copied().ok_or(Code::NO_DEVICE),
    }
}

/// Replaces the thread's context; 0 for none.
pub(crate) fn set(context: usize) -> Result {
    if context != 0 {
        card_of(context)?;
    }
    if HEIGHT.get() > 0 {
        pop()?;
    }
    if context == 0 { Ok(()) } else { push(context) }
}

pub(crate) fn push(context: usize) -> Result {
    card_of(context)?;
    let height = HEIGHT.get();
    let mut stack = STACK.get();
    *stack.get_mut(height).ok_or(Code::INVALID_CONTEXT)? = context;
    STACK.set(stack);
    HEIGHT.set(height + 1);
    Ok(())
}

pub(crate) fn pop() -> Result<usize> {
    let context = current().ok_or(Code::INVALID_CONTEXT)?;
    HEIGHT.set(HEIGHT.get() - 1);
    Ok(context)
}

/// Lets a card read another.
pub(crate) fn enable_peer(card: usize, other: usize) -> Result {
    if card == other || !machine::machine().peer_access {
        return Err(Code::PEER_UNSUPPORTED);
    }
    world().contexts.peers.insert((card, other)).then_some(()).ok_or(Code::PEER_ALREADY)
}

pub(crate) fn disable_peer(card: usize, other: usize) -> Result {
    world().contexts.peers.remove(&(card, other)).then_some(()).ok_or(Code::PEER_NOT_ENABLED)
}
