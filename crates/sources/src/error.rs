//! Why a model that was named is nowhere, or cannot be read.

use vramplan_planner::read::SourceError;

/// Why no model was found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// A text that says what it is, and is not that.
    #[error("`{text}` cannot be read as a model: {why}")]
    Malformed {
        /// The text.
        text: String,
        /// What was expected.
        why: String,
    },
    /// A variable that cannot be used.
    #[error("`{name}={value}`: {why}")]
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What was expected.
        why: String,
    },
    /// A model of another program's that is not there.
    #[error("`{text}` is not among {store} ({places})")]
    NotInStore {
        /// As it was named.
        text: String,
        /// Whose models.
        store: &'static str,
        /// The folders that were looked through.
        places: String,
    },
    /// Nothing local has the name, and no server can be asked.
    #[error("{}", nowhere(known, why))]
    Nowhere {
        /// That no profile has the name.
        known: Box<SourceError>,
        /// Why no server was asked, or what it said.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// A server.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// A profile, a file.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What is known of a name that is nowhere: first why it was not read, then what it may have been meant to be.
fn nowhere(known: &SourceError, why: &str) -> String {
    let known = known.to_string();
    match known.split_once(": did you mean ") {
        Some((known, near)) => {
            format!("{known}, and no local cache has it: {why}; did you mean {near}")
        }
        None => format!("{known}, and no local cache has it: {why}"),
    }
}

impl SourcesError {
    /// Whether what is wrong is the name that was given, and not what it names.
    pub fn is_about_the_name(&self) -> bool {
        match self {
            Self::Malformed { .. } | Self::NotInStore { .. } | Self::Nowhere { .. } => true,
            Self::Source(error) => {
                matches!(error, SourceError::Unknown { .. } | SourceError::OnTheirServers { .. })
            }
            _ => false,
        }
    }

    /// Whether nobody could be asked: the network is not to be used, or does not answer.
    #[cfg_attr(
        not(feature = "hub"),
        allow(clippy::unused_self, reason = "no error is of a network without `hub`")
    )]
    pub(crate) fn is_of_the_network(&self) -> bool {
        #[cfg(feature = "hub")]
        if let Self::Hub(error) = self {
            return error.kind == crate::hub::HubErrorKind::Unreachable || self.is_offline();
        }
        false
    }

    /// Whether the network is not to be used.
    #[cfg_attr(
        not(feature = "hub"),
        allow(clippy::unused_self, reason = "no error is of a network without `hub`")
    )]
    pub(crate) fn is_offline(&self) -> bool {
        #[cfg(feature = "hub")]
        if let Self::Hub(error) = self {
            return error.kind == crate::hub::HubErrorKind::Offline;
        }
        false
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let some = |hint: &str| (!hint.is_empty()).then(|| hint.to_owned());
        match self {
            Self::Malformed { .. } => some(
                "a repository is `org/name`, `org/name-GGUF:Q4_K_M` or `hf:org/name@revision`; a tag `qwen3:30b`",
            ),
            Self::Variable { .. } => some("set it to an address, or unset it"),
            Self::NotInStore { .. } => some("`vramplan doctor` lists the stores that were found"),
            Self::Nowhere { hint, .. } => some(hint),
            #[cfg(feature = "hub")]
            Self::Hub(error) => some(&error.hint),
            Self::Source(error) => error.hint(),
        }
    }
}
