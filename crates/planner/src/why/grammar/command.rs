//! Command lines that people paste above a log, and that programs print of what they start.

use super::Line;
use crate::deployment::{Question, seen};
use crate::why::scan::after;
use crate::why::{Engine, Evidence};

/// Whether a line begins a command that is known.
pub fn begins(text: &str) -> bool {
    const WORDS: [&str; 7] = [
        "llama-",
        "vllm serve",
        "vllm.entrypoints",
        "sglang",
        "ollama runner",
        "llama_cpp.server",
        "koboldcpp",
    ];
    WORDS.iter().any(|word| text.contains(word)) || is_main(text)
}

/// llama.cpp's program until mid-2024, by a name that others have: `./main -m model.gguf`.
fn is_main(text: &str) -> bool {
    let named = ["/main ", "\\main ", "main.exe "].iter().any(|name| text.contains(name));
    let model = [".gguf", ".bin"].iter().any(|ending| text.contains(ending));
    (named || text.starts_with("main ")) && text.contains(" -m ") && model
}

/// Takes what a command line says.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    if !begins(line.text) && !line.text.contains("ollama_llama_server") {
        return;
    }
    // Ollama says what it starts in quotes.
    let quoted = after(line.text, "cmd=\"").map(|rest| rest.split('"').next().unwrap_or(rest));
    let text = quoted.unwrap_or(line.text);
    let Some(found) = seen(text) else { return };
    let engine = match found.program {
        "vllm" => Engine::Vllm,
        "sglang" => Engine::Sglang,
        "ollama" => Engine::Ollama,
        "koboldcpp" => Engine::KoboldCpp,
        _ => Engine::LlamaCpp,
    };
    evidence.is(engine, line.number);
    if let Some(model) = found.question.model.as_deref() {
        evidence.name(model);
    }
    if evidence.static_share.is_none() {
        evidence.static_share = found.static_share.map(|share| crate::text::printable(&share));
    }
    // What is told later of the same run is surer: it is what became of the flags.
    let told = std::mem::take(&mut evidence.run.question);
    evidence.run.question = told.or(Question { model: None, ..found.question });
}
