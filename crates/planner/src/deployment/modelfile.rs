//! Ollama's Modelfile: what it is made from, and the settings of a run that it has.

use super::Question;
use super::command_line::{cells, parsed};
use crate::spec::Runtime;

/// Lines that are read.
const MOST_LINES: usize = 10_000;

/// What a Modelfile says of a plan; nothing where a text is none, which begins with `FROM` but for comments.
///
/// ```
/// use vramplan_planner::deployment::modelfile;
///
/// let question = modelfile("FROM qwen3:8b\nPARAMETER num_ctx 16384\n").unwrap();
/// assert_eq!((question.model.as_deref(), question.context), (Some("qwen3:8b"), Some(16384)));
/// ```
pub fn modelfile(text: &str) -> Option<Question> {
    let mut question = Question { runtime: Some(Runtime::Ollama), ..Question::default() };
    let mut is_inside = false;
    for line in text.lines().take(MOST_LINES) {
        // A system prompt or a template may go over lines, of which none is an instruction.
        let was_inside = is_inside;
        is_inside ^= line.matches("\"\"\"").count() % 2 == 1;
        if was_inside {
            continue;
        }
        let (instruction, rest) =
            line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        match instruction.to_ascii_uppercase().as_str() {
            "" => {}
            comment if comment.starts_with('#') => {}
            "FROM" if !rest.is_empty() => question.model = Some(rest.trim_matches('"').to_owned()),
            _ if question.model.is_none() => return None,
            "PARAMETER" => parameter(&mut question, rest),
            "ADAPTER" if !rest.is_empty() => question.lora.push(rest.trim_matches('"').to_owned()),
            _ => {}
        }
    }
    question.own_context = question.context.is_none();
    question.model.is_some().then_some(question)
}

/// A setting of a run; those that change no memory, and what cannot be read, are left.
fn parameter(question: &mut Question, text: &str) {
    let Some((name, value)) = text.split_once(char::is_whitespace) else { return };
    let value = value.trim();
    match name {
        "num_ctx" => drop(cells(question, value)),
        "num_gpu" => question.ngl = parsed(value).ok().or(question.ngl),
        // Of a batch and of a micro-batch.
        "num_batch" => question.prefill_chunk = value.parse().ok().or(question.prefill_chunk),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Count;

    #[test]
    fn a_modelfile_is_read() {
        let text = "# mine\n\nfrom ./qwen.gguf\nPARAMETER num_ctx 8192\nparameter num_gpu 20\nPARAMETER temperature 1\n\
            SYSTEM \"\"\"You are.\nFROM nowhere\n\"\"\"\nTEMPLATE x\n";
        let question = modelfile(text).unwrap();
        assert_eq!(question.model.as_deref(), Some("./qwen.gguf"));
        assert_eq!((question.cache_tokens, question.ngl), (Some(8192), Some(Count::Some(20))));
        for other in ["", "# FROM x", "FROM", "SELECT 1\nFROM x", "gpu = 'L4'", "{}"] {
            assert_eq!(modelfile(other), None, "{other}");
        }
    }
}
