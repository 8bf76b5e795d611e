//! How a run says which phase it is in: lines on a pipe, patterns in its output, or the clock.

use std::time::Duration;

use regex::bytes::Regex;
use serde_json::{Map, Value};

use super::recording::By;
use vramplan_planner::estimate::Component;

use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// Something that a run says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A phase begins; without a name, the one before it ends and none begins.
    Phase(Option<String>, By),
    /// What a part of the program holds.
    Holds(Component, Bytes),
}

/// The longest name of a phase, in characters.
const LONGEST: usize = 64;

/// What a line of the pipe says: `{"phase":"prefill"}`, `{"phase":null}`, or
/// `{"component":"weights","bytes":1073741824}`.
///
/// # Errors
/// What is wrong with it, where it says nothing that is known.
pub fn parse_line(line: &str) -> Result<Mark, String> {
    let wrong =
        || format!("`{}` is not a phase line: expected `{{\"phase\":\"NAME\"}}`", printable(line));
    let object: Map<String, Value> = serde_json::from_str(line).map_err(|_| wrong())?;
    match (object.get("phase"), object.get("component"), object.get("bytes")) {
        (Some(Value::Null), None, None) => Ok(Mark::Phase(None, By::Pipe)),
        (Some(Value::String(phase)), None, None) => {
            Ok(Mark::Phase(Some(name(phase.clone())?), By::Pipe))
        }
        (None, Some(Value::String(component)), Some(bytes)) => {
            let bytes = bytes.as_u64().ok_or_else(wrong)?;
            let unknown = || format!("`{}` is not a component", printable(component));
            let component = Component::from_id(component).ok_or_else(unknown)?;
            Ok(Mark::Holds(component, Bytes::new(bytes)))
        }
        _ => Err(wrong()),
    }
}

/// A name fit for a table.
fn name(text: String) -> Result<String, String> {
    let fit = !text.trim().is_empty() && text.chars().count() <= LONGEST;
    if fit && printable(&text) == text {
        return Ok(text);
    }
    Err(format!(
        "`{}` is not the name of a phase: expected 1 to {LONGEST} characters",
        printable(&text)
    ))
}

/// `--phase NAME=REGEX`: the phase begins at the first line that matches, and again at later ones.
#[derive(Clone, Debug)]
pub struct Pattern {
    name: String,
    regex: Regex,
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{}` is not a pattern: expected NAME=REGEX", printable(text));
        let (phase, regex) = text.split_once('=').ok_or_else(malformed)?;
        let regex = Regex::new(regex).map_err(|error| error.to_string())?;
        Ok(Self { name: name(phase.trim().to_owned())?, regex })
    }
}

impl Pattern {
    /// The phase that a line of output begins, if it does.
    pub fn matches(&self, line: &[u8]) -> Option<Mark> {
        let found = self.regex.is_match(line);
        found.then(|| Mark::Phase(Some(self.name.clone()), By::Output))
    }
}

/// `--phase-at NAME=SECONDS`: the phase begins that long after the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// The phase.
    pub name: String,
    /// When it begins.
    pub after: Duration,
}

impl std::str::FromStr for Timed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`{}` is not the time of a phase: expected NAME=SECONDS, such as `decode=12.5`",
                printable(text)
            )
        };
        let (phase, seconds) = text.split_once('=').ok_or_else(malformed)?;
        let seconds = seconds.trim().trim_end_matches('s');
        let seconds: f64 = seconds.parse().map_err(|_| malformed())?;
        let after = Duration::try_from_secs_f64(seconds).map_err(|_| malformed())?;
        Ok(Self { name: name(phase.trim().to_owned())?, after })
    }
}

/// What programs print when a GPU's memory is exhausted.
const OUT_OF_MEMORY: [&str; 7] = [
    "cuda out of memory",
    "outofmemoryerror",
    "cuda_error_out_of_memory",
    "cudamalloc failed: out of memory",
    "cuda error: out of memory",
    "out of memory on device",
    "cublas_status_alloc_failed",
];

/// Whether a line of output says that memory is exhausted.
pub fn says_out_of_memory(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    // What Rust says when it cannot allocate in main memory.
    let of_rust = line.contains("memory allocation of ") && line.contains(" bytes failed");
    of_rust || OUT_OF_MEMORY.iter().any(|text| line.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_pipe_are_read() {
        let phase = |name: &str| Ok(Mark::Phase(Some(name.to_owned()), By::Pipe));
        assert_eq!(parse_line(r#"{"phase":"prefill"}"#), phase("prefill"));
        assert_eq!(parse_line(r#"{"phase":null}"#), Ok(Mark::Phase(None, By::Pipe)));
        let holds = Mark::Holds(Component::Weights, Bytes::MIB);
        assert_eq!(parse_line(r#"{"component":"weights","bytes":1048576}"#), Ok(holds));
    }

    #[test]
    fn anything_else_on_the_pipe_is_refused() {
        for line in
            ["", "prefill", "{}", r#"{"phase":""}"#, r#"{"phase":7}"#, r#"{"phase":"a\u001bb"}"#]
        {
            assert!(parse_line(line).is_err(), "{line}");
        }
        let unknown = parse_line(r#"{"component":"wieghts","bytes":1}"#).unwrap_err();
        assert_eq!(unknown, "`wieghts` is not a component");
        assert!(parse_line(&format!("{{\"phase\":\"{}\"}}", "x".repeat(65))).is_err());
    }

    #[test]
    fn patterns_and_times_are_parsed() {
        let pattern: Pattern = "decode=^generat(ing|ed)".parse().unwrap();
        assert_eq!(
            pattern.matches(b"generating 3"),
            Some(Mark::Phase(Some("decode".to_owned()), By::Output))
        );
        assert_eq!(pattern.matches(b"not generating"), None);
        assert!("decode".parse::<Pattern>().is_err());
        assert!("decode=(".parse::<Pattern>().is_err());
        let timed: Timed = "decode=1.5s".parse().unwrap();
        assert_eq!(timed.after, Duration::from_millis(1500));
        for wrong in ["decode", "decode=x", "decode=-1", "decode=inf", "=1"] {
            assert!(wrong.parse::<Timed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn exhausted_memory_is_recognised_as_each_library_says_it() {
        for line in [
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4,096 MiB on device 0: cudaMalloc failed: out of memory",
            "Error: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "memory allocation of 1048576 bytes failed",
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        ] {
            assert!(says_out_of_memory(line.as_bytes()), "{line}");
        }
        assert!(!says_out_of_memory(b"0 bytes out of memory budget used"));
    }
}
