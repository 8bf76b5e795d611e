//! What can go wrong between here and a server.

use vramplan_planner::text::printable_message;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubErrorKind {
    /// The network is not to be asked.
    Offline,
    /// No answer: no such host, no connection, or none in time.
    Unreachable,
    /// 401 or 403: a login or a right is missing.
    Refused,
    /// 404: there is no such thing.
    NotFound,
    /// 429: too many requests.
    Limited,
    /// Another answer that is no success.
    Failed,
    /// A redirect that is not followed.
    Redirect,
    /// More bytes than a header takes.
    TooMuch,
    /// The answer ended too soon, or contradicts itself.
    Broken,
}

/// Why a server's answer is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HubError {
    /// What kind of failure it is.
    pub kind: HubErrorKind,
    /// What, where, and what was expected; safe to print.
    pub message: String,
    /// What to do about it; empty where the message says it.
    pub hint: String,
}

impl HubError {
    pub(crate) fn new(kind: HubErrorKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: printable_message(message.as_ref()), hint: String::new() }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// Whether asking again may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.kind, HubErrorKind::Unreachable | HubErrorKind::Broken)
    }
}

impl From<HubError> for std::io::Error {
    fn from(error: HubError) -> Self {
        Self::other(error)
    }
}
