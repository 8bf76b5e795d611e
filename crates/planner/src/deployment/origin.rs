//! Where a model was found, where that is another place than its name says.

use serde::{Deserialize, Serialize};

use crate::spec::Runtime;

/// What kind of place a model is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// A profile.
    Profile,
    /// A file or a folder of the current directory.
    File,
    /// Another program's models on this machine.
    Cache,
    /// Headers that were read of a server before.
    Kept,
    /// Headers that were read of a server now.
    Hub,
}

/// Where a model is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Origin {
    /// What kind of place.
    pub kind: OriginKind,
    /// The profile's name, the file, the program whose cache it is, or the server.
    pub place: String,
    /// The commit or digest, its first eight digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What else there is to know: the file in the cache, what was asked of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Origin {
    /// It in a line.
    ///
    /// ```
    /// use vramplan_planner::deployment::{Origin, OriginKind};
    ///
    /// let origin = Origin {
    ///     kind: OriginKind::Hub,
    ///     place: "huggingface.co".to_owned(),
    ///     revision: Some("ad44e777".to_owned()),
    ///     note: Some("headers alone, 2 requests, 6.1 MiB".to_owned()),
    /// };
    /// let text = "from huggingface.co, revision ad44e777: headers alone, 2 requests, 6.1 MiB";
    /// assert_eq!(origin.text(), text);
    /// ```
    pub fn text(&self) -> String {
        let place = match self.kind {
            OriginKind::Profile => format!("the profile `{}`", self.place),
            OriginKind::File => format!("`{}`", self.place),
            OriginKind::Cache | OriginKind::Kept | OriginKind::Hub => self.place.clone(),
        };
        let revision = self.revision.as_ref().map(|commit| format!(", revision {commit}"));
        let note = self.note.as_ref().map(|note| format!(": {note}"));
        format!("from {place}{}{}", revision.unwrap_or_default(), note.unwrap_or_default())
    }
}

/// What a model is, which decides what it is planned for where nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A GGUF file, or a repository of such.
    Gguf,
    /// A tag of Ollama's.
    Tag,
    /// A checkpoint as it is published: safetensors, a `config.json`.
    Checkpoint,
    /// A name only.
    Name,
}

impl Form {
    /// The runtime that it is for.
    pub const fn runtime(self) -> Runtime {
        match self {
            Self::Gguf => Runtime::LlamaCpp,
            Self::Tag => Runtime::Ollama,
            Self::Checkpoint => Runtime::Vllm,
            Self::Name => Runtime::Vramplan,
        }
    }
}
