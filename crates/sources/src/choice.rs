//! Which of a repository's or a folder's files is the model that was asked for.

use crate::gguf_names::{self, Group, USUAL};
use crate::name::Part;

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A GGUF model.
    Gguf(Group),
    /// A checkpoint: a `config.json`, mostly with safetensors.
    Checkpoint,
    /// Another file that was named.
    File(String),
}

/// Why nothing was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// There is no model.
    NoModel,
    /// A file or a format that is not there; these are.
    NotThere(Vec<String>),
    /// Several formats, none of which is usual.
    Several(Vec<String>),
}

/// Chooses among files by their paths.
pub(crate) fn choose(names: &[&str], part: &Part) -> Result<Choice, NoChoice> {
    let groups = gguf_names::groups(names.iter().copied());
    let formats = || groups.iter().map(|group| group.format.clone()).collect();
    match part {
        Part::File(file) => {
            if let Some(group) = groups.iter().find(|group| group.files.contains(file)) {
                return Ok(Choice::Gguf(group.clone()));
            }
            let there = names.contains(&file.as_str());
            there.then(|| Choice::File(file.clone())).ok_or_else(|| NoChoice::NotThere(formats()))
        }
        Part::Format(format) => gguf_names::of_format(&groups, format)
            .map(|group| Choice::Gguf(group.clone()))
            .ok_or_else(|| NoChoice::NotThere(formats())),
        Part::Whole => {
            let config = names.contains(&"config.json");
            let safetensors = names.iter().any(|name| name.ends_with(".safetensors"));
            match groups.as_slice() {
                _ if config && safetensors => Ok(Choice::Checkpoint),
                [] if config => Ok(Choice::Checkpoint),
                [] if names.contains(&"adapter_config.json") => Ok(Choice::Checkpoint),
                [] => Err(NoChoice::NoModel),
                [one] => Ok(Choice::Gguf(one.clone())),
                _ => gguf_names::of_format(&groups, USUAL)
                    .map(|group| Choice::Gguf(group.clone()))
                    .ok_or_else(|| NoChoice::Several(formats())),
            }
        }
    }
}

/// Whether every part of a GGUF model is there that its first part's name announces.
pub(crate) fn is_complete(group: &Group) -> bool {
    let Some(first) = group.files.first() else { return false };
    let announced = first.rsplit_once("-of-").and_then(|(_, rest)| rest.get(..5)?.parse().ok());
    announced.is_none_or(|parts: usize| group.files.len() == parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], part: &Part) -> Result<Vec<String>, NoChoice> {
        Ok(match choose(names, part)? {
            Choice::Gguf(group) => group.files,
            Choice::Checkpoint => vec!["checkpoint".to_owned()],
            Choice::File(file) => vec![file],
        })
    }

    #[test]
    fn the_model_is_what_its_users_would_load() {
        let gguf = ["a-Q4_K_M.gguf", "a-Q8_0.gguf", "config.json", "mmproj-F16.gguf"];
        assert_eq!(chosen(&gguf, &Part::Whole).unwrap(), ["a-Q4_K_M.gguf"]);
        assert_eq!(chosen(&gguf, &Part::Format("q8_0".into())).unwrap(), ["a-Q8_0.gguf"]);
        let none = chosen(&gguf, &Part::Format("Q6_K".into())).unwrap_err();
        assert_eq!(none, NoChoice::NotThere(vec!["Q4_K_M".into(), "Q8_0".into()]));
        let several = ["a-Q6_K.gguf", "a-Q8_0.gguf"];
        assert!(matches!(chosen(&several, &Part::Whole), Err(NoChoice::Several(_))));
        let both = ["config.json", "model.safetensors", "a-Q8_0.gguf"];
        assert_eq!(chosen(&both, &Part::Whole).unwrap(), ["checkpoint"]);
        assert_eq!(chosen(&both, &Part::File("a-Q8_0.gguf".into())).unwrap(), ["a-Q8_0.gguf"]);
        assert_eq!(chosen(&["README.md"], &Part::Whole), Err(NoChoice::NoModel));
    }

    #[test]
    fn a_split_model_is_complete_with_all_its_parts() {
        let group = |files: &[&str]| gguf_names::groups(files.iter().copied()).remove(0);
        assert!(is_complete(&group(&["a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"])));
        assert!(!is_complete(&group(&["a-Q8_0-00001-of-00002.gguf"])));
        assert!(is_complete(&group(&["a-Q8_0.gguf"])));
    }
}
