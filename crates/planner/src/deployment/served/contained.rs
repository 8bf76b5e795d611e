//! What a container runs: its own command, or the program of its image with its arguments.

use super::peel::{IMAGES, runs_an_engine, split, variable};
use super::{Served, Unread, served_of};

/// Programs of images that go by other names than those known, by a part of these.
const NAMED_AFTER: [(&str, &[&str]); 3] = [
    ("vllm", &["vllm", "serve"]),
    ("sglang", &["sglang.launch_server"]),
    ("llama.cpp", &["llama-server"]),
];

/// Flags without which arguments are not those of an engine whose image only has its name.
const MODELS: [&str; 5] = ["--model", "--model-path", "-m", "-hf", "--hf-repo"];

/// What a container runs, and its words. Variables go before it as in a shell.
pub(in crate::deployment) fn served_by(
    image: Option<&str>,
    own: &[String],
    variables: &[(String, String)],
) -> Result<(Served, Vec<String>), Unread> {
    let known = image.and_then(known);
    let words = whole(image, known.as_ref(), own).ok_or_else(|| Unread::Program(String::new()))?;
    let set = variables.iter().map(|(name, value)| format!("{name}={value}"));
    let set = set.filter(|set| variable(set).is_some());
    let command: Vec<String> = set.chain(words.iter().cloned()).collect();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let tag = known.and_then(|known| known.tag);
    Ok((served_of(&command, tag)?, words))
}

/// An image whose program is known.
struct Known<'a> {
    /// The program that it starts with its arguments, where it starts one.
    program: Option<&'static [&'static str]>,
    /// Its tag, which names the engine's release.
    tag: Option<&'a str>,
}

fn known(image: &str) -> Option<Known<'_>> {
    let (_, program) = IMAGES.iter().find(|(name, _)| image.contains(name))?;
    let tag = image.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    let is_others = image.contains("lmcache/");
    Some(Known { program: *program, tag: tag.filter(|_| !is_others) })
}

/// The words that a container runs in all.
fn whole(image: Option<&str>, known: Option<&Known>, own: &[String]) -> Option<Vec<String>> {
    let plain: Vec<&str> = own.iter().map(String::as_str).collect();
    if runs_an_engine(&split(&plain)) && !is_another_server(image, own) {
        return Some(own.to_vec());
    }
    let started = known.and_then(|known| known.program);
    let program = started.or_else(|| named_after(image?, own))?;
    // The image of llama.cpp's with all programs takes the one to run as a flag; who says vLLM's verb again means it once.
    let first = own.first().map(String::as_str);
    let is_again = first == Some("--server") || (first == Some("serve") && program.len() > 1);
    let rest = own.get(usize::from(is_again)..).unwrap_or_default();
    // Flags, a repository, or one of Ollama's verbs: not another program.
    let is_argument =
        |word: &String| word.starts_with('-') || (word.contains('/') && !word.starts_with('/'));
    if program.len() > 1 && !rest.first().is_none_or(is_argument) {
        return None;
    }
    Some(program.iter().map(|&word| word.to_owned()).chain(rest.iter().cloned()).collect())
}

/// Whether what looks like llama.cpp's `server` of 2024 is another program of that name.
fn is_another_server(image: Option<&str>, own: &[String]) -> bool {
    let name = own.first().and_then(|word| word.rsplit('/').next());
    let is_general = matches!(name, Some("server" | "main"));
    is_general && !image.is_some_and(|image| image.contains("llama"))
}

/// The program of an image that has an engine's name, where its arguments name a model.
fn named_after(image: &str, own: &[String]) -> Option<&'static [&'static str]> {
    let name = image.rsplit('/').next().unwrap_or(image);
    let flag = |word: &String| word.split('=').next().unwrap_or(word).replace('_', "-");
    own.iter().find(|word| MODELS.contains(&flag(word).as_str()))?;
    NAMED_AFTER.iter().find(|(part, _)| name.contains(part)).map(|(_, program)| *program)
}
