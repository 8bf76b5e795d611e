//! The limits of a scenario: what is written, and how what is computed differs from it.

use std::fmt;

use toml_edit::{InlineTable, Item, Table, TableLike, Value};

use crate::recommend::{Recommendation, Summary, Tier};
use crate::units::Bytes;

/// A value of the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A text, or whatever else is not a number.
    Text(String),
    /// Tokens.
    Number(i64),
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Which of a tier's numbers.
type TokensOf = fn(&Tier) -> u64;

/// What is recommended for a scenario: keys in their order, dotted where they are nested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(Vec<(String, Leaf)>);

/// A value that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key, such as `max_cache_tokens.balanced`.
    pub key: String,
    /// What is written; nothing where the key is new.
    pub committed: Option<Leaf>,
    /// What is computed; nothing where there is no such limit.
    pub computed: Option<Leaf>,
}

impl Limits {
    /// The limits of an answered scenario.
    pub fn new(summary: &Summary, recommendation: &Recommendation) -> Self {
        let text = |key: &str, text: &str| (key.to_owned(), Leaf::Text(text.to_owned()));
        let mut leaves = vec![
            text("verdict", summary.fit.verdict.id()),
            text("limited_by", summary.largest.limited_by.id()),
        ];
        let tokens: [(_, TokensOf); 2] = [
            ("max_cache_tokens", |tier| tier.max_cache_tokens),
            ("recent_window", |tier| tier.recent_window.tokens),
        ];
        for (key, of) in tokens {
            for tier in recommendation.tiers.iter() {
                leaves.push((format!("{key}.{}", tier.name.id()), number(of(tier))));
            }
            if key == "max_cache_tokens" {
                let hard = number(recommendation.hard_max_cache_tokens);
                leaves.push((format!("{key}.hard"), hard));
            }
        }
        leaves.push(text("peak.expected", &whole_mib(summary.fit.peak.expected)));
        leaves.push(text("peak.high", &whole_mib(summary.fit.peak.high)));
        Self(leaves)
    }

    /// How these limits differ from those that are written.
    pub fn changes(&self, committed: &[(String, Leaf)]) -> Vec<Change> {
        let value = |leaves: &[(String, Leaf)], wanted: &str| {
            leaves.iter().find(|(key, _)| key == wanted).map(|(_, leaf)| leaf.clone())
        };
        let gone = committed.iter().filter(|(key, _)| value(&self.0, key).is_none());
        let keys = self.0.iter().chain(gone).map(|(key, _)| key);
        keys.map(|key| Change {
            key: key.clone(),
            committed: value(committed, key),
            computed: value(&self.0, key),
        })
        .filter(|change| change.committed != change.computed)
        .collect()
    }
}

fn number(tokens: u64) -> Leaf {
    Leaf::Number(i64::try_from(tokens).unwrap_or(i64::MAX))
}

/// A size as `nvidia-smi` prints it, rounded up.
fn whole_mib(size: Bytes) -> String {
    format!("{} MiB", size.get().div_ceil(1 << 20))
}

/// The values of a table, those of its inline tables under dotted keys.
pub(super) fn leaves(table: &dyn TableLike) -> Vec<(String, Leaf)> {
    let mut leaves = Vec::new();
    for (key, item) in table.iter() {
        match item.as_table_like() {
            Some(inner) => leaves.extend(
                self::leaves(inner).into_iter().map(|(k, leaf)| (format!("{key}.{k}"), leaf)),
            ),
            None => leaves.push((key.to_owned(), leaf(item))),
        }
    }
    leaves
}

fn leaf(item: &Item) -> Leaf {
    match (item.as_integer(), item.as_str()) {
        (Some(number), _) => Leaf::Number(number),
        (_, Some(text)) => Leaf::Text(text.to_owned()),
        _ => Leaf::Text(item.to_string().trim().to_owned()),
    }
}

/// Writes changes into a scenario's `limits`; everything else keeps its place and its comments.
pub(super) fn write(scenario: &mut Table, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    let limits = scenario.entry("limits").or_insert_with(|| {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        Item::Table(table)
    });
    let Some(limits) = limits.as_table_like_mut() else { return };
    // What goes goes first: a table may take the place of a value.
    for Change { key, .. } in changes.iter().filter(|change| change.computed.is_none()) {
        remove_leaf(limits, key);
    }
    for Change { key, computed, .. } in changes {
        if let Some(leaf) = computed {
            write_leaf(limits, key, leaf);
        }
    }
}

fn write_leaf(limits: &mut dyn TableLike, key: &str, leaf: &Leaf) {
    let Some((outer, inner)) = key.split_once('.') else { return set(limits, key, leaf) };
    let item = limits.entry(outer).or_insert(InlineTable::new().into());
    if !item.is_table_like() {
        *item = InlineTable::new().into();
    }
    if let Some(table) = item.as_table_like_mut() {
        set(table, inner, leaf);
    }
}

/// Removes a value, however its dots are written: as tables in tables, or in a quoted key.
fn remove_leaf(table: &mut dyn TableLike, key: &str) {
    table.remove(key);
    for (at, _) in key.match_indices('.') {
        let (outer, inner) = (&key[..at], &key[at + 1..]);
        let Some(nested) = table.get_mut(outer).and_then(Item::as_table_like_mut) else { continue };
        remove_leaf(nested, inner);
        if nested.is_empty() {
            table.remove(outer);
        }
    }
}

/// Sets a value and keeps the space and the comment around it.
pub(super) fn set(table: &mut dyn TableLike, key: &str, leaf: &Leaf) {
    let mut value = match leaf {
        Leaf::Text(text) => Value::from(text.as_str()),
        Leaf::Number(number) => Value::from(*number),
    };
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}
