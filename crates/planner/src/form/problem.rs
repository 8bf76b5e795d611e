//! Why a question has no answer, in the words of the command.

use std::error::Error;

use serde::Serialize;

use crate::deployment::DeploymentError;
use crate::read::SourceError;
use crate::recommend::RecommendError;
use crate::render::EmitError;
use crate::text::printable_message;

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong; what it quotes is made safe to show.
    pub message: String,
    /// Ways out.
    pub hints: Vec<String>,
}

impl Problem {
    /// One that was found here.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self { message: printable_message(message.as_ref()), hints: Vec::new() }
    }

    /// With a way out.
    pub fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hints.push(printable_message(hint.as_ref()));
        self
    }

    /// One of the planner's, with its causes, as the command prints it.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let (mut shown, mut hints, mut cause) = (Vec::new(), Vec::new(), Some(error));
        while let Some(error) = cause {
            shown.push(printable_message(&error.to_string()));
            hints.extend(hint_of(error).map(|hint| printable_message(&hint)));
            cause = error.source();
        }
        Self { message: shown.join(": "), hints }
    }
}

fn hint_of(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<DeploymentError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<RecommendError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<EmitError>() {
        return error.hint();
    }
    cause.downcast_ref::<SourceError>().and_then(SourceError::hint)
}

macro_rules! from_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::of(&error)
            }
        })*
    };
}

from_errors!(DeploymentError, RecommendError, EmitError, SourceError, serde_json::Error);
