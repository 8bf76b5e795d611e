//! Lines of logs, a file for every program that writes them. A line that none of them knows says nothing.

mod arguments;
mod command;
mod device;
mod kernel;
mod llama_cpp;
mod nvidia_smi;
mod ollama;
mod others;
mod settings;
mod sglang;
mod torch;
mod vllm;

use super::Evidence;
use super::evidence::{Failure, FailureKind};
use crate::text::printable_message;

/// A line of a log, safe to look at.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// What it says.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Whether it says one of these.
    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }

    /// A failure that this line tells.
    fn failure(&self, kind: FailureKind) -> Failure {
        Failure {
            kind,
            place: None,
            asked: None,
            line: self.number,
            text: printable_message(self.text.trim()),
            context: 0,
            went_on: false,
        }
    }

    /// The value of a setting as llama.cpp prints it: `n_ctx      = 4096`.
    fn setting(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.text;
        loop {
            let at = rest.find(name)?;
            let begins = rest.get(..at)?.chars().next_back().is_none_or(|c| c == ' ' || c == ':');
            rest = rest.get(at + name.len()..)?;
            if let (true, Some(value)) = (begins, rest.trim_start().strip_prefix('=')) {
                return Some(value.trim());
            }
        }
    }
}

/// What lines of a log that are read together need to remember.
#[derive(Debug, Default)]
pub struct Grammar {
    joined: Joined,
    nvidia_smi: nvidia_smi::Table,
    shell: Option<String>,
}

impl Grammar {
    /// Reads a line.
    pub fn line(&mut self, number: u64, text: &str, evidence: &mut Evidence) {
        let line = Line { number, text };
        if text.is_empty() {
            self.joined.end(evidence);
            return;
        }
        self.command(line, evidence);
        llama_cpp::read(line, evidence);
        ollama::read(line, evidence);
        vllm::read(line, evidence);
        sglang::read(line, evidence);
        others::read(line, evidence);
        torch::line(line, evidence);
        device::read(line, evidence);
        kernel::read(line, evidence);
        self.nvidia_smi.read(line, evidence);
        self.joined.line(line, evidence);
    }

    /// The log ends.
    pub fn finish(&mut self, evidence: &mut Evidence) {
        self.joined.end(evidence);
        if let Some(line) = self.shell.take() {
            command::read(Line { number: evidence.lines, text: &line }, evidence);
        }
    }

    /// A command line, which may go on behind a backslash.
    fn command(&mut self, line: Line<'_>, evidence: &mut Evidence) {
        const LONGEST: usize = 8 << 10;
        let text = line.text.trim_end();
        match self.shell.take() {
            Some(mut begun) if begun.len() < LONGEST => {
                begun.push(' ');
                begun.push_str(text.trim_end_matches(['\\', '`', '^']).trim());
                if text.ends_with(['\\', '`', '^']) {
                    self.shell = Some(begun);
                } else {
                    command::read(Line { number: line.number, text: &begun }, evidence);
                }
            }
            _ if text.ends_with('\\') && command::begins(text) => {
                self.shell = Some(text.trim_end_matches('\\').trim_end().to_owned());
            }
            _ => command::read(line, evidence),
        }
    }
}

/// Messages that people and terminals break over several lines.
#[derive(Debug, Default)]
struct Joined {
    begun: Option<Message>,
    lines: u64,
}

/// A message as far as it is known.
#[derive(Debug)]
pub struct Message {
    /// The line that it begins in.
    number: u64,
    /// Its lines with a space between them.
    text: String,
    /// And without: a terminal breaks words where its width ends.
    tight: String,
}

impl Message {
    /// What a reader finds where lines are joined without a space, or else with one: a number that is broken reads as a
    /// smaller one where there is a space in it.
    fn find<T>(&self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        read(&self.tight).or_else(|| read(&self.text))
    }

    /// The first line of it, with all that is known.
    fn line(&self) -> Line<'_> {
        Line { number: self.number, text: &self.text }
    }
}

/// How such messages begin, and what is behind the last word that is read of them.
const MESSAGES: [(&str, &[&str]); 9] = [
    ("CUDA out of memory", TORCH_ENDS),
    ("HIP out of memory", TORCH_ENDS),
    ("XPU out of memory", TORCH_ENDS),
    ("Tried to allocate", TORCH_ENDS),
    ("To serve at least one request", &["when initializing the engine", "for more details"]),
    ("s max seq len", &["when initializing the engine", "for more details"]),
    ("Free memory on device", &["GiB). ", "other processes"]),
    ("Some modules are dispatched", &["GPU RAM", "fit"]),
    ("would exceed allowed memory", &["PyTorch limit"]),
];
const TORCH_ENDS: &[&str] = &[
    "unallocated",
    "reserved in total by PyTorch",
    "MiB cached)",
    "GiB cached)",
    "KiB cached)",
    "warming up sampler",
];

impl Joined {
    /// Lines of a message at most.
    const MOST: u64 = 12;

    fn line(&mut self, line: Line<'_>, evidence: &mut Evidence) {
        let begins = MESSAGES.iter().find(|(begin, _)| line.text.contains(begin));
        match (&mut self.begun, begins) {
            // What continues a message may hold words that begin one.
            (Some(begun), _) if self.lines < Self::MOST && !is_repeated(&begun.text, line.text) => {
                begun.text.push(' ');
                begun.text.push_str(line.text.trim());
                begun.tight.push_str(line.text.trim());
                self.lines += 1;
            }
            (_, Some(_)) => {
                self.end(evidence);
                let text = line.text.to_owned();
                self.begun = Some(Message { number: line.number, tight: text.clone(), text });
                self.lines = 1;
            }
            (Some(_), None) => self.end(evidence),
            (None, None) => return,
        }
        if self.begun.as_ref().is_some_and(|begun| is_whole(&begun.text)) {
            self.end(evidence);
        }
    }

    fn end(&mut self, evidence: &mut Evidence) {
        self.lines = 0;
        let Some(message) = self.begun.take() else { return };
        torch::read(&message, evidence);
        vllm::message(&message, evidence);
    }
}

/// Whether a message is there to the last word that is read.
fn is_whole(text: &str) -> bool {
    let begun = MESSAGES.iter().find(|(begin, _)| text.contains(begin));
    begun.is_none_or(|(_, ends)| ends.iter().any(|end| text.contains(end)))
}

/// Whether a line says the beginning of a message once more.
fn is_repeated(text: &str, line: &str) -> bool {
    let both = |(begin, _): &&(&str, &[&str])| text.contains(begin) && line.contains(begin);
    MESSAGES.iter().any(|message| both(&message))
}
