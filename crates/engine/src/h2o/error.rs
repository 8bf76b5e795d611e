//! What can be wrong with a cache's shape, its memory, or a step.

use vramplan_planner::units::Overflow;

/// Why a cache cannot be built, or a step not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A parameter has a value that it cannot have.
    #[error("`{name}` = {value}: expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What was expected of it.
        expected: String,
        /// A way out.
        hint: &'static str,
    },
    /// A slice has another length than its shape says.
    #[error("`{name}` has {len} elements: expected {expected}")]
    Length {
        /// The slice.
        name: &'static str,
        /// Its length.
        len: usize,
        /// What was expected.
        expected: String,
        /// A way out.
        hint: &'static str,
    },
    /// A size is out of range.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl CacheError {
    #[allow(clippy::needless_pass_by_value, reason = "a number")]
    pub(super) fn parameter(
        name: &'static str,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        Self::Parameter { name, value: value.to_string(), expected: expected.into(), hint }
    }

    /// A way out, where there is one.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Parameter { hint, .. } | Self::Length { hint, .. } => Some(hint),
            Self::Overflow(_) => None,
        }
    }
}

/// Refuses a slice whose length is not `expected`.
pub(super) fn exactly<T>(
    name: &'static str,
    slice: &[T],
    expected: usize,
) -> Result<(), CacheError> {
    if slice.len() == expected {
        return Ok(());
    }
    Err(CacheError::Length {
        name,
        len: slice.len(),
        expected: expected.to_string(),
        hint: "the shapes are in the documentation of `h2o`",
    })
}

/// Refuses a slice shorter than `expected`.
pub(super) fn at_least<T>(
    name: &'static str,
    slice: &[T],
    expected: usize,
) -> Result<(), CacheError> {
    if slice.len() >= expected {
        return Ok(());
    }
    Err(CacheError::Length {
        name,
        len: slice.len(),
        expected: format!("at least {expected}"),
        hint: "`ScratchSize` says how much a step needs",
    })
}
