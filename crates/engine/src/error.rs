//! Why the engine cannot load a model or run a step.

use crate::h2o::CacheError;
use crate::launch::LaunchError;
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::{Component, EstimateError};
use vramplan_planner::read::SourceError;
use vramplan_planner::synth::SynthError;
use vramplan_planner::text::printable;
use vramplan_planner::units::to_u64;
use vramplan_planner::units::{Bytes, Overflow};

/// What went wrong, with what was expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No plan can be made.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// The cache has a shape that it cannot have, or a step does not fit it.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The model is sound, but the engine does not run it.
    #[error("the engine does not run {what}: expected {expected}")]
    Unsupported {
        /// What the model has or the plan asks for.
        what: String,
        /// What the engine runs.
        expected: String,
    },
    /// A tensor that is not what the model's shape says.
    #[error("tensor `{name}`: {found}: expected {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// What it is.
        found: String,
        /// What it has to be.
        expected: String,
    },
    /// The engine needs another size than the plan's table allots.
    #[error("`{component}` needs {needed:#} for `{id}`, but the plan's table has {planned:#}")]
    Plan {
        /// The component.
        component: Component,
        /// The buffer.
        id: BufferId,
        /// What the engine needs.
        needed: Bytes,
        /// What the table has.
        planned: Bytes,
    },
    /// A buffer of the table that the engine never asked for.
    #[error("the plan's table has `{id}` under `{component}`, which the engine does not hold")]
    Unclaimed {
        /// The component.
        component: Component,
        /// The buffer.
        id: BufferId,
    },
    /// More tokens than there is room for.
    #[error("{what} of {tokens} tokens is too long: expected at most {most}")]
    TooLong {
        /// `a system prompt`, `a conversation`.
        what: &'static str,
        /// Its tokens.
        tokens: usize,
        /// What there is room for.
        most: usize,
    },
    /// A step that needs another one before it.
    #[error("{0}")]
    Order(&'static str),
    /// A token that the vocabulary does not have.
    #[error("token {id} is not in the vocabulary: expected one below {vocab_size}")]
    Token {
        /// The token.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The tokenizer of the file cannot be built, or cannot encode a text.
    #[error("the model's tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template of the file cannot be rendered.
    #[error("the model's chat template: {0}")]
    Template(String),
    /// A kernel cannot be launched so.
    #[error("a kernel cannot be launched: {0}")]
    Launch(#[from] LaunchError),
    /// The device's memory is exhausted.
    #[error("{what}: {needed} more are not to be had")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        needed: Bytes,
    },
    /// Weights cannot be made up.
    #[error(transparent)]
    Synth(#[from] SynthError),
    /// What the device refused.
    #[error("{what}: {message}")]
    Device {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        message: String,
    },
}

impl EngineError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Synth(error) => error.hint(),
            Self::Cache(error) => error.hint().map(str::to_owned),
            Self::TooLong { what: "a conversation", .. } => {
                Some("start a new conversation, or plan with a longer `--context`".into())
            }
            Self::TooLong { .. } => Some("plan with more `--system-tokens`".into()),
            Self::Tokenizer(_) => Some("pass token ids instead of text".into()),
            Self::Template(_) => Some("pass the prompt as plain text".into()),
            _ => None,
        }
    }

    /// Whether a smaller plan would have gone further.
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. })
    }

    pub(crate) fn out_of_memory(what: &'static str, bytes: usize) -> Self {
        Self::OutOfMemory { what, needed: Bytes::new(to_u64(bytes)) }
    }

    pub(crate) fn unsupported(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), expected: expected.into() }
    }

    pub(crate) fn tensor(
        name: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Tensor { name: printable(name), found: found.into(), expected: expected.into() }
    }

    #[allow(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
    pub(crate) fn device(what: &'static str, message: impl ToString) -> Self {
        Self::Device { what, message: printable(&message.to_string()) }
    }
}

impl From<Overflow> for EngineError {
    fn from(overflow: Overflow) -> Self {
        Self::Estimate(overflow.into())
    }
}
