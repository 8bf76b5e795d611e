//! LM Studio's models: `PUBLISHER/MODEL/FILE.gguf` below the folder that its settings name.

use std::path::{Path, PathBuf};

use super::{Local, entries, in_folder};
use crate::environment::Environment;
use crate::name::{Part, Wanted};

pub(crate) const NAME: &str = "LM Studio's models";

/// Where they can be: `downloadsFolder` of the settings, or what is usual; both since 2024, and before.
pub(super) fn roots(environment: &Environment) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    for home in homes(environment) {
        let settings = home.join("settings.json");
        roots.push(downloads(&settings).unwrap_or_else(|| home.join("models")));
    }
    roots.dedup();
    let first = roots.first().cloned();
    // The folder of old exists on few machines: it is only named where it is there.
    roots.retain(|path| path.is_dir() || Some(path) == first.as_ref());
    roots
}

/// LM Studio's own folders: where its pointer leads, `~/.lmstudio`, and that of old.
fn homes(environment: &Environment) -> Vec<PathBuf> {
    let pointer = environment.home(".lmstudio-home-pointer").and_then(|path| short_text(&path));
    let stated = pointer.map(|text| PathBuf::from(text.trim())).filter(|path| path.is_absolute());
    let usual = stated.or_else(|| environment.home(".lmstudio"));
    usual.into_iter().chain(environment.home(".cache/lm-studio")).collect()
}

fn short_text(path: &Path) -> Option<String> {
    const LONGEST: u64 = 1 << 20;
    let short = fs_err::metadata(path).ok()?.len() <= LONGEST;
    short.then(|| fs_err::read_to_string(path).ok()).flatten()
}

fn downloads(settings: &Path) -> Option<PathBuf> {
    let settings: serde_json::Value = serde_json::from_str(&short_text(settings)?).ok()?;
    let folder = settings.get("downloadsFolder")?.as_str()?;
    (!folder.is_empty()).then(|| PathBuf::from(folder))
}

pub(super) fn count(root: &Path) -> usize {
    let models = entries(root).into_iter().flat_map(|publisher| entries(&publisher));
    models.filter(|path| path.is_dir()).count()
}

/// The model of a repository, which LM Studio files under its name.
pub(crate) fn find(environment: &Environment, wanted: &Wanted) -> Option<Local> {
    if wanted.revision.is_some() {
        return None;
    }
    roots(environment)
        .iter()
        .find_map(|root| in_model(&root.join(wanted.id.as_str()), &wanted.part))
}

/// The model that was named as LM Studio names it: with its publisher or without.
pub(crate) fn find_by_name(environment: &Environment, text: &str) -> Option<Local> {
    let (name, part) = match text.rsplit_once([':', '@']) {
        Some((name, format)) => (name, Part::Format(format.to_owned())),
        None => (text, Part::Whole),
    };
    let words: Vec<_> = name.split('/').collect();
    if !crate::name::is_plain_path(name) {
        return None;
    }
    roots(environment).iter().find_map(|root| match words.as_slice() {
        [model] => {
            entries(root).iter().find_map(|publisher| in_model(&publisher.join(model), &part))
        }
        [publisher, model] => in_model(&root.join(publisher).join(model), &part),
        [publisher, model, file @ ..] => {
            in_model(&root.join(publisher).join(model), &Part::File(file.join("/")))
        }
        [] => None,
    })
}

fn in_model(folder: &Path, part: &Part) -> Option<Local> {
    let (path, is_gguf) = folder.is_dir().then(|| in_folder(folder, part)).flatten()?;
    let name =
        if path == folder { folder.file_name()?.to_str()?.to_owned() } else { super::stem(&path)? };
    Some(Local { path, name, store: NAME, is_gguf, revision: None })
}
