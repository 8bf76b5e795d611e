//! A command without what only runs it: variables, `sudo`, `docker run`, `bash -c`, `uv run`, `python -m`.

use std::borrow::Cow;
use std::path::Path;

use super::engine;

/// Programs that run the words behind them.
const RUNNERS: [&str; 11] =
    ["env", "sudo", "nohup", "time", "exec", "nice", "$", "#", "then", "else", "do"];

/// Programs that run what stands behind flags of their own.
const LAUNCHERS: [&str; 17] = [
    "uv",
    "uvx",
    "poetry",
    "pipx",
    "pixi",
    "hatch",
    "rye",
    "conda",
    "mamba",
    "micromamba",
    "srun",
    "numactl",
    "taskset",
    "torchrun",
    "accelerate",
    "mpirun",
    "ray",
];

/// Programs that run containers.
pub(super) const CONTAINERS: [&str; 3] = ["docker", "podman", "nerdctl"];

/// Shells, which run a text.
const SHELLS: [&str; 3] = ["bash", "sh", "zsh"];

/// Images of engines, and the program that each starts with its arguments; none where they name it themselves.
pub(super) const IMAGES: [(&str, Option<&[&str]>); 10] = [
    ("vllm/vllm-openai", Some(&["vllm", "serve"])),
    ("lmcache/vllm-openai", Some(&["vllm", "serve"])),
    ("ggml-org/llama.cpp", Some(&["llama-server"])),
    ("ggerganov/llama.cpp", Some(&["llama-server"])),
    ("ollama/ollama", Some(&["ollama"])),
    ("huggingface/text-generation-inference", Some(&["text-generation-launcher"])),
    ("lmsysorg/sglang", None),
    ("rocm/vllm", None),
    ("rocm/sgl-dev", None),
    ("nvidia/vllm", None),
];

/// Runners within runners that are taken off: more than anybody types.
const DEEPEST: u8 = 16;

/// A command's own words, and the variables that it is given.
#[derive(Default)]
pub(super) struct Peeled<'a> {
    depth: u8,
    pub(super) variables: Vec<(&'a str, &'a str)>,
    pub(super) words: Vec<&'a str>,
    /// The tag of the container's image.
    pub(super) tag: Option<&'a str>,
}

/// The words of a command, those of a text that a shell runs or that was pasted as one word among them.
pub(super) fn split(command: &[&str]) -> Vec<String> {
    let text = match command {
        [one] if one.contains(char::is_whitespace) => Some((0, *one)),
        words => shell_text(words),
    };
    let Some((at, text)) = text else {
        return command.iter().map(|word| (*word).to_owned()).collect();
    };
    let text = &*lines_as_commands(text);
    let plain = || text.split_whitespace().map(str::to_owned).collect();
    let words = shlex::split(text).unwrap_or_else(plain);
    let inner: Vec<&str> = words.iter().map(String::as_str).collect();
    // What stands before a shell only runs it, but for variables.
    let before = command.get(..at).unwrap_or_default().iter().map(|word| assigned(word));
    let variables = before.filter(|word| variable(word).is_some()).map(str::to_owned);
    variables.chain(one_command(&split(&inner))).collect()
}

/// A script's lines as commands in a line. A line that begins with a flag goes on with the one before: that one's end was
/// lost where it was copied.
fn lines_as_commands(text: &str) -> Cow<'_, str> {
    if !text.trim().contains('\n') {
        return text.into();
    }
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut out = String::with_capacity(text.len());
    // A quotation may go over lines.
    let mut quote = None;
    for line in text.lines() {
        let line = if quote.is_none() { line.trim() } else { line };
        if quote.is_none() && (line.is_empty() || line.starts_with('#')) {
            continue;
        }
        let goes_on = quote.is_some() || line.starts_with('-') || out.is_empty();
        out.push_str(if quote.is_some() {
            "\n"
        } else if goes_on {
            " "
        } else {
            " ; "
        });
        out.push_str(line);
        for c in line.chars().filter(|c| ['\'', '"'].contains(c)) {
            match quote {
                None => quote = Some(c),
                Some(open) if open == c => quote = None,
                Some(_) => {}
            }
        }
    }
    out.into()
}

/// The text that a shell runs, and where the shell stands.
fn shell_text<'a>(words: &[&'a str]) -> Option<(usize, &'a str)> {
    let at = words.iter().position(|word| SHELLS.contains(&file(word).as_str()))?;
    let rest = words.get(at + 1..)?;
    let flag = rest.iter().position(|word| word.starts_with('-') && word.ends_with('c'))?;
    Some((at, rest.get(flag + 1)?))
}

/// Of several commands the one that runs an engine, with the variables that others export; the last, where none does.
fn one_command(words: &[String]) -> Vec<String> {
    let mut exported: Vec<String> = Vec::new();
    let mut commands: Vec<Vec<String>> = Vec::new();
    let is_between = |word: &&str| ["&&", ";", "&", "||", "|"].contains(word);
    let words: Vec<&str> = words.iter().flat_map(|word| ended(word)).collect();
    for command in words.split(is_between) {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match command {
            ["export", variables @ ..] => exported.extend::<Vec<_>>(owned(variables)),
            [] => {}
            words => commands.push(owned(words)),
        }
    }
    let engines = || commands.iter().enumerate().filter(|(_, command)| runs_an_engine(command));
    // Ollama's server names no model; what is pulled or run beside it does.
    let names_one = engines().find(|(_, command)| !is_ollama_server(command));
    let engine = names_one.or_else(|| engines().next()).map(|(at, _)| at);
    let at = engine.unwrap_or_else(|| commands.len().saturating_sub(1));
    exported.extend(commands.into_iter().nth(at).unwrap_or_default());
    exported
}

/// A word, and the end of a command where it is written behind it: `log;`.
fn ended(word: &str) -> Vec<&str> {
    match word.strip_suffix(';') {
        Some("") | None => vec![word],
        Some(word) => vec![word, ";"],
    }
}

fn is_ollama_server(command: &[String]) -> bool {
    matches!(command, [.., program, verb] if file(program) == "ollama" && verb == "serve")
}

/// Whether a command runs a program that is read.
pub(super) fn runs_an_engine(command: &[String]) -> bool {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    engine(&peel(&words).words).is_some()
}

/// Takes off what only runs a command.
pub(super) fn peel<'a>(command: &[&'a str]) -> Peeled<'a> {
    let mut peeled = Peeled::default();
    peeled.take(command);
    peeled
}

fn file(word: &str) -> String {
    Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl<'a> Peeled<'a> {
    fn take(&mut self, command: &[&'a str]) {
        if self.depth == DEEPEST {
            self.words = command.to_vec();
            return;
        }
        self.depth += 1;
        let mut words = command;
        while let [first, rest @ ..] = words {
            if let Some(variable) = variable(first) {
                self.variables.push(variable);
            } else if !RUNNERS.contains(first) {
                break;
            }
            words = rest;
        }
        let program = words.first().map(|word| file(word)).unwrap_or_default();
        let inner = match (program.as_str(), words) {
            (program, [_, verb, rest @ ..]) if CONTAINERS.contains(&program) => {
                return self.contained(verb, rest);
            }
            (program, [_, rest @ ..]) if LAUNCHERS.contains(&program) => {
                (0..rest.len()).filter_map(|at| rest.get(at..)).find(|words| is_run(words))
            }
            (program, [_, rest @ ..]) if program.starts_with("python") => {
                self.words = of_python(rest).unwrap_or(words).to_vec();
                return;
            }
            _ => None,
        };
        match inner {
            Some(inner) => self.take(inner),
            None => self.words = words.to_vec(),
        }
    }

    /// What runs in a container: the arguments behind an image that is known, or behind a container's name.
    fn contained(&mut self, verb: &str, words: &[&'a str]) {
        match verb {
            "run" => self.started(words),
            "exec" => match behind_the_container(words) {
                Some(inner) => self.take(inner),
                None => self.words = vec!["docker"],
            },
            _ => self.words = vec!["docker"],
        }
    }

    fn started(&mut self, words: &[&'a str]) {
        let mut entry = None;
        for (at, word) in words.iter().enumerate() {
            let next = words.get(at + 1).copied();
            match word.strip_prefix("--entrypoint") {
                Some("") => entry = next,
                Some(given) => entry = given.strip_prefix('=').or(entry),
                None => {}
            }
            self.variables.extend(variable(assigned(word)));
            let is_image = |image: &str| word.contains(image) && !word.contains('=');
            let Some((_, program)) = IMAGES.iter().find(|(image, _)| is_image(image)) else {
                continue;
            };
            self.tag = word.rsplit_once(':').map(|(_, tag)| tag);
            let rest = words.get(at + 1..).unwrap_or_default();
            // The image of llama.cpp's with all programs takes the one to run as a flag.
            let rest = rest.strip_prefix(&["--server"]).unwrap_or(rest);
            let program =
                entry.map(|entry| vec![entry]).or_else(|| Some(program.as_ref()?.to_vec()));
            return match program {
                Some(program) => {
                    // Who names the program again means the one that the image starts.
                    let again = rest.strip_prefix(program.as_slice()).unwrap_or(rest);
                    let all: Vec<&str> = program.into_iter().chain(again.iter().copied()).collect();
                    self.take(&all);
                }
                None => self.take(rest),
            };
        }
        self.words = vec!["docker"];
    }
}

/// The words behind a container's name, which `docker exec` runs in it.
fn behind_the_container<'a, 'b>(words: &'b [&'a str]) -> Option<&'b [&'a str]> {
    const WITH_VALUE: [&str; 6] = ["-e", "--env", "-u", "--user", "-w", "--workdir"];
    let mut at = 0;
    while words.get(at)?.starts_with('-') {
        at += if WITH_VALUE.contains(words.get(at)?) { 2 } else { 1 };
    }
    words.get(at + 1..)
}

/// Whether words behind a launcher are the program and its arguments.
fn is_run(words: &[&str]) -> bool {
    let is_module = matches!(words, [python, "-m", ..] if file(python).starts_with("python"));
    is_module || engine(words).is_some()
}

/// The module or the script that Python runs, with its arguments.
fn of_python<'a, 'b>(words: &'b [&'a str]) -> Option<&'b [&'a str]> {
    let module = words.iter().position(|word| *word == "-m");
    let script = words.iter().position(|word| !word.starts_with('-'));
    match (module, script) {
        (Some(module), script) if script.is_none_or(|script| module < script) => {
            words.get(module + 1..)
        }
        (_, Some(script)) => words.get(script..).filter(|words| engine(words).is_some()),
        _ => None,
    }
}

/// What `--env=NAME=value` and `-eNAME=value` assign.
fn assigned(word: &str) -> &str {
    word.strip_prefix("--env=").or_else(|| word.strip_prefix("-e")).unwrap_or(word)
}

/// `NAME=value`.
pub(super) fn variable(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (!name.is_empty() && name.bytes().all(plain)).then_some((name, value))
}
