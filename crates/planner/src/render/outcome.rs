//! What a row of several plans came to.

use serde::{Deserialize, Serialize};

use crate::plan::Verdict;

/// A verdict, or that the runtime refuses the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Even the high bound leaves the headroom free.
    Fits,
    /// The expected peak fits, the high bound with the headroom does not.
    Tight,
    /// The expected peak is more than the card has.
    DoesNotFit,
    /// The runtime does not run it.
    Refused,
}

impl Outcome {
    /// Of a question's verdict; nothing where the runtime refuses it.
    pub const fn of(verdict: Option<Verdict>) -> Self {
        match verdict {
            Some(Verdict::Fits) => Self::Fits,
            Some(Verdict::Tight) => Self::Tight,
            Some(Verdict::DoesNotFit) => Self::DoesNotFit,
            None => Self::Refused,
        }
    }

    /// The name in JSON and CSV.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Fits => Verdict::Fits.id(),
            Self::Tight => Verdict::Tight.id(),
            Self::DoesNotFit => Verdict::DoesNotFit.id(),
            Self::Refused => "refused",
        }
    }

    /// As tables for people say it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fits => Verdict::Fits.words(),
            Self::Tight => Verdict::Tight.words(),
            Self::DoesNotFit => Verdict::DoesNotFit.words(),
            Self::Refused => "refused",
        }
    }
}
