//! Errors of the command line: what is wrong, and how to mend it.

use std::fmt;

use vramplan_planner::deployment::DeploymentError;
use vramplan_planner::recommend::RecommendError;
use vramplan_planner::render::EmitError;
use crate::local::LocalCardError;
use vramplan_planner::read::SourceError;
use vramplan_planner::synth::SynthError;

/// An error with a hint.
#[derive(Debug)]
pub struct Problem {
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds a hint.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// `error: …`, its causes on the same line, and the hints of the whole chain.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}\n");
    for hint in error.chain().filter_map(hint_of) {
        text.push_str("hint: ");
        text.push_str(&hint);
        text.push('\n');
    }
    text
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(problem) = cause.downcast_ref::<Problem>() {
        return problem.hint.clone();
    }
    if let Some(error) = cause.downcast_ref::<DeploymentError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<RecommendError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<EmitError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<SynthError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<LocalCardError>() {
        return Some(error.hint());
    }
    cause.downcast_ref::<SourceError>().and_then(SourceError::hint)
}
