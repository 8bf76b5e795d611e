//! What was played before with the same weights: a search asks for the same again and again.

use std::sync::{Arc, Mutex, OnceLock};

use super::Needed;
use super::load::Load;
use crate::dtype::KvFormat;
use crate::estimate::Scenario;
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

impl Question {
    /// That of a scenario with so many tokens. How much a model's context may be, and what is looked at afterwards, is
    /// not played.
    pub fn of(scenario: &Scenario<'_>, tokens: u64) -> Self {
        let asked = scenario.workload;
        Self {
            workload: Workload { context: 0, recent_window: None, capture: None, ..asked },
            kv: scenario.kv,
            tokens,
            capability: scenario.gpu.compute_capability,
            multiprocessors: scenario.gpu.sm_count.value,
            is_expandable: scenario.runtime.options.stack().expandable_segments,
        }
    }
}

/// How the weights are loaded, and questions with their answers.
#[derive(Clone, Debug, Default)]
pub struct Played {
    load: Arc<OnceLock<Load>>,
    answers: Arc<Mutex<Vec<(Question, Needed)>>>,
}

impl Played {
    /// The loading, which is written down once.
    pub fn load(&self, of: impl FnOnce() -> Load) -> &Load {
        self.load.get_or_init(of)
    }

    /// The answer, where there is one.
    pub fn get(&self, asked: &Question) -> Option<Needed> {
        let known = self.answers.lock().ok()?;
        known.iter().find(|(question, _)| question == asked).map(|(_, needed)| *needed)
    }

    /// Keeps an answer.
    pub fn put(&self, asked: Question, needed: Needed) {
        if let Ok(mut known) = self.answers.lock() {
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
