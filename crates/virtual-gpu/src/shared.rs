//! The accounting that all processes of a rehearsal share: a file of fixed layout, mapped by each.
//!
//! A card's memory is one, whoever takes it: what an API server's worker holds is not free for the
//! server. The numbers survive a process that is killed, and the memory of a dead process is given
//! back, as a driver does.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// Cards that a machine can have.
pub const MAX_CARDS: usize = 16;
/// Processes that can use the cards at once.
pub const MAX_PROCESSES: usize = 256;
const MAGIC: u64 = u64::from_le_bytes(*b"vgpu-st1");

/// What holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Kind {
    /// The process's context on the card.
    Context,
    /// `cudaMalloc` and its like, in the driver's 2 MiB.
    Malloc,
    /// Reserved by the pools of `cudaMallocAsync`.
    Pool,
    /// Physical memory of `cuMemCreate`.
    Virtual,
    /// `cudaMallocManaged`: may move to the host where the card is full.
    Managed,
    /// CUDA arrays (textures).
    Array,
    /// Images of modules, where they are charged.
    Module,
    /// Workspaces that libraries take by themselves, and device variables.
    Library,
    /// Page-locked host memory (`cudaHostAlloc`).
    Pinned,
    /// Host memory of the program that it registered (`cudaHostRegister`).
    Registered,
}

impl Kind {
    /// All kinds, the card's first.
    pub const ALL: [Self; KINDS] = [
        Self::Context,
        Self::Malloc,
        Self::Pool,
        Self::Virtual,
        Self::Managed,
        Self::Array,
        Self::Module,
        Self::Library,
        Self::Pinned,
        Self::Registered,
    ];

    /// Whether the host holds it.
    pub fn on_host(self) -> bool {
        matches!(self, Self::Pinned | Self::Registered)
    }
}

/// Number of [`Kind`]s.
pub const KINDS: usize = 10;
/// Bytes by kind.
pub type ByKind = [u64; KINDS];

/// One process's share.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slot {
    /// 0 where the slot is free.
    pub pid: i32,
    /// When the process started, in clock ticks since boot: tells it from a later one of its number.
    pub started: u64,
    /// What it holds of each card.
    pub used: [ByKind; MAX_CARDS],
}

/// One card's books.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CardBooks {
    /// Bytes held at the fullest moment of all processes together.
    pub peak_total: u64,
    /// What held them then.
    pub at_peak: ByKind,
    /// The largest that each kind was by itself.
    pub peak: ByKind,
    /// Requests that were refused.
    pub refusals: u64,
}

#[repr(C)]
struct Layout {
    magic: u64,
    /// Monotonic nanoseconds at the start of the rehearsal.
    epoch: u64,
    lock: libc::pthread_mutex_t,
    slots: [Slot; MAX_PROCESSES],
    cards: [CardBooks; MAX_CARDS],
    counters: Counters,
}

/// What is counted without a lock.
#[repr(C)]
#[derive(Default)]
pub struct Counters {
    /// Calls of any function: a rehearsal in which they stand still waits for something else.
    pub calls: AtomicU64,
    /// Kernel launches.
    pub launches: AtomicU64,
    /// Allocations and frees: with `launches`, progress.
    pub allocations: AtomicU64,
    /// Bytes copied.
    pub host_to_device: AtomicU64,
    /// Bytes copied.
    pub device_to_host: AtomicU64,
    /// Bytes copied.
    pub device_to_device: AtomicU64,
    /// Events that were not sent, because nobody read fast enough or a process sent too many.
    pub dropped: AtomicU64,
}

/// A mapping of the shared accounting.
pub struct Shared {
    layout: NonNull<Layout>,
}

// SAFETY: the mapping lives as long as the value; its plain fields are only touched under the
// process-shared lock inside it, the counters are atomics.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes the file and maps it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = fs_err::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(size_of::<Layout>() as u64)?;
        let shared = Self::map(Some(file.file()))?;
        shared.initialise()?;
        Ok(shared)
    }

    /// Maps a file that [`Shared::create`] made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = fs_err::OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != size_of::<Layout>() as u64 {
            return Err(io::Error::other("the state of another version"));
        }
        let shared = Self::map(Some(file.file()))?;
        // SAFETY: the mapping is as long as a layout, and every bit pattern is a u64.
        if unsafe { shared.layout.as_ref().magic } != MAGIC {
            return Err(io::Error::other("not a rehearsal's state"));
        }
        Ok(shared)
    }

    /// Accounting for this process and its forks alone.
    pub fn private() -> io::Result<Self> {
        let shared = Self::map(None)?;
        shared.initialise()?;
        Ok(shared)
    }

    fn map(file: Option<&File>) -> io::Result<Self> {
        let (flags, fd) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: a fresh mapping at an address of the kernel's choice; the descriptor, where one is
        // given, is open for reading and writing.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Layout>(),
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        match NonNull::new(at.cast()) {
            Some(layout) if at != libc::MAP_FAILED => Ok(Self { layout }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn initialise(&self) -> io::Result<()> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let layout = self.layout.as_ptr();
        // SAFETY: the mapping is zeroed and nobody else has it yet; the attributes are initialised
        // before they are used, and destroyed after.
        let failed = unsafe {
            let attributes = attributes.as_mut_ptr();
            let failed = libc::pthread_mutexattr_init(attributes)
                | libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
                | libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)
                | libc::pthread_mutex_init(&raw mut (*layout).lock, attributes);
            libc::pthread_mutexattr_destroy(attributes);
            (*layout).epoch = monotonic_nanos();
            (*layout).magic = MAGIC;
            failed
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
    }

    /// What is counted without a lock.
    pub fn counters(&self) -> &Counters {
        // SAFETY: the mapping lives as long as `self`, and the counters are atomics.
        unsafe { &(*self.layout.as_ptr()).counters }
    }

    /// Microseconds since the rehearsal began.
    pub fn micros(&self) -> u64 {
        // SAFETY: written once, before the mapping was given to anyone else.
        let epoch = unsafe { (*self.layout.as_ptr()).epoch };
        monotonic_nanos().saturating_sub(epoch) / 1000
    }

    /// Works on the books under the lock, after the dead gave back what they held.
    pub fn with<T>(&self, work: impl FnOnce(&mut Books<'_>) -> T) -> T {
        let layout = self.layout.as_ptr();
        // SAFETY: the lock was initialised by `create`. Where its owner died, the numbers are at
        // most one charge off, which the owner's own slot holds and loses: it is made consistent.
        unsafe {
            if libc::pthread_mutex_lock(&raw mut (*layout).lock) == libc::EOWNERDEAD {
                libc::pthread_mutex_consistent(&raw mut (*layout).lock);
            }
        }
        // SAFETY: the lock is held, so this is the only reference to these fields.
        let mut books =
            unsafe { Books { slots: &mut (*layout).slots, cards: &mut (*layout).cards } };
        let result = work(&mut books);
        // SAFETY: locked above, by this thread.
        unsafe { libc::pthread_mutex_unlock(&raw mut (*layout).lock) };
        result
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and no reference outlives `self`.
        unsafe { libc::munmap(self.layout.as_ptr().cast(), size_of::<Layout>()) };
    }
}

/// The books while the lock is held.
pub struct Books<'a> {
    slots: &'a mut [Slot; MAX_PROCESSES],
    cards: &'a mut [CardBooks; MAX_CARDS],
}

impl Books<'_> {
    /// Finds the slot of a process that begins, or takes a free one. None where all are taken.
    pub fn enter(&mut self, pid: i32) -> Option<usize> {
        self.bury();
        let mine = self.slots.iter().position(|s| s.pid == pid);
        let slot = mine.or_else(|| self.slots.iter().position(|s| s.pid == 0))?;
        // A program that replaced itself by `exec` holds nothing any more.
        self.slots[slot] =
            Slot { pid, started: started(pid).unwrap_or(0), used: [[0; KINDS]; MAX_CARDS] };
        Some(slot)
    }

    /// Gives back all that a process holds.
    pub fn leave(&mut self, slot: usize) {
        self.slots[slot].pid = 0;
    }

    /// The processes that hold something.
    pub fn processes(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.pid != 0)
    }

    /// One card's books.
    pub fn card(&self, card: usize) -> &CardBooks {
        &self.cards[card]
    }

    /// Bytes by kind that all processes hold on a card.
    pub fn used(&self, card: usize) -> ByKind {
        let mut sum = [0; KINDS];
        for slot in self.processes() {
            for (sum, bytes) in sum.iter_mut().zip(slot.used[card]) {
                *sum += bytes;
            }
        }
        sum
    }

    /// What a process holds of one kind.
    pub fn own(&mut self, slot: usize, card: usize, kind: Kind) -> &mut u64 {
        &mut self.slots[slot].used[card][kind as usize]
    }

    /// What is free of a card, where managed memory makes room for everything else.
    pub fn available(&self, card: usize, capacity: u64) -> u64 {
        capacity.saturating_sub(unmovable(&self.used(card)))
    }

    /// Writes down a new fullest moment.
    pub fn note_peak(&mut self, card: usize, capacity: u64) {
        let used = self.used(card);
        let total = resident(&used, capacity);
        let books = &mut self.cards[card];
        for (peak, now) in books.peak.iter_mut().zip(used) {
            *peak = now.max(*peak);
        }
        if total > books.peak_total {
            books.peak_total = total;
            books.at_peak = used;
        }
    }

    /// Counts a refusal.
    pub fn note_refusal(&mut self, card: usize) {
        self.cards[card].refusals += 1;
    }

    /// Frees the slots of processes that ended without a word.
    pub fn bury(&mut self) {
        // SAFETY: getpid has no preconditions.
        let me = unsafe { libc::getpid() };
        for slot in self.slots.iter_mut().filter(|slot| slot.pid != 0 && slot.pid != me) {
            if started(slot.pid) != Some(slot.started) {
                slot.pid = 0;
            }
        }
    }
}

fn unmovable(used: &ByKind) -> u64 {
    on_card(used) - used[Kind::Managed as usize]
}

/// Bytes of all kinds that a card holds.
pub fn on_card(used: &ByKind) -> u64 {
    Kind::ALL.iter().filter(|kind| !kind.on_host()).map(|&kind| used[kind as usize]).sum()
}

/// What is resident of `used`: managed memory beyond the card's capacity is on the host.
pub fn resident(used: &ByKind, capacity: u64) -> u64 {
    let fixed = unmovable(used);
    fixed + used[Kind::Managed as usize].min(capacity.saturating_sub(fixed))
}

/// When a process started, in clock ticks since boot; None for one that ended, also where its parent
/// has not asked yet (a zombie holds no memory).
fn started(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold spaces: count from its end.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the timespec that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Adds to one of the [`Counters`].
pub fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_share_a_card_and_the_dead_give_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let ours = Shared::create(&path).unwrap();
        let theirs = Shared::open(&path).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = i32::try_from(child.id()).unwrap();
        let (mine, slot) = ours.with(|b| (b.enter(me).unwrap(), b.enter(other).unwrap()));
        ours.with(|b| *b.own(mine, 0, Kind::Malloc) = 10);
        theirs.with(|b| {
            *b.own(slot, 0, Kind::Managed) = 7;
            b.note_peak(0, 12);
        });
        assert_eq!(ours.with(|b| (b.available(0, 12), b.card(0).peak_total)), (2, 12));
        child.kill().unwrap(); // not waited for: a zombie
        let after_burial = || {
            ours.with(|b| {
                b.bury();
                on_card(&b.used(0))
            })
        };
        // A signal takes its time.
        let begun = std::time::Instant::now();
        while after_burial() != 10 && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(after_burial(), 10);
        child.wait().unwrap();
    }

    #[test]
    fn the_state_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs_err::write(&path, [0; 64]).unwrap();
        assert!(Shared::open(&path).is_err());
    }
}
