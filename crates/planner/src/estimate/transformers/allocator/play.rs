//! A run's requests, counted and written down.

use super::tape::Tape;

/// Requests below this are counted, but not played: they share a few segments of 2 MiB.
const LEAST: u64 = 64 << 10;
/// What no card holds: more is counted, but not played.
pub const MOST: u64 = 1 << 50;

/// Memory that was asked for.
#[derive(Debug)]
#[must_use = "memory that is not given back stays"]
pub struct Held {
    place: Option<u32>,
    bytes: u64,
}

impl Held {
    /// Nothing.
    pub const NOTHING: Self = Self { place: None, bytes: 0 };

    /// Bytes asked for.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The library that asks for a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// cuBLAS.
    Blas,
    /// cuBLASLt, which computes products with a bias.
    BlasLt,
}

/// What was asked for.
#[derive(Debug, Default)]
pub struct Play {
    tape: Tape,
    asked: u64,
    most_asked: u64,
    most_kept: u64,
    is_too_large: bool,
    workspaces: Workspaces,
}

/// What becomes of workspaces.
#[derive(Clone, Copy, Debug, Default)]
struct Workspaces {
    /// Whether the first of each library stays and serves all its products.
    stay: bool,
    /// The libraries whose workspace is there.
    are_there: [bool; 2],
    /// Bytes of them.
    bytes: u64,
}

impl Play {
    /// One behind what is held already.
    pub fn behind(asked: u64) -> Self {
        let is_too_large = asked > MOST;
        Self { asked, most_asked: asked, most_kept: asked, is_too_large, ..Self::default() }
    }

    /// As under versions of `PyTorch` that keep the first workspace of each library (`CublasHandlePool.cpp`).
    pub fn keeping_workspaces(mut self, stay: bool) -> Self {
        self.workspaces.stay = stay;
        self
    }

    /// Asks for memory.
    pub fn take(&mut self, bytes: u64) -> Held {
        if bytes == 0 {
            return Held::NOTHING;
        }
        self.count(bytes);
        self.most_kept = self.most_kept.max(self.kept());
        let place = self.is_played(bytes).then(|| self.tape.take(bytes));
        Held { place, bytes }
    }

    /// Asks for a library's workspace, and gives it back at once, or has it already.
    pub fn workspace(&mut self, library: Library, bytes: u64) {
        if !self.workspaces.stay {
            return self.pass(bytes);
        }
        let is_there = &mut self.workspaces.are_there[library as usize];
        if !std::mem::replace(is_there, true) && bytes > 0 {
            self.workspaces.bytes = self.workspaces.bytes.saturating_add(bytes);
            // It stays: nothing gives it back.
            let _ = self.take(bytes);
        }
    }

    /// Asks for memory and gives it back at once.
    pub fn touch(&mut self, bytes: u64) {
        self.most_kept = self.most_kept.max(self.kept().saturating_add(bytes));
        self.pass(bytes);
    }

    fn pass(&mut self, bytes: u64) {
        self.count(bytes);
        if self.is_played(bytes) {
            self.tape.touch(bytes);
        }
        self.asked = self.asked.saturating_sub(bytes);
    }

    /// What is asked for and alive without workspaces.
    const fn kept(&self) -> u64 {
        self.asked.saturating_sub(self.workspaces.bytes)
    }

    fn count(&mut self, bytes: u64) {
        self.asked = self.asked.saturating_add(bytes);
        self.is_too_large |= self.asked > MOST;
        self.most_asked = self.most_asked.max(self.asked);
    }

    const fn is_played(&self, bytes: u64) -> bool {
        bytes >= LEAST && !self.is_too_large
    }

    /// Gives memory back.
    #[allow(clippy::needless_pass_by_value, reason = "what was given back is gone")]
    pub fn give(&mut self, held: Held) {
        self.asked = self.asked.saturating_sub(held.bytes);
        if let Some(place) = held.place {
            self.tape.give(place);
        }
    }

    /// Gives all of it back, in this order.
    pub fn give_all(&mut self, held: impl IntoIterator<Item = Held>) {
        held.into_iter().for_each(|held| self.give(held));
    }

    /// Asks for `bytes` in place of what is held, which is given back afterwards.
    pub fn replace(&mut self, held: &mut Held, bytes: u64) {
        let new = self.take(bytes);
        let old = std::mem::replace(held, new);
        self.give(old);
    }

    /// Begins another count of the most that is asked for.
    pub fn begin_phase(&mut self) {
        self.most_asked = self.asked;
    }

    /// Whether more was asked for than any card holds.
    pub const fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// What is asked for and alive.
    pub const fn asked(&self) -> u64 {
        self.asked
    }

    /// The most that was asked for and alive since the phase began.
    pub const fn most_asked(&self) -> u64 {
        self.most_asked
    }

    /// The most that was asked for and alive, without workspaces.
    pub const fn most_kept(&self) -> u64 {
        self.most_kept
    }

    /// The requests.
    pub fn into_tape(self) -> Tape {
        self.tape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_card_holds_is_counted_and_not_played() {
        let mut play = Play::default();
        let held: Vec<_> = (0..3).map(|_| play.take(400 << 40)).collect();
        assert!(play.is_too_large());
        assert!(held.iter().map(|held| held.place).eq([Some(0), Some(1), None]));
        assert_eq!((play.asked(), play.most_asked()), (1200 << 40, 1200 << 40));
        play.give_all(held);
        assert_eq!(play.asked(), 0);
    }

    #[test]
    fn workspaces_are_asked_for_and_not_kept() {
        let mut play = Play::behind(100 << 20);
        play.workspace(Library::Blas, 32 << 20);
        play.touch(1 << 20);
        assert_eq!((play.most_asked(), play.most_kept()), (132 << 20, 101 << 20));
        assert_eq!(play.asked(), 100 << 20);
    }

    #[test]
    fn a_workspace_that_stays_is_asked_for_once() {
        let mut play = Play::behind(100 << 20).keeping_workspaces(true);
        for _ in 0..3 {
            play.workspace(Library::Blas, 8 << 20);
            play.workspace(Library::BlasLt, 1 << 20);
        }
        assert_eq!((play.asked(), play.most_kept()), (109 << 20, 100 << 20));
        play.touch(4 << 20);
        assert_eq!((play.most_asked(), play.most_kept()), (113 << 20, 104 << 20));
    }
}
