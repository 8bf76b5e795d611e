//! What an engine is told that serves many requests from one pool of tokens (`SGLang`).

use super::{Drafter, Grid, Server, SglangVersion, Utilization};
use crate::units::Bytes;

/// What `SGLang`'s server is told, its defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenServing {
    /// Which release it is.
    pub version: SglangVersion,
    /// Share of what is free of the card, for weights and the pool (`--mem-fraction-static`).
    pub fraction: Utilization,
    /// Whether the share is to be solved: what it is until then is the default.
    pub solves_fraction: bool,
    /// GPUs that attention is split over.
    pub ranks: u64,
    /// Requests that it may run together (`--max-running-requests`); nothing for what it chooses itself.
    pub max_requests: Option<u64>,
    /// Whether no graph is captured (`--disable-cuda-graph`).
    pub eager: bool,
    /// The longest sequence that it is told to serve (`--context-length`).
    pub context: Option<u64>,
    /// What other processes hold of the card: the share is of what they leave.
    pub others: Bytes,
    /// Pages that the pool has at most, because another rank's has no more.
    pub most_pages: Option<u64>,
    /// Tokens that the pool is to have at most (`--max-total-tokens`).
    pub most_tokens: Option<u64>,
    /// What else it is told.
    pub server: Server,
}

/// Requests that run together with predictions where nothing is said (`_handle_eagle_family`).
const REQUESTS_WITH_PREDICTIONS: u64 = 48;

impl TokenServing {
    /// GPUs that matrices outside of attention are split over (`--tp-size`): those of all copies of attention.
    pub fn tensor_ranks(&self) -> u64 {
        self.server.grid.map_or(self.ranks, Grid::experts)
    }

    /// Groups of ranks that each have attention's layers and conversations of their own (`--enable-dp-attention --dp-size`).
    pub fn copies(&self) -> u64 {
        self.server.grid.map_or(1, |grid| grid.copies.max(1))
    }

    /// Tokens of a request in a step of generation (`speculative_num_draft_tokens`): what was predicted, and one more.
    pub const fn tokens_of_a_step(&self) -> u64 {
        self.server.ahead + 1
    }

    /// What predicts, where anything does.
    pub fn drafter(&self) -> Option<Drafter> {
        (self.server.ahead > 0).then_some(self.server.drafter)
    }

    /// Requests that each copy of attention is told to run together, or takes where it predicts.
    pub fn asked_requests(&self) -> Option<u64> {
        let copies = if self.version.divides_requests() { self.copies() } else { 1 };
        self.asked_of_all().map(|requests| (requests / copies).max(1))
    }

    /// Requests of a copy whose tokens of a step have states of their own.
    pub fn requests_with_states(&self) -> u64 {
        self.asked_of_all().map_or(0, |requests| requests / self.copies())
    }

    fn asked_of_all(&self) -> Option<u64> {
        self.max_requests.or(self.drafter().map(|_| REQUESTS_WITH_PREDICTIONS))
    }
}

impl Default for TokenServing {
    /// The newest, with 0.88 of a card that nobody else uses.
    fn default() -> Self {
        Self {
            version: SglangVersion::NEWEST,
            fraction: Utilization::thousandths(880),
            solves_fraction: false,
            ranks: 1,
            max_requests: None,
            eager: false,
            context: None,
            others: Bytes::ZERO,
            most_pages: None,
            most_tokens: None,
            server: Server::default(),
        }
    }
}
