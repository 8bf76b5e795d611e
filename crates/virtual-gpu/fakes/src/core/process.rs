//! This process among those of the rehearsal: its slot in the shared books, forks, its end.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use vramplan_virtual_gpu::contract;
use vramplan_virtual_gpu::event::What;
use vramplan_virtual_gpu::shared::{Shared, count};

use super::{begin_anew, events, hold_world, release_world};

const NO_SLOT: usize = usize::MAX;

static SLOT: AtomicUsize = AtomicUsize::new(NO_SLOT);
static PID: AtomicI32 = AtomicI32::new(0);
static HAS_CONTEXT: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);
static ENDING: AtomicBool = AtomicBool::new(false);
static LAUNCHES: AtomicU64 = AtomicU64::new(0);
static RESULT: AtomicBool = AtomicBool::new(false);

/// The rehearsal's folder, where the program was started by one.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(contract::FOLDER).map(PathBuf::from)
}

/// The books that all processes share; this process's own where there is no rehearsal around it.
pub(crate) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let opened = folder().and_then(|folder| Shared::open(&folder.join(contract::STATE)).ok());
        match opened.map_or_else(Shared::private, Ok) {
            Ok(shared) => shared,
            // Without a page of memory nothing can be said or done.
            Err(_) => std::process::abort(),
        }
    })
}

pub(crate) fn pid() -> i32 {
    let known = PID.load(Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: no preconditions.
    let pid = unsafe { libc::getpid() };
    PID.store(pid, Relaxed);
    pid
}

/// Whether the process ends: what it held is given back, and its destructors change nothing.
pub(crate) fn is_ending() -> bool {
    ENDING.load(Relaxed)
}

/// This process's slot, which it takes with its first context. None where it ends.
pub(crate) fn slot() -> Option<usize> {
    if is_ending() {
        return None;
    }
    let slot = SLOT.load(Relaxed);
    if slot != NO_SLOT {
        return Some(slot);
    }
    let slot = shared().with(|books| books.enter(pid()))?;
    SLOT.store(slot, Relaxed);
    events::send(What::Start { program: program() });
    // SAFETY: the handler is a function of this library, which is never unloaded (see `at_exit`).
    unsafe { libc::atexit(at_exit) };
    Some(slot)
}

fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    name.chars().take(256).collect()
}

/// The driver gives back what a process held when it ends; so does this.
extern "C" fn at_exit() {
    if is_forked() || SLOT.load(Relaxed) == NO_SLOT {
        return;
    }
    ENDING.store(true, Relaxed);
    events::send(What::End { launches: LAUNCHES.load(Relaxed) });
    let slot = SLOT.swap(NO_SLOT, Relaxed);
    if slot != NO_SLOT {
        shared().with(|books| books.leave(slot));
    }
}

/// A context was made: what this process forks now cannot use the card, as in life.
pub(crate) fn note_context() {
    HAS_CONTEXT.store(true, Relaxed);
}

pub(crate) fn note_launch() {
    count(&shared().counters().launches, 1);
    if LAUNCHES.fetch_add(1, Relaxed) == 0 {
        events::send(What::Launch);
    }
}

/// Something was copied to the host: a result, where a kernel was launched before.
pub(crate) fn note_read() {
    if LAUNCHES.load(Relaxed) > 0 && !RESULT.swap(true, Relaxed) {
        events::send(What::Result);
    }
}

/// Whether this process was forked from one that used the card.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Relaxed)
}

/// Tells forks from their parent.
pub(crate) fn watch_forks() {
    // SAFETY: the handlers are functions of this library, which is never unloaded. The child's
    // allocates, which the C library allows after a fork.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
}

extern "C" fn before() {
    hold_world();
}

extern "C" fn in_parent() {
    release_world();
}

extern "C" fn in_child() {
    if HAS_CONTEXT.load(Relaxed) {
        FORKED.store(true, Relaxed);
    }
    PID.store(0, Relaxed);
    SLOT.store(NO_SLOT, Relaxed);
    LAUNCHES.store(0, Relaxed);
    RESULT.store(false, Relaxed);
    events::forget_count();
    begin_anew();
}
