//! Why a question has no answer before anything is planned.

use crate::read::SourceError;
use crate::units::Overflow;

/// Why a question cannot be resolved.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeploymentError {
    /// A key without which there is no question.
    #[error("`{flag}` is missing: expected {expected}")]
    Missing {
        /// As the command line has it.
        flag: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A number that no plan can be made of.
    #[error("`{flag} {value}` is out of range: expected {expected}")]
    OutOfRange {
        /// As the command line has it.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// An option that the runtime does not have, or that goes with no other.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do about it; empty where the message says it.
        hint: String,
    },
    /// A model, a GPU or a runtime that is not found or not read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A number too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl DeploymentError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "try `vramplan budget --gpu L4 --model qwen2.5-14b`, or see `vramplan profiles list`"
                    .to_owned(),
            ),
            Self::Refused { hint, .. } => (!hint.is_empty()).then(|| hint.clone()),
            Self::Source(error) => error.hint(),
            Self::OutOfRange { .. } | Self::Overflow(_) => None,
        }
    }

    pub(super) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: hint.into() }
    }

    pub(super) fn out_of_range(
        flag: &'static str,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::OutOfRange { flag, value: value.to_string(), expected: expected.into() }
    }
}

pub(super) const fn no_model() -> DeploymentError {
    DeploymentError::Missing {
        flag: "--model",
        expected: "a name such as `qwen2.5-14b`, or a file",
    }
}

pub(super) const fn no_gpu() -> DeploymentError {
    DeploymentError::Missing { flag: "--gpu", expected: "a name such as `L4`, or `auto`" }
}
