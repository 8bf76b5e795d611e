//! What the names of GGUF files say: their format, and which of them are parts of one.

/// The GGUF files that are one model in one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The format that the name states, such as `Q4_K_M` or `UD-Q4_K_XL`; the whole name where it states none.
    pub format: String,
    /// The files in order, the first part first.
    pub files: Vec<String>,
}

/// The models among the files of a repository or a folder: vision towers, importance matrices and adapters are none.
///
/// ```
/// use vramplan_sources::groups;
///
/// let names = ["x-Q8_0.gguf", "mmproj-x.gguf", "BF16/x-BF16-00001-of-00002.gguf", "BF16/x-BF16-00002-of-00002.gguf"];
/// let groups = groups(names);
/// let formats: Vec<_> = groups.iter().map(|group| (group.format.as_str(), group.files.len())).collect();
/// assert_eq!(formats, [("BF16", 2), ("Q8_0", 1)]);
/// ```
pub fn groups<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Group> {
    let mut names: Vec<_> = names.into_iter().filter(|name| is_model(name)).collect();
    names.sort_unstable();
    let mut groups: Vec<(String, Group)> = Vec::new();
    for name in names {
        let whole = without_part(name);
        if let Some((_, group)) = groups.iter_mut().find(|(of, _)| of == whole) {
            group.files.push(name.to_owned());
        } else {
            let files = vec![name.to_owned()];
            groups.push((whole.to_owned(), Group { format: format_of(whole), files }));
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The group that a format names: its own name, whatever its case, or else the only one that ends in it.
pub fn of_format<'a>(groups: &'a [Group], format: &str) -> Option<&'a Group> {
    let wanted = format.to_ascii_uppercase();
    let is = |group: &&Group| group.format.to_ascii_uppercase() == wanted;
    if let Some(group) = groups.iter().find(is) {
        return Some(group);
    }
    let mut alike = groups.iter().filter(|group| {
        let format = group.format.to_ascii_uppercase();
        format.strip_suffix(&wanted).is_some_and(|rest| rest.ends_with(['-', '.', '_']))
    });
    alike.next().filter(|_| alike.next().is_none())
}

/// What llama.cpp takes of a repository whose format is not named.
pub const USUAL: &str = "Q4_K_M";

/// Of a name in lower case.
fn has_ending(name: &str, ending: &str) -> bool {
    name.ends_with(ending)
}

fn is_model(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let beside = ["mmproj", "imatrix", "-lora", "adapter", "tokenizer", "vocab-"];
    has_ending(&file, ".gguf") && !beside.iter().any(|word| file.contains(word))
}

/// The name without `-00001-of-00003` and its ending.
fn without_part(name: &str) -> &str {
    let Some(stem) = name.get(..name.len().saturating_sub(".gguf".len())) else { return name };
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let parts = stem.rsplit_once("-of-").filter(|(_, of)| digits(of));
    match parts.and_then(|(stem, _)| stem.rsplit_once('-')) {
        Some((stem, number)) if digits(number) => stem,
        _ => stem,
    }
}

/// The format at the end of a name.
fn format_of(stem: &str) -> String {
    let file = stem.rsplit('/').next().unwrap_or(stem);
    let words: Vec<_> = file.split(['-', '.']).collect();
    let Some(at) = words.iter().rposition(|word| is_format(word)) else { return file.to_owned() };
    let dynamic = at.checked_sub(1).and_then(|before| words.get(before));
    let dynamic = dynamic.is_some_and(|word| matches!(*word, "UD" | "i1"));
    let from = if dynamic { at - 1 } else { at };
    words.get(from..).map_or_else(|| file.to_owned(), |words| words.join("-"))
}

fn is_format(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let quant = word.strip_prefix('I').unwrap_or(&word);
    let quant = quant.strip_prefix('Q').or_else(|| quant.strip_prefix("TQ"));
    let quant = quant.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    quant
        || matches!(word.as_str(), "BF16" | "F16" | "FP16" | "F32" | "FP32")
        || word.starts_with("MXFP4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_from_names_as_publishers_write_them() {
        for (name, format) in [
            ("Qwen3-30B-A3B-Q4_K_M.gguf", "Q4_K_M"),
            ("Qwen3-30B-A3B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
            ("Llama-3.3-70B-Instruct.i1-IQ2_XXS.gguf", "i1-IQ2_XXS"),
            ("mistral-7b-instruct-v0.2.Q5_K_S.gguf", "Q5_K_S"),
            ("gpt-oss-120b-mxfp4-00001-of-00003.gguf", "mxfp4"),
            ("qwen2.5-14b-instruct-fp16-00001-of-00008.gguf", "fp16"),
            ("BF16/GLM-4.6-BF16-00001-of-00015.gguf", "BF16"),
            ("model-TQ1_0.gguf", "TQ1_0"),
            ("ggml-model.gguf", "ggml-model"),
        ] {
            assert_eq!(groups([name])[0].format, format, "{name}");
        }
    }

    #[test]
    fn a_format_is_found_by_its_name_or_the_end_of_it() {
        let names = ["x-Q4_K_M.gguf", "x-UD-Q4_K_M.gguf", "x-UD-Q2_K_XL.gguf", "x.i1-IQ1_S.gguf"];
        let groups = groups(names);
        let found = |format| of_format(&groups, format).map(|group| group.files[0].as_str());
        assert_eq!(found("q4_k_m"), Some("x-Q4_K_M.gguf"));
        assert_eq!(found("UD-Q4_K_M"), Some("x-UD-Q4_K_M.gguf"));
        assert_eq!(found("Q2_K_XL"), Some("x-UD-Q2_K_XL.gguf"));
        assert_eq!(found("IQ1_S"), Some("x.i1-IQ1_S.gguf"));
        assert_eq!(found("K_M"), None);
        assert_eq!(found("Q8_0"), None);
    }

    #[test]
    fn what_lies_beside_models_is_none() {
        let names =
            ["mmproj-F16.gguf", "x.imatrix.gguf", "imatrix.gguf", "lora-adapter.gguf", "x.bin"];
        assert!(groups(names).is_empty());
    }
}
