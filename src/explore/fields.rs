//! What can be changed, a row each: the flag of `budget` that it is, and how keys change it.

use serde_json::Value;
use vramplan_planner::form::{Given, Lists, RuntimeEntry};

/// A row.
#[derive(Debug)]
pub struct Field {
    /// The key of the question.
    pub key: &'static str,
    /// Its name on the screen.
    pub label: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The runtimes that have it.
    pub applies: fn(&RuntimeEntry) -> bool,
}

/// What a field's values are, and how they are stepped through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of a list; other texts are taken where `free`.
    List {
        /// Which.
        of: Choices,
        /// Whether a text that is not in it may be typed.
        free: bool,
    },
    /// Tokens: doubled and halved, and finer by an eighth.
    Doubling {
        /// The smallest.
        least: u64,
    },
    /// A small number: by `step`, and finer by one.
    Count {
        /// The smallest.
        least: u64,
        /// By how much.
        step: u64,
    },
    /// A share of the card, by five hundredths, and finer by one.
    Share,
    /// Yes or no.
    Flag,
    /// What is typed.
    Text,
}

/// Lists of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choices {
    /// Models with a profile.
    Models,
    /// Cards with a profile, the smallest first.
    Gpus,
    /// Runtimes.
    Runtimes,
    /// The runtime's checked versions.
    Versions,
    /// The runtime's formats of weights.
    Weights,
    /// The runtime's formats of keys and values.
    Kv,
    /// The runtime's ways to compute attention.
    Attention,
}

const fn always(_: &RuntimeEntry) -> bool {
    true
}

fn shares(runtime: &RuntimeEntry, key: &str) -> bool {
    runtime.share.as_deref() == Some(key)
}

const fn list(key: &'static str, label: &'static str, of: Choices, free: bool) -> Field {
    Field { key, label, kind: Kind::List { of, free }, applies: always }
}

const fn field(key: &'static str, label: &'static str, kind: Kind) -> Field {
    Field { key, label, kind, applies: always }
}

const fn of_some(
    key: &'static str,
    label: &'static str,
    kind: Kind,
    applies: fn(&RuntimeEntry) -> bool,
) -> Field {
    Field { key, label, kind, applies }
}

/// Every row, in its order.
pub static FIELDS: [Field; 22] = [
    list("model", "model", Choices::Models, true),
    list("gpu", "GPU", Choices::Gpus, true),
    field("gpus", "how many", Kind::Count { least: 1, step: 1 }),
    list("runtime", "runtime", Choices::Runtimes, false),
    Field {
        key: "runtime_version",
        label: "its version",
        kind: Kind::List { of: Choices::Versions, free: true },
        applies: |runtime| runtime.versioned,
    },
    list("weights", "weights", Choices::Weights, true),
    list("kv", "KV cache", Choices::Kv, true),
    list("attention", "attention", Choices::Attention, false),
    field("context_per_user", "context a user", Kind::Doubling { least: 256 }),
    field("users", "users", Kind::Doubling { least: 1 }),
    field("cache_tokens", "cached tokens", Kind::Doubling { least: 256 }),
    field("context", "positions", Kind::Doubling { least: 256 }),
    field("system_tokens", "pinned prompt", Kind::Doubling { least: 256 }),
    field("prefill_chunk", "prefill chunk", Kind::Doubling { least: 16 }),
    of_some("ngl", "layers on GPUs", Kind::Count { least: 0, step: 4 }, |it| it.places),
    of_some("n_cpu_moe", "experts in RAM", Kind::Count { least: 0, step: 4 }, |it| it.places),
    of_some("ram", "main memory", Kind::Text, |it| it.places),
    of_some("gpu_memory_utilization", "share of GPU", Kind::Share, |it| {
        shares(it, "gpu_memory_utilization")
    }),
    of_some("mem_fraction_static", "share of GPU", Kind::Share, |it| {
        shares(it, "mem_fraction_static")
    }),
    of_some("enforce_eager", "no graphs", Kind::Flag, |it| it.server),
    field("other_use", "others hold", Kind::Text),
    field("headroom", "leave free", Kind::Text),
];

/// Keys that cannot be said together: saying the first takes the others back.
pub const APART: [(&str, &[&str]); 6] = [
    ("context_per_user", &["context", "cache_tokens"]),
    ("context", &["context_per_user"]),
    ("cache_tokens", &["context_per_user"]),
    ("users", &["batch", "parallel"]),
    ("n_cpu_moe", &["cpu_moe"]),
    ("cpu_moe", &["n_cpu_moe"]),
];

/// The values of a list.
pub fn choices(of: Choices, lists: &Lists, runtime: Option<&RuntimeEntry>) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of_runtime = |of: fn(&RuntimeEntry) -> Vec<String>| runtime.map(of).unwrap_or_default();
    match of {
        Choices::Models => lists.models.iter().map(|model| model.name.clone()).collect(),
        Choices::Gpus => lists.gpus.iter().map(|gpu| gpu.name.clone()).collect(),
        Choices::Runtimes => lists.runtimes.iter().map(|it| it.name.to_owned()).collect(),
        Choices::Versions => runtime.map(|it| owned(&it.versions)).unwrap_or_default(),
        Choices::Weights => of_runtime(|it| it.weights.clone()),
        Choices::Kv => runtime.map(|it| owned(&it.kv)).unwrap_or_default(),
        Choices::Attention => of_runtime(|it| it.attention.clone()),
    }
}

/// A value as it is shown and typed.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) | Value::Null => "no".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Which way a value goes, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether to more.
    pub up: bool,
    /// Whether by less than usual.
    pub fine: bool,
}

/// A field's value one step on from another; nothing where there is none on that side.
pub fn stepped(kind: Kind, from: Option<&Value>, options: &[String], step: Step) -> Option<Value> {
    match kind {
        Kind::List { .. } => in_list(from, options, step.up),
        Kind::Doubling { least } => {
            let now = number(from);
            Some(now.map_or(least, |now| doubled(now, least, step)).into())
        }
        Kind::Count { least, step: by } => {
            let by = if step.fine { 1 } else { by };
            let now = number(from).unwrap_or(least);
            let next = if step.up { now.saturating_add(by) } else { now.saturating_sub(by) };
            Some(next.max(least).into())
        }
        Kind::Share => Some(share(from, step).into()),
        Kind::Flag => Some(Value::Bool(!matches!(from, Some(Value::Bool(true))))),
        Kind::Text => None,
    }
}

fn in_list(from: Option<&Value>, options: &[String], up: bool) -> Option<Value> {
    let now = from.map(shown);
    let at = now.and_then(|now| options.iter().position(|option| same(option, &now)));
    let next = match at {
        Some(at) if up => at.checked_add(1)?,
        Some(at) => at.checked_sub(1)?,
        None => 0,
    };
    options.get(next).map(|option| option.as_str().into())
}

/// Whether two names are the same but for case, spaces and dashes.
fn same(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let kept = name.chars().filter(|c| !matches!(c, ' ' | '-' | '_'));
        kept.flat_map(char::to_lowercase).collect::<String>()
    };
    plain(one) == plain(other)
}

fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// More tokens than any context has: what is added up stays far from the end of the numbers.
const MOST: u64 = 1 << 30;

fn doubled(now: u64, least: u64, step: Step) -> u64 {
    let now = now.min(MOST);
    if step.fine {
        let by = (now.next_power_of_two() / 16).max(least.min(256)).max(1);
        let next = if step.up { (now / by + 1) * by } else { now.saturating_sub(1) / by * by };
        return next.clamp(least, MOST);
    }
    // To the next power of two, so that a value that was solved becomes a round one.
    let above = (now + 1).next_power_of_two();
    let next = if step.up {
        above
    } else if now.is_power_of_two() {
        now / 2
    } else {
        above / 2
    };
    next.clamp(least, MOST)
}

fn share(from: Option<&Value>, step: Step) -> String {
    let now = from.map(shown).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.9);
    let by = if step.fine { 0.01 } else { 0.05 };
    let next = if step.up { now + by } else { now - by };
    format!("{:.2}", next.clamp(0.05, 1.0))
}

/// Says a key, and takes back what cannot stand beside it.
pub fn say(given: &mut Given, key: &str, value: Value) {
    for (said, others) in APART {
        if said == key {
            for other in others {
                given.remove(*other);
            }
        }
    }
    given.insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Step = Step { up: true, fine: false };
    const DOWN: Step = Step { up: false, fine: false };
    const FINE: Step = Step { up: true, fine: true };
    const FINE_DOWN: Step = Step { up: false, fine: true };

    #[test]
    fn tokens_double_to_round_numbers_and_creep_by_eighths() {
        let of = |now: u64, step| {
            stepped(Kind::Doubling { least: 256 }, Some(&now.into()), &[], step).unwrap()
        };
        assert_eq!(of(26_768, UP), 32_768);
        assert_eq!(of(32_768, UP), 65_536);
        assert_eq!(of(26_768, DOWN), 16_384);
        assert_eq!(of(32_768, DOWN), 16_384);
        assert_eq!(of(256, DOWN), 256);
        assert_eq!(of(u64::MAX, UP), MOST);
        assert_eq!(of(32_768, FINE), 34_816);
        assert_eq!(of(34_816, FINE_DOWN), 32_768);
        assert_eq!(of(1, FINE_DOWN), 256);
    }

    #[test]
    fn lists_end_and_unknown_values_begin_them() {
        let options = ["a".to_owned(), "RTX 4090".to_owned(), "c".to_owned()];
        let kind = Kind::List { of: Choices::Gpus, free: true };
        let of = |now: &str, step| stepped(kind, Some(&now.into()), &options, step);
        assert_eq!(of("rtx-4090", UP), Some("c".into()));
        assert_eq!(of("c", UP), None);
        assert_eq!(of("a", DOWN), None);
        assert_eq!(of("what", DOWN), Some("a".into()));
    }

    #[test]
    fn shares_and_counts_stay_within_bounds() {
        assert_eq!(stepped(Kind::Share, Some(&"0.98".into()), &[], UP), Some("1.00".into()));
        assert_eq!(stepped(Kind::Share, None, &[], FINE), Some("0.91".into()));
        let count = Kind::Count { least: 1, step: 4 };
        assert_eq!(stepped(count, Some(&2.into()), &[], DOWN), Some(1.into()));
        assert_eq!(stepped(count, Some(&2.into()), &[], FINE), Some(3.into()));
        assert_eq!(stepped(Kind::Flag, Some(&true.into()), &[], UP), Some(false.into()));
        assert_eq!(stepped(Kind::Text, None, &[], UP), None);
    }

    #[test]
    fn what_excludes_another_takes_it_back() {
        let mut given = Given::new();
        say(&mut given, "context", 8.into());
        say(&mut given, "cache_tokens", 8.into());
        say(&mut given, "context_per_user", 9.into());
        assert_eq!(given.len(), 1);
    }
}
