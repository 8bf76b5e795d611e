//! The card that is not there: who holds what of it, and in what order things are seen to happen.

pub(crate) mod accounting;
pub(crate) mod arena;
pub(crate) mod attributes;
pub(crate) mod context;
pub(crate) mod copies;
pub(crate) mod events;
pub(crate) mod graphs;
pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod pools;
pub(crate) mod process;
pub(crate) mod reservations;
pub(crate) mod streams;

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Everything that one process knows of its own.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) memory: memory::Memory,
    pub(crate) pools: pools::Pools,
    pub(crate) reservations: reservations::Reservations,
    pub(crate) host: host::Host,
    pub(crate) contexts: context::Contexts,
    pub(crate) streams: streams::Streams,
    pub(crate) graphs: graphs::Graphs,
    pub(crate) modules: crate::fatbin::Modules,
}

static WORLD: AtomicPtr<Mutex<World>> = AtomicPtr::new(std::ptr::null_mut());

/// The world, for this thread alone until the guard is dropped.
pub(crate) fn world() -> MutexGuard<'static, World> {
    let mut at = WORLD.load(Ordering::Acquire);
    if at.is_null() {
        let fresh = Box::into_raw(Box::default());
        match WORLD.compare_exchange(at, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                process::watch_forks();
                at = fresh;
            }
            Err(first) => {
                // SAFETY: another thread was first, and nobody has seen this one.
                drop(unsafe { Box::from_raw(fresh) });
                at = first;
            }
        }
    }
    // SAFETY: a world is never freed: the pointer is only replaced after `fork`, in the child.
    unsafe { &*at }.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins anew in a forked child: the parent's lock may be held by a thread that is not there.
pub(crate) fn forget_world() {
    WORLD.store(std::ptr::null_mut(), Ordering::Release);
}

/// A number for a new object that a program holds: never 0, 1 or 2, which stand for default streams.
pub(crate) fn fresh_handle() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0x1_0000);
    NEXT.fetch_add(16, Ordering::Relaxed)
}
