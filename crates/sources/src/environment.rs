//! The variables and folders by which other programs say where they keep models.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[cfg(feature = "hub")]
use etcetera::BaseStrategy as _;

/// The variables that are asked for, once.
const VARIABLES: [&str; 16] = [
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "XDG_CACHE_HOME",
    "OLLAMA_MODELS",
    "LLAMA_CACHE",
    "LOCALAPPDATA",
    "VRAMPLAN_CACHE",
    "VRAMPLAN_OLLAMA_REGISTRY",
];

/// What this process was told about where models are.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    home: Option<PathBuf>,
    /// Folders of services, which belong to no user.
    system: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let set = |name: &&str| Some(((*name).to_owned(), std::env::var_os(name)?));
        let home = etcetera::home_dir().ok();
        Self { variables: VARIABLES.iter().filter_map(set).collect(), home, system: true }
    }

    /// One made up: these variables, and this home.
    pub fn made_up(variables: &[(&str, &Path)], home: &Path) -> Self {
        let own =
            |(name, value): &(&str, &Path)| ((*name).to_owned(), value.as_os_str().to_owned());
        let variables = variables.iter().map(own).collect();
        Self { variables, home: Some(home.to_owned()), system: false }
    }

    /// A variable that is set to something.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The same where it is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// Whether it is set to what Hugging Face's libraries take for yes.
    #[cfg(feature = "hub")]
    pub(crate) fn is_on(&self, name: &str) -> bool {
        let yes =
            |text: &str| matches!(text.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        self.text(name).is_some_and(yes)
    }

    /// A folder in the user's home.
    pub(crate) fn home(&self, below: &str) -> Option<PathBuf> {
        Some(self.home.as_deref()?.join(below))
    }

    /// Where services keep theirs, on a system that has such.
    pub(crate) fn of_service(&self, path: &str) -> Option<PathBuf> {
        (self.system && cfg!(target_os = "linux")).then(|| PathBuf::from(path))
    }

    /// `~/.cache`, which Hugging Face's libraries use on every system.
    pub(crate) fn dot_cache(&self) -> Option<PathBuf> {
        self.path("XDG_CACHE_HOME").or_else(|| self.home(".cache"))
    }

    /// Where vramplan keeps what it read.
    #[cfg(feature = "hub")]
    pub(crate) fn kept(&self) -> Option<PathBuf> {
        if let Some(path) = self.path("VRAMPLAN_CACHE") {
            return Some(path);
        }
        if !self.system {
            return Some(self.dot_cache()?.join("vramplan"));
        }
        Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("vramplan"))
    }
}
