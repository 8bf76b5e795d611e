//! Errors of the command line: what is wrong, and how to mend it.

use std::fmt;

use crate::local::LocalCardError;
use vramplan_planner::deployment::DeploymentError;
use vramplan_planner::form;
use vramplan_planner::read::SourceError;
use vramplan_planner::recommend::RecommendError;
use vramplan_planner::render::EmitError;
use vramplan_planner::synth::SynthError;
use vramplan_planner::text::{printable_lines, printable_message};
use vramplan_sources::SourcesError;

/// An error with a hint.
#[derive(Debug)]
pub struct Problem {
    message: String,
    /// Whether the message has lines of its own, in all of which what is quoted was made safe.
    has_lines: bool,
    hint: Option<String>,
    /// Whether the command line itself is wrong, and not what it names.
    is_usage: bool,
}

impl Problem {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), has_lines: false, hint: None, is_usage: false }
    }

    /// An error that shows an excerpt: what is quoted in it must be safe to print.
    pub fn with_lines(message: String) -> Self {
        Self { message, has_lines: true, hint: None, is_usage: false }
    }

    /// A mistake on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { is_usage: true, ..Self::new(message) }
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

/// Whether an error is a mistake on the command line. One that is told with where it was found, such as a line of a
/// table, is not.
pub fn is_usage(error: &anyhow::Error) -> bool {
    let Some(outermost) = error.chain().next() else { return false };
    if let Some(problem) = outermost.downcast_ref::<Problem>() {
        return problem.is_usage;
    }
    if let Some(nowhere) = outermost.downcast_ref::<SourcesError>() {
        return nowhere.is_about_the_name();
    }
    let source = match outermost.downcast_ref::<DeploymentError>() {
        Some(DeploymentError::Source(source)) => Some(source),
        Some(DeploymentError::Overflow(_)) => None,
        Some(_) => return true,
        None => outermost.downcast_ref::<SourceError>(),
    };
    matches!(
        source,
        Some(
            SourceError::Unknown { .. }
                | SourceError::WithoutMemory { .. }
                | SourceError::SeveralMemories { .. }
        )
    )
}

/// `error: …`, its causes on the same line, and the hints of the whole chain.
pub fn describe(error: &anyhow::Error) -> String {
    let causes: Vec<_> = error.chain().map(shown).collect();
    let mut text = format!("error: {}\n", causes.join(": "));
    for hint in error.chain().filter_map(hint_of) {
        text.push_str("hint: ");
        text.push_str(&printable_message(&hint));
        text.push('\n');
    }
    text
}

/// The same as a message and its hints, for a page.
pub fn told(error: &anyhow::Error) -> form::Problem {
    let causes: Vec<_> = error.chain().map(shown).collect();
    let hints = error.chain().filter_map(hint_of).map(|hint| printable_message(&hint));
    form::Problem { message: causes.join(": "), hints: hints.collect() }
}

/// A cause as it is printed. Its words may be a system's or a library's, which quote names as they are.
fn shown(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    match cause.downcast_ref::<Problem>() {
        Some(problem) if problem.has_lines => printable_lines(&text),
        _ => printable_message(&text),
    }
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
    if let Some(error) = cause.downcast_ref::<SourcesError>() {
        return error.hint();
    }
    cause.downcast_ref::<SourceError>().and_then(SourceError::hint)
}
