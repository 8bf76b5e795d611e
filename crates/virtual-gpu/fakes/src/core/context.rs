//! Which card a thread talks to, and what its context takes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use vramplan_virtual_gpu::shared::Kind;

use super::accounting::{self, Request};
use super::{fresh_handle, process, world};
use crate::error::{Code, Result};
use crate::machine::{self, visible};

thread_local! {
    static STACK: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
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
    STACK.with_borrow(|stack| stack.last().copied())
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
    STACK.with_borrow_mut(|stack| {
        stack.pop();
        if context != 0 {
            stack.push(context);
        }
    });
    Ok(())
}

pub(crate) fn push(context: usize) -> Result {
    card_of(context)?;
    STACK.with_borrow_mut(|stack| stack.push(context));
    Ok(())
}

pub(crate) fn pop() -> Result<usize> {
    STACK.with_borrow_mut(Vec::pop).ok_or(Code::INVALID_CONTEXT)
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
