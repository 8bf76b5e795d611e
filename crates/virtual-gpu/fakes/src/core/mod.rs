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

use std::cell::Cell;
use std::mem::ManuallyDrop;
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

thread_local! {
    /// The world while this thread forks. Without a destructor, as `context::STACK`.
    static HELD: Cell<Option<ManuallyDrop<MutexGuard<'static, World>>>> = const { Cell::new(None) };
}

/// Before a fork: no other thread is in the world while it is copied.
pub(crate) fn hold_world() {
    HELD.set(Some(ManuallyDrop::new(world())));
}

/// After a fork, in the parent.
pub(crate) fn release_world() {
    if let Some(guard) = HELD.take() {
        drop(ManuallyDrop::into_inner(guard));
    }
}

/// After a fork, in the child: the images that the program registered are still those of its
/// libraries, everything else begins anew.
pub(crate) fn begin_anew() {
    // The old world stays locked, and is not looked at again.
    let modules = HELD.take().map(|mut held| std::mem::take(&mut held.modules));
    let fresh = World { modules: modules.unwrap_or_default(), ..World::default() };
    WORLD.store(Box::into_raw(Box::new(Mutex::new(fresh))), Ordering::Release);
}

/// A number for a new object that a program holds: never 0, 1 or 2, which stand for default streams.
pub(crate) fn fresh_handle() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0x1_0000);
    NEXT.fetch_add(16, Ordering::Relaxed)
}
