//! The cache of Hugging Face's libraries, which llama.cpp has used since March 2026, too (`common/hf-cache.cpp`):
//! `models--org--name/refs/main` holds a commit, `snapshots/COMMIT/` the files of it, as links into `blobs/`.

use std::path::{Path, PathBuf};

use super::{Local, entries, in_folder};
use crate::environment::Environment;
use crate::name::{Part, Wanted};

pub(crate) const NAME: &str = "Hugging Face's cache";

/// Where it can be, as `huggingface_hub/constants.py` has it; llama.cpp asks `LLAMA_CACHE` first.
pub(super) fn roots(environment: &Environment) -> Vec<PathBuf> {
    let named =
        environment.path("HF_HUB_CACHE").or_else(|| environment.path("HUGGINGFACE_HUB_CACHE"));
    let below_home = || Some(home(environment)?.join("hub"));
    let mut roots: Vec<_> = named.or_else(below_home).into_iter().collect();
    if let Some(path) = environment.path("LLAMA_CACHE").filter(|path| !roots.contains(path)) {
        roots.push(path);
    }
    roots
}

/// `HF_HOME`, where the token is, too.
pub(crate) fn home(environment: &Environment) -> Option<PathBuf> {
    let named = environment.path("HF_HOME");
    named.or_else(|| Some(environment.dot_cache()?.join("huggingface")))
}

pub(super) fn count(root: &Path) -> usize {
    entries(root).iter().filter(|path| is_repository(path)).count()
}

fn is_repository(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("models--") && path.join("snapshots").is_dir()
}

/// The repository's model, where it is there in whole.
pub(crate) fn find(environment: &Environment, wanted: &Wanted) -> Option<Local> {
    roots(environment).iter().find_map(|root| {
        let (folder, revision) = snapshot(root, wanted)?;
        let (path, is_gguf) = in_folder(&folder, &wanted.part)?;
        let name = match &wanted.part {
            Part::Whole if !is_gguf => wanted.id.name().to_owned(),
            _ => super::stem(&path)?,
        };
        Some(Local { path, name, store: NAME, is_gguf, revision: Some(revision) })
    })
}

/// The folder of the revision asked for, and its commit.
pub(crate) fn snapshot(root: &Path, wanted: &Wanted) -> Option<(PathBuf, String)> {
    let repository = root.join(wanted.id.folder());
    let asked = wanted.revision.as_deref().unwrap_or("main");
    let commit = match commit_of(&repository.join("refs").join(asked)) {
        Some(commit) => commit,
        None if is_commit(asked) => whole_commit(&repository, asked)?,
        None if wanted.revision.is_none() => sole_commit(&repository)?,
        None => return None,
    };
    let folder = repository.join("snapshots").join(&commit);
    folder.is_dir().then_some((folder, commit))
}

/// The folders of every repository's newest snapshot are not looked through: only the one that is named.
fn commit_of(reference: &Path) -> Option<String> {
    let short = fs_err::metadata(reference).ok()?.len() <= 128;
    let text = short.then(|| fs_err::read_to_string(reference).ok()).flatten()?;
    let commit = text.trim();
    is_commit(commit).then(|| commit.to_owned())
}

fn is_commit(text: &str) -> bool {
    (7..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The commit that begins with what was given.
fn whole_commit(repository: &Path, begins: &str) -> Option<String> {
    let mut fitting = commits(repository).into_iter().filter(|commit| commit.starts_with(begins));
    fitting.next().filter(|_| fitting.next().is_none())
}

fn sole_commit(repository: &Path) -> Option<String> {
    let mut commits = commits(repository).into_iter();
    commits.next().filter(|_| commits.next().is_none())
}

fn commits(repository: &Path) -> Vec<String> {
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    entries(&repository.join("snapshots")).into_iter().filter_map(name).collect()
}
