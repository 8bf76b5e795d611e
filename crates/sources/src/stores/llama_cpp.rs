//! llama.cpp's own cache of before March 2026: `ORG_NAME_FILE.gguf` in one folder (`common/arg.cpp` and
//! `fs_get_cache_directory` of b8000). Since then it is Hugging Face's.

use std::path::{Path, PathBuf};

use super::{Local, entries};
use crate::choice::{self, Choice};
use crate::environment::Environment;
use crate::name::Wanted;

pub(crate) const NAME: &str = "llama.cpp's cache";

/// Where it can be.
pub(super) fn roots(environment: &Environment) -> Vec<PathBuf> {
    if let Some(path) = environment.path("LLAMA_CACHE") {
        return vec![path];
    }
    let usual = if cfg!(target_os = "macos") {
        environment.home("Library/Caches")
    } else if cfg!(windows) {
        environment.path("LOCALAPPDATA")
    } else {
        environment.dot_cache()
    };
    usual.map(|path| path.join("llama.cpp")).into_iter().collect()
}

pub(super) fn count(root: &Path) -> usize {
    entries(root)
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "gguf"))
        .count()
}

/// A repository's file, where it is there.
pub(crate) fn find(environment: &Environment, wanted: &Wanted) -> Option<Local> {
    if wanted.revision.is_some() {
        return None;
    }
    let prefix = format!("{}_", wanted.id.as_str().replace('/', "_"));
    roots(environment).iter().find_map(|root| {
        let paths = entries(root);
        let name =
            |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let names: Vec<_> = paths.iter().filter_map(name).collect();
        let files: Vec<_> = names.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
        // A folder of a repository is a `_` in a name here.
        let part = match &wanted.part {
            crate::name::Part::File(file) => crate::name::Part::File(file.replace('/', "_")),
            other => other.clone(),
        };
        let Choice::Gguf(group) = choice::choose(&files, &part).ok()? else { return None };
        let first = group.files.first().filter(|_| choice::is_complete(&group))?;
        let name = first.strip_suffix(".gguf").unwrap_or(first).to_owned();
        let path = root.join(format!("{prefix}{first}"));
        Some(Local { path, name, store: NAME, is_gguf: true, revision: None })
    })
}
