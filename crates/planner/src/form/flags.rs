//! A question as texts: what a form and an address hold, what a command line says, and the way back.

use serde_json::{Map, Value};

use super::Problem;
use crate::deployment::Question;
use crate::text::{printable, shell_word};

/// Keys of a question with their values, each a text as it is written on the command line, or as JSON has it.
pub type Given = Map<String, Value>;

/// Other names of flags: short ones, and those of engines.
const OTHER_NAMES: [(&str, &str); 24] = [
    ("g", "gpu"),
    ("m", "model"),
    ("c", "context"),
    ("n_gpu_layers", "ngl"),
    ("ncmoe", "n_cpu_moe"),
    ("cmoe", "cpu_moe"),
    ("ot", "override_tensor"),
    ("ts", "tensor_split"),
    ("sm", "split_mode"),
    ("mg", "main_gpu"),
    ("nkvo", "no_kv_offload"),
    ("ub", "prefill_chunk"),
    ("ubatch_size", "prefill_chunk"),
    ("np", "parallel"),
    ("kvu", "kv_unified"),
    ("b", "batch_size"),
    ("md", "draft"),
    ("model_draft", "draft"),
    ("ctx_size", "context"),
    ("kv_cache", "kv"),
    ("kv_cache_dtype", "kv"),
    ("max_num_seqs", "max_seqs"),
    ("max_num_batched_tokens", "prefill_chunk"),
    ("chunked_prefill_size", "prefill_chunk"),
];

/// Flags that may be repeated.
const LISTS: [&str; 2] = ["override_tensor", "lora"];

/// The question that these values ask. Empty texts say nothing.
///
/// ```
/// let given = serde_json::json!({"gpu": "3090", "context": "32k", "enforce_eager": "true", "ngl": "20", "kv": ""});
/// let question = vramplan_planner::form::question(given.as_object().unwrap()).unwrap();
/// assert_eq!(question.gpu.as_deref(), Some("3090"));
/// assert_eq!(question.context, Some(32 * 1024));
/// assert!(question.enforce_eager && question.kv.is_none());
/// ```
///
/// # Errors
/// Where a key is unknown, or a value is none of its own.
pub fn question(given: &Given) -> Result<Question, Problem> {
    Ok(serde_json::from_value(Value::Object(read(given)?))?)
}

/// What of these values counts, each as the question takes it: `64GiB` stays as it is written, `8k` is a number.
fn read(given: &Given) -> Result<Given, Problem> {
    let mut read = Given::new();
    for (name, value) in given {
        let key = key(name);
        if let Some(value) = value_of(&key, value)? {
            read.insert(key, value);
        }
    }
    Ok(read)
}

/// The key that a flag is.
pub(super) fn key(name: &str) -> String {
    let name = name.trim_start_matches('-').replace('-', "_");
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    other.map_or(name, |(_, key)| (*key).to_owned())
}

fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// A value as the question's key takes it; nothing where it says nothing.
fn value_of(key: &str, value: &Value) -> Result<Option<Value>, Problem> {
    let candidates = match value {
        Value::Null | Value::Bool(false) => return Ok(None),
        Value::String(text) if text.trim().is_empty() || text == "false" => return Ok(None),
        Value::String(text) => readings(text.trim()),
        Value::Array(list) if list.iter().all(|one| one == "") => return Ok(None),
        other => vec![other.clone()],
    };
    let mut first = None;
    for candidate in candidates {
        match accepts(key, &candidate) {
            Ok(()) => return Ok(Some(candidate)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let why = first.unwrap_or_default();
    if why.starts_with("unknown field") {
        let unknown = Problem::new(format!("`{}` is not a flag of a plan", printable(&flag(key))));
        return Err(unknown.hint("`vramplan budget --help` lists them"));
    }
    let shown = match value {
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    };
    let expected = match why.strip_prefix("invalid type") {
        Some(_) => "expected a whole number, such as `8192` or `8k`",
        None => why.as_str(),
    };
    Err(Problem::new(format!("`{} {shown}`: {expected}", flag(key))))
}

/// What a text may stand for, the likeliest first.
fn readings(text: &str) -> Vec<Value> {
    let mut readings = vec![Value::from(text)];
    readings.extend(whole_number(text).map(Value::from));
    let fraction = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
    readings.extend(fraction.map(Value::Number));
    if text == "true" {
        readings.push(Value::Bool(true));
    }
    readings.push(Value::from(vec![text]));
    readings
}

/// A number as people write it: `8192`, `8_192`, `8k` for 8 × 1,024.
fn whole_number(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    let (digits, factor) = match digits.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1024),
        None => (&*digits, 1),
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| all_digits)?.checked_mul(factor)
}

/// Whether a question takes this value.
fn accepts(key: &str, value: &Value) -> Result<(), String> {
    let mut one = Given::new();
    one.insert(key.to_owned(), value.clone());
    let read = serde_json::from_value::<Question>(Value::Object(one));
    read.map(drop).map_err(|error| error.to_string())
}

/// The flags of a command line, whatever stands before the first of them.
///
/// ```
/// let given = vramplan_planner::form::parse("vramplan budget -m 'my model.gguf' --gpu=L4 -ngl 20 --swa-full").unwrap();
/// assert_eq!(given["model"], "my model.gguf");
/// assert_eq!(given["gpu"], "L4");
/// assert_eq!((given["ngl"].as_str(), given["swa_full"].as_bool()), (Some("20"), Some(true)));
/// ```
///
/// # Errors
/// Where quotes are open, or a word belongs to no flag.
pub fn parse(line: &str) -> Result<Given, Problem> {
    let Some(words) = shlex::split(line) else {
        return Err(Problem::new("a quote is left open: expected flags such as `--kv q8_0`"));
    };
    let mut given = Given::new();
    let mut words = words.into_iter().skip_while(|word| !word.starts_with('-')).peekable();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            let message = format!("`{}` stands behind no flag", printable(&word));
            return Err(Problem::new(message).hint("put quotes around a value with spaces"));
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, words.next_if(|next| is_value(next))),
        };
        insert(&mut given, key(&name), value);
    }
    Ok(given)
}

/// Whether a word is a flag's value: not a flag itself, unless it is a negative number.
fn is_value(word: &str) -> bool {
    !word.starts_with('-') || word.parse::<f64>().is_ok()
}

fn insert(given: &mut Given, key: String, value: Option<String>) {
    let value = value.map_or(Value::Bool(true), Value::String);
    if !LISTS.contains(&key.as_str()) {
        given.insert(key, value);
    } else if let Value::Array(list) = given.entry(key).or_insert_with(|| Value::Array(Vec::new()))
    {
        list.push(value);
    }
}

/// Keys that come first on a command line.
const FIRST: [&str; 3] = ["gpu", "model", "runtime"];

/// The command that asks this, its values as they are written; nothing where no shell can be told one of them.
///
/// # Errors
/// As [`question()`].
pub fn command(given: &Given) -> Result<Option<String>, Problem> {
    let said = read(given)?;
    let first = FIRST.iter().filter_map(|key| said.get_key_value(*key));
    let rest = said.iter().filter(|(key, _)| !FIRST.contains(&key.as_str()));
    let mut line = "vramplan budget".to_owned();
    for (key, value) in first.chain(rest) {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let Some(word) = said_as(key, value) else { return Ok(None) };
            line.push(' ');
            line.push_str(&word);
        }
    }
    Ok(Some(line))
}

/// A flag with its value, as a shell reads it.
fn said_as(key: &str, value: &Value) -> Option<String> {
    let flag = flag(key);
    let text = match value {
        Value::Bool(_) => return Some(flag),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let word = shell_word(&text)?;
    let between = if text.starts_with('-') { '=' } else { ' ' };
    Some(format!("{flag}{between}{word}"))
}

/// What a piece of advice would change: the flags that its text quotes first.
///
/// ```
/// let change = vramplan_planner::form::change_of("`--gpu-memory-utilization 0.85 to 0.9` starts").unwrap();
/// assert_eq!(change["gpu_memory_utilization"], "0.9");
/// assert!(vramplan_planner::form::change_of("the whole context fits").is_none());
/// assert!(vramplan_planner::form::change_of("to decide: `--unheard-of 12`").is_none());
/// ```
pub fn change_of(advice: &str) -> Option<Given> {
    let quoted = advice.split('`').skip(1).step_by(2);
    let flags = quoted.into_iter().find(|quoted| quoted.starts_with('-'))?;
    let words: Vec<_> = flags.split(' ').collect();
    let best = match words.as_slice() {
        [flag, _, "to", best] => format!("{flag} {best}"),
        _ => flags.to_owned(),
    };
    let change = parse(&best).ok()?;
    question(&change).ok().map(|_| change)
}
