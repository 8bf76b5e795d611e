//! Other words for what the command line has: of other programs, of habit. What comes after `--` is another program's.

use std::ffi::{OsStr, OsString};

use vramplan_planner::deployment::{are_cards, is_program, vllm_number};
use vramplan_planner::estimate::rules;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::Runtime;

/// Words for `budget`.
const PLAN: [&str; 14] = [
    "fit",
    "fits",
    "plan",
    "estimate",
    "calc",
    "calculate",
    "size",
    "vram",
    "mem",
    "need",
    "needs",
    "run",
    "will-it-fit",
    "can-i-run",
];

/// Other first words, and what they stand for.
const COMMANDS: [(&str, &[&str]); 12] = [
    ("list", &["profiles", "list"]),
    ("ls", &["profiles", "list"]),
    ("gpus", &["profiles", "list", "gpus"]),
    ("cards", &["profiles", "list", "gpus"]),
    ("models", &["profiles", "list", "models"]),
    ("runtimes", &["profiles", "list", "runtimes"]),
    ("engines", &["profiles", "list", "runtimes"]),
    ("show", &["profiles", "show"]),
    ("import", &["profiles", "import"]),
    ("version", &["--version"]),
    ("matrix", &["sweep"]),
    ("diff", &["compare"]),
];

/// Flags that stand alone, and the flag and value that they stand for.
const ALONE: [(&str, &[&str]); 9] = [
    ("--load-in-4bit", &["--weights", "nf4"]),
    ("--load-in-8bit", &["--weights", "int8"]),
    ("--no-color", &["--color", "never"]),
    ("--vllm", &["--runtime", "vllm"]),
    ("--sglang", &["--runtime", "sglang"]),
    ("--ollama", &["--runtime", "ollama"]),
    ("--llama-cpp", &["--runtime", "llama.cpp"]),
    ("--transformers", &["--runtime", "transformers"]),
    ("--disable-cuda-graph", &["--enforce-eager"]),
];

/// Flags whose value may say what is done anyway, and those values.
const ANYWAY: [(&str, &[&str]); 9] = [
    ("-c", &["0", "-1", "max", "auto", "model"]),
    ("--context", &["0", "-1", "max", "auto", "model"]),
    ("--ctx-size", &["0", "-1", "max", "auto", "model"]),
    ("--context-length", &["max", "auto"]),
    ("--device-map", &["auto", "balanced", "sequential"]),
    ("--dtype", &["auto"]),
    ("--torch-dtype", &["auto"]),
    ("--weights", &["auto"]),
    ("--quantization", &["none", "None"]),
];

/// Flags with values that another flag stands for.
const MEANT: [(&str, &[&str], &str); 3] = [
    ("--max-model-len", &["auto", "-1"], "--auto-max-model-len"),
    ("--gpus", &["auto", "min", "fewest"], "--fewest-gpus"),
    ("--num-gpus", &["auto", "min", "fewest"], "--fewest-gpus"),
];

/// vLLM's flags whose numbers mean something else than those of the flag that they stand for: `8k` is 8,000.
const NUMBERS: [&str; 1] = ["--max-num-batched-tokens"];

/// Flags that name the type of weights that are not quantized; beside a quantization they say nothing of the weights.
const TYPES: [&str; 3] = ["--dtype", "--torch-dtype", "--precision"];

/// Flags that say how the weights are quantized.
const QUANTIZED: [&str; 6] =
    ["--weights", "--quantization", "--quant", "--quantize", "--load-in-4bit", "--load-in-8bit"];

/// The arguments in the words that are known here.
pub fn rewritten(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    command(&mut words);
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let behind = words.split_off(end);
    let words: Vec<OsString> = words.into_iter().map(dashed).collect();
    let mut written = flags(words);
    join_gpus(&mut written);
    name_format(&mut written);
    written.extend(behind);
    written
}

/// The first word as a command; a program of a server's is one to plan.
fn command(words: &mut Vec<OsString>) {
    let Some(first) = words.get(1).and_then(|word| word.to_str()) else { return };
    if PLAN.contains(&first) {
        words[1] = "budget".into();
    } else if let Some((_, meant)) = COMMANDS.iter().find(|(word, _)| *word == first) {
        words.splice(1..2, meant.iter().map(OsString::from));
    } else if is_program(first) && words.len() > 2 {
        let cards = cards(first == "lms", words);
        let before = ["budget".into()].into_iter().chain(cards).chain(["--".into()]);
        let before: Vec<OsString> = before.collect();
        words.splice(1..1, before);
    } else if first == "--" || is_flag_of_a_plan(first) {
        words.insert(1, "budget".into());
    }
}

/// Takes `-g CARD` out of a server's command: no server has such a flag, but LM Studio's `lms load` a `--gpu` of its own.
fn cards(is_lms: bool, words: &mut Vec<OsString>) -> Vec<OsString> {
    let is_ours = |word: &OsString| word == "-g" || (word == "--gpu" && !is_lms);
    let mut taken = Vec::new();
    while let Some(at) = words.iter().position(is_ours).filter(|at| at + 1 < words.len()) {
        taken.extend(words.drain(at..=at + 1));
    }
    taken
}

/// Whether a first word is a flag that only commands have.
fn is_flag_of_a_plan(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    ["-m", "--model", "-g", "--gpu", "--runtime", "--vram", "--scenario"].contains(&name)
}

/// `--num_ctx=8192` as `--num-ctx=8192`.
fn dashed(word: OsString) -> OsString {
    let Some(long) = word.to_str().and_then(|text| text.strip_prefix("--")) else { return word };
    let (name, value) = long.split_at(long.find('=').unwrap_or(long.len()));
    if name.contains('_') { format!("--{}{value}", name.replace('_', "-")).into() } else { word }
}

fn flags(words: Vec<OsString>) -> Vec<OsString> {
    let is_quantized = words.iter().any(|word| QUANTIZED.iter().any(|flag| names(word, flag)));
    let mut words = words.into_iter().peekable();
    let mut written = Vec::new();
    while let Some(word) = words.next() {
        if let Some((_, meant)) = ALONE.iter().find(|(flag, _)| word == *flag) {
            words.next_if(|next| next == "true" || next == "True");
            written.extend(meant.iter().map(OsString::from));
            continue;
        }
        if TYPES.iter().any(|flag| names(&word, flag)) {
            let value = value_of(&word).or_else(|| words.next());
            let is_said = value.as_ref().is_some_and(|value| value != "auto" && !is_quantized);
            if let Some(value) = value.filter(|_| is_said) {
                written.extend(["--dtype".into(), value]);
            }
            continue;
        }
        if let Some(flag) = NUMBERS.iter().find(|flag| names(&word, flag)) {
            if let Some(value) = value_of(&word) {
                written.push(format!("{flag}={}", number_of(&value)).into());
            } else {
                let value = words.next().map(|value| number_of(&value).into());
                written.extend([Some(word), value].into_iter().flatten());
            }
            continue;
        }
        let anyway = |value: &OsStr| {
            let of = |(flag, values): &&(&str, &[&str])| {
                names(&word, flag) && values.iter().any(|anyway| value == *anyway)
            };
            ANYWAY.iter().any(|entry| of(&entry))
        };
        let meant = |value: &OsStr| {
            let of = |(flag, values, meant): &(&str, &[&str], &'static str)| {
                let is_meant = names(&word, flag) && values.iter().any(|known| value == *known);
                is_meant.then_some(*meant)
            };
            MEANT.iter().find_map(of)
        };
        match value_of(&word) {
            Some(value) if meant(&value).is_some() => {
                written.extend(meant(&value).map(OsString::from));
                continue;
            }
            None if word == "-r" && words.peek().is_some_and(|value| is_runtime(value)) => {
                written.push("--runtime".into());
                continue;
            }
            None if words.peek().is_some_and(|value| meant(value).is_some()) => {
                let value = words.next();
                written.extend(value.and_then(|value| meant(&value)).map(OsString::from));
                continue;
            }
            Some(value) if names(&word, "--gpus") && are_named(&value) => {
                written.extend(["--gpu".into(), value]);
                continue;
            }
            None if word == "--gpus" && words.peek().is_some_and(|value| are_named(value)) => {
                written.push("--gpu".into());
                continue;
            }
            Some(value) if anyway(&value) => continue,
            None if words.peek().is_some_and(|value| anyway(value)) => {
                words.next();
                continue;
            }
            _ => {}
        }
        written.push(word);
    }
    written
}

/// A number as vLLM reads it; what is none is left for the error that says so.
fn number_of(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    vllm_number(&text).map_or_else(|_| text.clone().into_owned(), |number| number.to_string())
}

/// Whether a word is this flag, with its value or without.
fn names(word: &OsStr, flag: &str) -> bool {
    let rest = word.to_str().and_then(|word| word.strip_prefix(flag));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The value behind `=`.
fn value_of(word: &OsStr) -> Option<OsString> {
    let (_, value) = word.to_str().filter(|word| word.starts_with('-'))?.split_once('=')?;
    Some(value.into())
}

/// `--weights 4bit`, which is another format under each runtime, as what the runtime that is named calls so.
fn name_format(words: &mut [OsString]) {
    const FOUR: [&str; 5] = ["4bit", "4-bit", "int4", "q4", "4"];
    const EIGHT: [&str; 3] = ["8bit", "8-bit", "8"];
    let behind = |flag: &str| words.iter().position(|word| word == flag).map(|at| at + 1);
    let (Some(at), Some(of)) = (behind("--weights"), behind("--runtime")) else { return };
    let runtime = words.get(of).and_then(|word| word.to_str()?.parse::<Runtime>().ok());
    let (Some(word), Some(runtime)) = (words.get(at), runtime) else { return };
    let is_any = |known: &[&str]| known.iter().any(|known| word.eq_ignore_ascii_case(known));
    let names: &[&str] = match (is_any(&FOUR), is_any(&EIGHT)) {
        (true, _) => &["q4_k_m", "awq-int4", "nf4"],
        (_, true) => &["q8_0", "int8"],
        _ => return,
    };
    let offered = rules(runtime).ladders().weights;
    let is_offered = |name: &&&str| name.parse().is_ok_and(|format| offered.contains(&format));
    if let Some(name) = names.iter().find(is_offered) {
        words[at] = (*name).into();
    }
}

/// Whether what `--gpus` is given, which takes their number, names cards.
fn are_named(value: &OsStr) -> bool {
    let text = value.to_str().filter(|text| text.contains(char::is_alphabetic));
    text.is_some_and(|text| text == "all" || are_cards(text, &Catalog::built_in()))
}

/// Whether `-r`, which takes a prompt's end in llama.cpp, is given a runtime.
fn is_runtime(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.parse::<Runtime>().is_ok())
}

/// `-g L4 -g T4` as `-g L4,T4`.
fn join_gpus(words: &mut Vec<OsString>) {
    let is_gpu = |word: &OsString| word == "-g" || word == "--gpu";
    while let Some(first) = words.iter().position(is_gpu)
        && let Some(next) = words.iter().skip(first + 2).position(is_gpu)
        && let Some(other) = words.get(first + 2 + next + 1).cloned()
    {
        let at = first + 2 + next;
        words.drain(at..=at + 1);
        words[first + 1].push(",");
        words[first + 1].push(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let words = rewritten(line.split(' ').map(OsString::from));
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn commands_have_other_words() {
        for (line, meant) in [
            ("t fit qwen3-8b L4", "t budget qwen3-8b L4"),
            ("t models qwen", "t profiles list models qwen"),
            ("t version", "t --version"),
            ("t -m a -g L4", "t budget -m a -g L4"),
            ("t vllm serve a_b --max_x 1", "t budget -- vllm serve a_b --max_x 1"),
            ("t ollama run a", "t budget -- ollama run a"),
            ("t ollama run a -g L4", "t budget -g L4 -- ollama run a"),
            ("t lms load a --gpu max -g L4", "t budget -g L4 -- lms load a --gpu max"),
            ("t qwen3-8b L4", "t qwen3-8b L4"),
            ("t budget -r vllm", "t budget --runtime vllm"),
            ("t budget -r User:", "t budget -r User:"),
            ("t budget --runtime hf --weights 4bit", "t budget --runtime hf --weights nf4"),
            (
                "t budget --weights 8bit --runtime ollama",
                "t budget --weights q8_0 --runtime ollama",
            ),
            (
                "t budget --weights int4 --runtime vllm",
                "t budget --weights awq-int4 --runtime vllm",
            ),
            ("t budget --weights 4bit", "t budget --weights 4bit"),
            ("t --help", "t --help"),
        ] {
            assert_eq!(written(line), meant);
        }
    }

    #[test]
    fn flags_have_other_words() {
        for (line, meant) in [
            ("t b --num_ctx 8192 --n_ctx=1", "t b --num-ctx 8192 --n-ctx=1"),
            ("t b --load_in_4bit", "t b --weights nf4"),
            ("t b -c max -m a", "t b -m a"),
            ("t b --max-model-len=auto", "t b --auto-max-model-len"),
            ("t b --max-model-len -1 -m a", "t b --auto-max-model-len -m a"),
            ("t b --max-num-batched-tokens 8k", "t b --max-num-batched-tokens 8000"),
            ("t b --max_num_batched_tokens=8K", "t b --max-num-batched-tokens=8192"),
            ("t b --prefill-chunk 8k", "t b --prefill-chunk 8k"),
            ("t b --dtype half", "t b --dtype half"),
            ("t b --dtype auto -m a", "t b -m a"),
            ("t b --quantization awq --dtype half", "t b --quantization awq"),
            ("t b -g L4 -m a -g T4 --gpu L40", "t b -g L4,T4,L40 -m a"),
            ("t b --device_map auto", "t b"),
            ("t b --gpus auto -m a", "t b --fewest-gpus -m a"),
            ("t b --num_gpus=min", "t b --fewest-gpus"),
            ("t b --gpus 2", "t b --gpus 2"),
            ("t sweep --gpus L4,T4 --users 2", "t sweep --gpu L4,T4 --users 2"),
            ("t sweep --gpus=L4", "t sweep --gpu L4"),
            ("t b --gpus nonsense", "t b --gpus nonsense"),
            ("t b -g", "t b -g"),
            ("t b -- --load_in_4bit", "t b -- --load_in_4bit"),
        ] {
            assert_eq!(written(line), meant, "{line}");
        }
    }
}
