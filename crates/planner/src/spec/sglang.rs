//! What an engine is told that serves many requests from one pool of tokens (`SGLang`).

use super::{SglangVersion, Utilization};
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
    /// GPUs that every layer is split over.
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
        }
    }
}
