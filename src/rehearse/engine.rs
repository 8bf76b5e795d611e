//! What engines say of themselves in their output. Each line is looked at by itself; what is not known says
//! nothing.

use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;
use vramplan_planner::why::Printed;

/// An engine that is told by what it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// llama.cpp, in any program around it.
    LlamaCpp,
    /// vLLM.
    Vllm,
}

impl Engine {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vllm",
        }
    }
}

/// What a buffer of an engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Weights.
    Weights,
    /// Keys and values, recurrent states.
    Cache,
    /// What a pass computes.
    Compute,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is a line of this engine.
    Is(Engine),
    /// Weights are read from here on.
    Loads(Engine),
    /// The weights are there: caches and buffers are made from here on.
    MakesContext(Engine),
    /// A buffer of this size is on a card, by the number that CUDA gives it.
    Holds {
        /// Which engine says so.
        engine: Engine,
        /// What for.
        part: Part,
        /// On which card; none where the engine does not say.
        device: Option<usize>,
        /// How much, as it prints it.
        size: Printed,
    },
    /// A server waits for requests.
    Serves,
    /// What it was given is too small for it, in its words.
    NoRoom(String),
}

/// What a line of output says, if anything.
pub fn facts(line: &[u8]) -> Vec<Fact> {
    let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST)]);
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let mut facts = Vec::new();
    if let Some(fact) = buffer(&text) {
        facts.push(fact);
    } else if has(LLAMA_LOADS) {
        facts.push(Fact::Loads(Engine::LlamaCpp));
    } else if has(LLAMA_CONTEXT) {
        facts.push(Fact::MakesContext(Engine::LlamaCpp));
    } else if has(LLAMA) {
        facts.push(Fact::Is(Engine::LlamaCpp));
    } else if text.contains("Starting to load model") {
        facts.push(Fact::Loads(Engine::Vllm));
    } else if let Some(size) = after(&text, "Model loading took ") {
        facts.push(Fact::MakesContext(Engine::Vllm));
        facts.push(of_vllm(Part::Weights, size));
    } else if let Some(size) = after(&text, "Available KV cache memory: ") {
        facts.push(of_vllm(Part::Cache, size));
    }
    if has(SERVES) {
        facts.push(Fact::Serves);
    }
    if let Some(at) = NO_ROOM.iter().find_map(|words| text.find(words)) {
        facts.push(Fact::NoRoom(printable(text[at..].trim())));
    }
    facts
}

/// Bytes of a line that are looked at.
const LONGEST: usize = 512;
/// How llama.cpp begins to read a model.
const LLAMA_LOADS: &[&str] =
    &["load_tensors: loading model tensors", "llama_model_loader: loaded meta data"];
/// How it begins to make a context.
const LLAMA_CONTEXT: &[&str] =
    &["llama_context: constructing llama_context", "llama_new_context_with_model: n_ctx"];
/// What no other program prints.
const LLAMA: &[&str] =
    &["ggml_cuda_init:", "llama_model_loader:", "llama_context:", "llama_kv_cache:"];
/// What servers say when they wait for requests; llama.cpp's says it otherwise since 0.5.0.
const SERVES: &[&str] = &[
    "server is listening on",
    "llama_server: listening on",
    "Application startup complete",
    "Uvicorn running on",
];

/// What vLLM says when its share of the card holds no cache, or none of a request's length.
const NO_ROOM: &[&str] = &[
    "No available memory for the cache blocks",
    "which is larger than the available KV cache memory",
    "is larger than the maximum number of tokens that can be stored in KV cache",
];

/// `load_tensors:  CUDA0 model buffer size =  4403.49 MiB`
fn buffer(text: &str) -> Option<Fact> {
    let (before, after) = text.split_once(" buffer size")?;
    let mut words = before.split_whitespace().rev();
    let part = match words.next()? {
        "model" => Part::Weights,
        "KV" | "RS" => Part::Cache,
        "compute" => Part::Compute,
        _ => return None,
    };
    let device = words.next()?.strip_prefix("CUDA")?.parse().ok()?;
    let number = after.trim_start().strip_prefix('=')?.split_whitespace().next()?;
    let size = Printed::parse(number, Bytes::MIB)?;
    Some(Fact::Holds { engine: Engine::LlamaCpp, part, device: Some(device), size })
}

/// The size in GiB behind some words.
fn after(text: &str, words: &str) -> Option<Printed> {
    let rest = &text[text.find(words)? + words.len()..];
    let (number, unit) = rest.trim_start().split_once(' ')?;
    // Older versions say GB of the same size.
    let known = unit.starts_with("GiB") || unit.starts_with("GB");
    known.then(|| Printed::parse(number, Bytes::GIB)).flatten()
}

fn of_vllm(part: Part, size: Printed) -> Fact {
    Fact::Holds { engine: Engine::Vllm, part, device: None, size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_cpp_says_what_its_buffers_hold() {
        let line = b"load_tensors:        CUDA1 model buffer size =  4403.49 MiB";
        let [Fact::Holds { part: Part::Weights, device: Some(1), size, .. }] = facts(line)[..]
        else {
            panic!("{:?}", facts(line))
        };
        assert!(size.is(Bytes::new(4_617_395_200)), "{size:?}");
        assert!(!size.is(Bytes::new(4_617_395_200 + (1 << 16))));
        for (line, part) in [
            ("llama_kv_cache:      CUDA0 KV buffer size =  1024.00 MiB", Part::Cache),
            ("llama_memory_recurrent:  CUDA0 RS buffer size =   9.00 MiB", Part::Cache),
            ("sched_reserve:      CUDA0 compute buffer size =   300.75 MiB", Part::Compute),
        ] {
            let found = facts(line.as_bytes());
            assert!(matches!(found[..], [Fact::Holds { part: p, .. }] if p == part), "{found:?}");
        }
        assert_eq!(
            facts(b"llama_context:  CUDA_Host  output buffer size =     0.58 MiB"),
            [Fact::Is(Engine::LlamaCpp)]
        );
    }

    #[test]
    fn vllm_says_what_it_holds() {
        let line = b"INFO 11-29 [gpu_model_runner.py:5061] Model loading took 14.25 GiB memory and 3.4 seconds";
        let found = facts(line);
        assert_eq!(found[0], Fact::MakesContext(Engine::Vllm));
        let Fact::Holds { size, .. } = &found[1] else { panic!("{found:?}") };
        assert_eq!(size.bytes, Bytes::GIB.scale(1425, 100).unwrap());
        assert!(size.is(Bytes::GIB.scale(14_254, 1000).unwrap()));
        assert_eq!(facts(b"INFO:     Application startup complete."), [Fact::Serves]);
        let since_0_5 = b"0.01.848.526 I srv  llama_server: listening on http://127.0.0.1:8080";
        assert_eq!(facts(since_0_5), [Fact::Serves]);
    }

    #[test]
    fn anything_else_says_nothing() {
        for line in [
            "",
            "hello",
            "buffer size",
            "CUDA0 KV buffer size = x MiB",
            "CUDA KV buffer size = 1 MiB",
            "Model loading took  ",
            "Model loading took 1 apple",
            "a KV buffer size = 99999999999999999999.9 MiB",
        ] {
            assert_eq!(facts(line.as_bytes()), [], "{line}");
        }
        assert_eq!(facts(&vec![b'x'; 1 << 20]), []);
    }
}
