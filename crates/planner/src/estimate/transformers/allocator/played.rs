//! What was played before for the same weights: a search asks for the same again and again.

use std::sync::{Arc, Mutex};

use super::Needed;
use crate::dtype::KvFormat;
use crate::spec::{ComputeCapability, Workload};

/// What a play depends on beside the weights and their runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The work.
    pub workload: Workload,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// Tokens of the conversation cache.
    pub tokens: u64,
    /// What decides workspaces and kernels.
    pub capability: ComputeCapability,
    /// The card's multiprocessors, by which kernels are chosen too.
    pub multiprocessors: u64,
    /// Whether segments grow.
    pub is_expandable: bool,
}

/// Questions and their answers.
#[derive(Clone, Debug, Default)]
pub struct Played(Arc<Mutex<Vec<(Question, Needed)>>>);

impl Played {
    /// The answer, where there is one.
    pub fn get(&self, asked: &Question) -> Option<Needed> {
        let known = self.0.lock().ok()?;
        known.iter().find(|(question, _)| question == asked).map(|(_, needed)| *needed)
    }

    /// Keeps an answer.
    pub fn put(&self, asked: Question, needed: Needed) {
        if let Ok(mut known) = self.0.lock() {
            known.push((asked, needed));
        }
    }
}

/// What is known already says nothing about the weights.
impl PartialEq for Played {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Played {}
