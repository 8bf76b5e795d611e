//! A deployment without anything that may name somebody.

use std::collections::BTreeSet;

use super::record::LeftOut;
use super::words;
use crate::deployment::Question;
use crate::read::Catalog;
use crate::units::Bytes;

/// A deployment as a record may hold it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrubbed {
    /// What is left of it.
    pub deployment: Question,
    /// What is not.
    pub left_out: BTreeSet<LeftOut>,
}

/// The name of the built-in profile that a card's name means; else its size, as of a card without one.
pub fn card_of(name: &str, total: Option<Bytes>) -> Option<String> {
    let catalog = Catalog::built_in();
    let known = catalog.gpu(name).ok().map(|gpu| gpu.name);
    // A size is a name that holds none: to the MiB, in one spelling.
    let size = |name: &str| name.parse().ok().and_then(to_the_mib);
    known.map(|name| size(&name).unwrap_or(name)).or_else(|| total.and_then(to_the_mib))
}

fn to_the_mib(total: Bytes) -> Option<String> {
    let mib = total.get().div_ceil(Bytes::MIB.get());
    (mib > 0).then(|| format!("{mib} MiB"))
}

/// The name of the built-in profile that a model's name means: a path or a repository is none, but for its last part.
pub fn model_of(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next()?;
    Catalog::built_in().model(last).ok().map(|model| model.name)
}

/// Leaves out of a deployment what may name somebody: files, repositories, patterns, cards and models without a
/// built-in profile, versions with more than numbers. What is left is said in the profiles' own names.
pub fn scrub(question: &Question) -> Scrubbed {
    let mut left_out = BTreeSet::new();
    let mut keep = |kept: Option<String>, given: bool, what| {
        if kept.is_none() && given {
            left_out.insert(what);
        }
        kept
    };
    let cards = |names: &str| {
        let names = names.split(',').map(|name| card_of(name.trim(), None));
        names.collect::<Option<Vec<_>>>().map(|names| names.join(","))
    };
    let draft = |name: &str| match name {
        "eagle" | "eagle3" => Some(name.to_owned()),
        name => model_of(name),
    };
    let gpu = keep(question.gpu.as_deref().and_then(cards), question.gpu.is_some(), LeftOut::Gpu);
    let model = keep(
        question.model.as_deref().and_then(model_of),
        question.model.is_some(),
        LeftOut::Model,
    );
    let drafts =
        keep(question.draft.as_deref().and_then(draft), question.draft.is_some(), LeftOut::Draft);
    let given = question.runtime_version.as_deref();
    let version = keep(given.and_then(words::version), given.is_some(), LeftOut::RuntimeVersion);
    let auto = question.mmproj.clone().filter(|file| file == "auto");
    let mmproj = keep(auto, question.mmproj.is_some(), LeftOut::Mmproj);
    keep(None, !question.lora.is_empty(), LeftOut::Lora);
    keep(None, !question.override_tensor.is_empty(), LeftOut::OverrideTensor);
    let deployment = Question {
        gpu,
        model,
        draft: drafts,
        runtime_version: version,
        mmproj,
        lora: Vec::new(),
        override_tensor: Vec::new(),
        ..question.clone()
    };
    Scrubbed { deployment, left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_names_somebody_is_left() {
        let secret = "alice";
        let smuggled = Question {
            gpu: Some(format!("{secret}'s L4")),
            model: Some(format!("/home/{secret}/{secret}-14b.gguf")),
            runtime_version: Some(format!("{secret}.1")),
            mmproj: Some(format!("/home/{secret}/mmproj.gguf")),
            lora: vec![format!("/home/{secret}/lora")],
            draft: Some(format!("{secret}/draft")),
            override_tensor: vec![format!("{secret}=CPU").parse().unwrap()],
            batch: Some(2),
            ..Question::default()
        };
        let found = scrub(&smuggled);
        let text = serde_json::to_string(&found.deployment).unwrap();
        assert_eq!(text, "{\"batch\":2}");
        assert_eq!(found.left_out.len(), 7);
        assert_eq!(scrub(&found.deployment), Scrubbed { left_out: BTreeSet::new(), ..found });
    }

    #[test]
    fn profiles_names_stay_and_are_said_in_one_way() {
        let question = Question {
            gpu: Some("nvidia l4, RTX 4090".to_owned()),
            model: Some("Qwen/Qwen2.5-14B-Instruct".to_owned()),
            runtime_version: Some("v0.11.2+cu128".to_owned()),
            draft: Some("eagle3".to_owned()),
            ..Question::default()
        };
        let Scrubbed { deployment, left_out } = scrub(&question);
        assert_eq!(deployment.gpu.as_deref(), Some("L4,RTX 4090"));
        assert_eq!(deployment.model.as_deref(), Some("qwen2.5-14b"));
        assert_eq!(deployment.runtime_version.as_deref(), Some("0.11.2"));
        assert!(left_out.is_empty(), "{left_out:?}");
        assert_eq!(card_of("24GiB", None).as_deref(), Some("24576 MiB"));
        assert_eq!(card_of("Alice 9000", Some(Bytes::GIB)).as_deref(), Some("1024 MiB"));
        assert_eq!(card_of("Alice 9000", None), None);
    }
}
