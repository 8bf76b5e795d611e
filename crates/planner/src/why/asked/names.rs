//! The model that a log names: in a path, a repository, a file's own keys.

use crate::deployment::Question;
use crate::dtype::WeightFormat;
use crate::read::format_of_name;
use crate::why::Evidence;

/// Names of a model that are looked at.
const MOST_NAMES: usize = 8;
/// Names within one of them that are tried.
const MOST_PARTS: usize = 12;
/// Names that are tried in all, where some are parts of others.
const MOST_TRIED: usize = 32;

/// A name by which a model is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The name.
    pub(super) name: String,
    /// The format of its weights, where that is told.
    pub(super) format: Option<WeightFormat>,
    /// The log's own name, where this one is a part of it or that of the model that it was tuned from.
    pub(super) of: Option<String>,
}

impl Named {
    /// What has to be said of how the name was come by.
    pub(super) fn note(&self) -> Option<String> {
        let Self { name, of, .. } = self;
        of.as_ref().map(|of| {
            format!("`{of}` has no profile: `{name}` is planned, which has the layers and the width that the log prints")
        })
    }
}

/// Names of the model, with the format that a name tells, the surest first.
pub(super) fn models(evidence: &Evidence, user: &Question) -> Vec<Named> {
    if let Some(model) = &user.model {
        let format = format_in_log(evidence);
        return vec![Named { name: model.clone(), format, of: None }];
    }
    let stated = evidence.format.as_deref().and_then(format_of);
    let mut found: Vec<Named> = Vec::new();
    let mut add = |name: String, format: Option<WeightFormat>, of: Option<&str>| {
        if found.iter().all(|known| known.name != name) {
            found.push(Named { name, format: stated.or(format), of: of.map(str::to_owned) });
        }
    };
    let names = || evidence.models.iter().take(MOST_NAMES).flat_map(|name| plain_names(name));
    for (name, format) in names() {
        add(name, format, None);
    }
    // What is tuned has another name and the shape of what it was tuned from.
    if let (Some((first, format)), (Some(_), Some(_))) = (names().next(), evidence.shape) {
        for base in evidence.bases.iter().take(MOST_NAMES) {
            add(base.clone(), format, Some(&first));
        }
        for (name, format) in names() {
            for part in parts(&name).into_iter().take(MOST_PARTS) {
                add(part, format, Some(&name));
            }
        }
        found.truncate(MOST_TRIED);
    }
    found
}

/// The names within a name: `Qwen3-4B` of `Qwen3-4B-abliterated`, `Qwen2.5-3B-Instruct` of `someone_Qwen2.5-3B-Instruct`; the
/// longest first.
fn parts(name: &str) -> Vec<String> {
    const MOST_BEFORE: usize = 2;
    let name = name.rsplit('/').next().unwrap_or(name);
    let separates = |c: char| matches!(c, '-' | '_' | ' ');
    let ends: Vec<usize> = name.match_indices(separates).map(|(at, _)| at).collect();
    let starts = std::iter::once(0).chain(ends.iter().map(|at| at + 1)).take(MOST_BEFORE + 1);
    let mut found = Vec::new();
    for start in starts {
        for end in std::iter::once(name.len()).chain(ends.iter().rev().copied()) {
            let part = name.get(start..end).filter(|part| part.contains(separates));
            found.extend(part.filter(|part| *part != name).map(str::to_owned));
        }
    }
    // What stands before a name is rarer than what stands behind it.
    found.sort_by_key(|part| std::cmp::Reverse(part.len()));
    found
}

/// The format that the log states, or that a name of its model ends in.
fn format_in_log(evidence: &Evidence) -> Option<WeightFormat> {
    let stated = evidence.format.as_deref().and_then(format_of);
    stated.or_else(|| {
        let mut names = evidence.models.iter().take(MOST_NAMES);
        names.find_map(|name| format_of_name(name.trim_end_matches(['/', '\\'])))
    })
}

/// `Q4_K - Medium` as files are named: `q4_k_m`.
pub(super) fn format_of(label: &str) -> Option<WeightFormat> {
    let label = label.to_ascii_lowercase();
    let (base, size) = label.split_once(" - ").unwrap_or((&label, ""));
    let ending = match size {
        "small" => "_s",
        "medium" => "_m",
        "large" => "_l",
        _ => "",
    };
    let base = base.trim().replace(' ', "_");
    format!("{base}{ending}").parse().ok().or_else(|| base.parse().ok())
}

/// The name of a model in a path, a repository or a sentence, without its format.
fn plain_names(name: &str) -> Vec<(String, Option<WeightFormat>)> {
    const PUBLISHERS: [&str; 3] = ["meta ", "meta-", "mistralai "];
    let name = name.trim().trim_end_matches(['/', '\\']);
    if name.contains("sha256-") {
        return Vec::new();
    }
    let hub = name.split("models--").nth(1).map(|rest| rest.split('/').next().unwrap_or(rest));
    let hub = hub.map(|rest| rest.replacen("--", "/", 1));
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let is_file = ending(last) > 0;
    if !is_file && !name.starts_with(['/', '.', '~']) && name.matches('/').count() == 1 {
        return vec![(name.to_owned(), None)];
    }
    if let Some(hub) = hub {
        return vec![(hub, None)];
    }
    let stem = last.get(..last.len() - ending(last)).unwrap_or(last);
    let stem = stem.split("-00001-of-").next().unwrap_or(stem);
    let (base, format) = without_format(stem);
    let mut names = vec![(base.to_owned(), format)];
    // Some publishers put the name of a model's own before it: `google_gemma-3-12b-it`.
    if let Some((_, rest)) = base.split_once('_').filter(|(publisher, _)| !publisher.is_empty()) {
        names.push((rest.to_owned(), format));
    }
    let lower = base.to_ascii_lowercase();
    for publisher in PUBLISHERS {
        if lower.starts_with(publisher) {
            names.extend(base.get(publisher.len()..).map(|base| (base.to_owned(), format)));
        }
    }
    if format.is_none() && base != last {
        names.push((last.to_owned(), None));
    }
    names
}

/// The length of what a file's name ends in: `.gguf`, or `.bin` until 2023.
fn ending(name: &str) -> usize {
    let Some((stem, ending)) = name.rsplit_once('.') else { return 0 };
    let is_old = stem.to_ascii_lowercase().contains("ggml");
    let is_file =
        ending.eq_ignore_ascii_case("gguf") || (is_old && ending.eq_ignore_ascii_case("bin"));
    if is_file { ending.len() + 1 } else { 0 }
}

/// A file's name without its format, `UD` and the like.
fn without_format(stem: &str) -> (&str, Option<WeightFormat>) {
    const SIGNS: [&str; 8] = ["ud", "i1", "imat", "gguf", "f16", "ggml", "ggmlv2", "ggmlv3"];
    let (mut base, mut format) = (stem, None);
    while let Some((rest, last)) = base.rsplit_once(['-', '.']) {
        let word = last.to_ascii_lowercase();
        let parsed = || {
            let known: Option<WeightFormat> = word.parse().ok();
            // A file of mixed types is planned as the plain one of its name.
            known.or_else(|| {
                word.strip_suffix("_xl").and_then(|word| format!("{word}_m").parse().ok())
            })
        };
        if word.contains('_') && format.is_none() && parsed().is_some() {
            format = parsed();
        } else if !SIGNS.contains(&&*word) && !matches!(&*word, "bf16" | "fp8" | "mxfp4") {
            break;
        } else if format.is_none() {
            format = parsed();
        }
        base = rest;
    }
    (base, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(name: &str) -> (String, Option<String>) {
        let (name, format) = plain_names(name).into_iter().next().unwrap();
        (name, format.map(|format| format.to_string()))
    }

    #[test]
    fn names_are_found_in_paths() {
        for (path, name, format) in [
            ("/m/Qwen2.5-14B-Instruct-Q4_K_M.gguf", "Qwen2.5-14B-Instruct", Some("q4_k_m")),
            ("C:\\m\\Qwen3-8B.Q8_0.gguf", "Qwen3-8B", Some("q8_0")),
            ("/m/gemma-3-27b-it-UD-Q4_K_XL-00001-of-00002.gguf", "gemma-3-27b-it", Some("q4_k_m")),
            ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct-AWQ", None),
            (
                "/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/ab12",
                "Qwen/Qwen3-8B",
                None,
            ),
            ("/models/Qwen1.5-14B-Chat/", "Qwen1.5-14B-Chat", None),
            ("/m/gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b", Some("mxfp4")),
            ("/m/nous-hermes-13b.ggmlv3.q4_K_M.bin", "nous-hermes-13b", Some("q4_k_m")),
            ("Qwen2.5 14B Instruct", "Qwen2.5 14B Instruct", None),
        ] {
            assert_eq!(first(path), (name.to_owned(), format.map(str::to_owned)), "{path}");
        }
        let by_publisher = plain_names("google_gemma-3-12b-it-Q4_K_M.gguf");
        assert!(by_publisher.iter().any(|(name, _)| name == "gemma-3-12b-it"), "{by_publisher:?}");
        assert_eq!(plain_names("/root/.ollama/models/blobs/sha256-ac9b").len(), 0);
        assert_eq!(plain_names("Meta Llama 3.1 8B Instruct")[1].0, "Llama 3.1 8B Instruct");
    }

    #[test]
    fn labels_are_formats() {
        for (label, format) in [
            ("Q4_K - Medium", "q4_k_m"),
            ("Q6_K", "q6_k"),
            ("IQ4_XS - 4.25 bpw", "iq4_xs"),
            ("Q3_K - Large", "q3_k_l"),
        ] {
            assert_eq!(format_of(label).map(|f| f.to_string()).as_deref(), Some(format), "{label}");
        }
        assert_eq!(format_of("unknown, may not work"), None);
    }

    #[test]
    fn names_are_found_within_names() {
        for (name, part) in [
            ("Qwen3-4B-abliterated", "Qwen3-4B"),
            ("Qwen3-235B-A22B-128K", "Qwen3-235B-A22B"),
            ("someone_Qwen2.5-3B-Instruct", "Qwen2.5-3B-Instruct"),
            ("Models Mistralai Mistral Nemo Instruct 2407", "Mistral Nemo Instruct 2407"),
            ("Mistral-Nemo-Instruct-2407-absolute-heresy", "Mistral-Nemo-Instruct-2407"),
        ] {
            let found = parts(name);
            assert!(found.iter().any(|found| found == part), "{name}: {found:?}");
            assert!(!found.iter().any(|found| found == name));
        }
        assert!(parts("qwen").is_empty() && parts("").is_empty() && parts("---").len() < 10);
    }
}
