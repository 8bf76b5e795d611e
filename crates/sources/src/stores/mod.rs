//! Where other programs on this machine keep models, each by its own layout and variables.

pub(crate) mod hugging_face;
pub(crate) mod llama_cpp;
pub(crate) mod lm_studio;
pub(crate) mod ollama;

use std::path::{Path, PathBuf};

use crate::choice::{self, Choice};
use crate::environment::Environment;
use crate::name::Part;

/// A model that another program has on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// A file or a folder.
    pub path: PathBuf,
    /// What it is called.
    pub name: String,
    /// Whose it is, such as `Ollama's models`.
    pub store: &'static str,
    /// Whether it is a GGUF model.
    pub is_gguf: bool,
    /// The commit, where the store knows it.
    pub revision: Option<String>,
}

/// A place where a program keeps models, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The program.
    pub of: &'static str,
    /// The folder.
    pub path: PathBuf,
    /// Models in it; nothing where the folder is not there.
    pub models: Option<usize>,
}

/// Every store that this machine would be asked for.
pub fn stores(environment: &Environment) -> Vec<Store> {
    let found = [
        (
            hugging_face::NAME,
            hugging_face::roots(environment),
            hugging_face::count as fn(&Path) -> usize,
        ),
        (ollama::NAME, ollama::roots(environment), ollama::count),
        (lm_studio::NAME, lm_studio::roots(environment), lm_studio::count),
        (llama_cpp::NAME, llama_cpp::roots(environment), llama_cpp::count),
    ];
    let mut stores = Vec::new();
    for (of, roots, count) in found {
        for path in roots {
            let models = path.is_dir().then(|| count(&path));
            stores.push(Store { of, path, models });
        }
    }
    stores
}

/// What is in a folder; nothing where it cannot be read.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs_err::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()));
    let mut entries: Vec<_> = read.map(Iterator::collect).unwrap_or_default();
    entries.sort();
    entries
}

/// The files below a folder by their paths from it, with `/`, three folders deep.
pub fn files_below(folder: &Path) -> Vec<String> {
    const DEEP: usize = 3;
    const MOST: usize = 10_000;
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for path in entries(&folder) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let name = format!("{prefix}{name}");
            if path.is_dir() && depth < DEEP {
                folders.push((path, format!("{name}/"), depth + 1));
            } else if path.is_file() && found.len() < MOST {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

/// The model that a folder holds in whole, if any: a file of it, or itself.
pub(crate) fn in_folder(folder: &Path, part: &Part) -> Option<(PathBuf, bool)> {
    let names = files_below(folder);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    match choice::choose(&names, part).ok()? {
        Choice::Gguf(group) => {
            let first = group.files.first().filter(|_| choice::is_complete(&group))?;
            Some((folder.join(first), true))
        }
        Choice::Checkpoint => has_weights(folder).then(|| (folder.to_owned(), false)),
        Choice::File(file) => Some((folder.join(file), false)),
    }
}

/// The name of a file without its ending.
pub(crate) fn stem(path: &Path) -> Option<String> {
    path.file_stem()?.to_str().map(str::to_owned)
}

/// Whether a checkpoint has the files that its index lists, or the one that it is.
fn has_weights(folder: &Path) -> bool {
    const LONGEST: u64 = 64 << 20;
    if folder.join("model.safetensors").is_file() || folder.join("adapter_config.json").is_file() {
        return true;
    }
    let index = folder.join("model.safetensors.index.json");
    let short = fs_err::metadata(&index).is_ok_and(|found| found.len() <= LONGEST);
    let Some(text) = short.then(|| fs_err::read_to_string(&index).ok()).flatten() else {
        return false;
    };
    let Ok(index) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
    let Some(map) = index.get("weight_map").and_then(|map| map.as_object()) else { return false };
    let is_there = |file: &serde_json::Value| {
        file.as_str()
            .is_some_and(|file| crate::name::is_plain_path(file) && folder.join(file).is_file())
    };
    !map.is_empty() && map.values().all(is_there)
}
