//! A table of limits: scenarios with what was recommended for them, to be committed and checked.
//!
//! A file has `schema = 1`, flags that all scenarios share under `[defaults]`, and for each
//! `[[scenario]]` its own flags and, under `[scenario.limits]`, what vramplan computed. Comments are
//! the user's and survive an update.

mod limits;

use std::ops::Range;

use toml_edit::{Document, DocumentMut, Item, Table, TableLike};

use crate::text::{line_at, one_line, printable};

pub use limits::{Change, Leaf, Limits};

/// The version of the format.
pub const SCHEMA: i64 = 1;

/// Why a text is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TableError {
    /// Where.
    pub line: usize,
    /// What is wrong, and what was expected; safe to print.
    pub message: String,
}

impl TableError {
    fn new(line: usize, message: &str) -> Self {
        Self { line, message: one_line(message) }
    }
}

/// A table as it was read.
#[derive(Clone, Debug)]
pub struct LimitsTable {
    text: String,
    /// Flags that all scenarios share.
    pub defaults: Flags,
    /// The scenarios.
    pub entries: Vec<Entry>,
}

/// Flags of a plan as they are written.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    table: Table,
    /// Where they begin.
    pub line: usize,
}

/// A scenario and its limits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The scenario's own flags.
    pub flags: Flags,
    /// The limits as they are written; nothing where there are none yet.
    pub limits: Vec<(String, Leaf)>,
    /// The line that an error is about: where the limits begin, else the scenario.
    pub line: usize,
}

impl Flags {
    /// Whether a key is among them.
    fn says(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reads the flags as something that can be deserialized.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, TableError> {
        let document = DocumentMut::from(self.table.clone());
        toml_edit::de::from_document(document)
            .map_err(|error| TableError::new(self.line, error.message()))
    }
}

impl LimitsTable {
    /// Reads a table.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let lines = Lines(text);
        let document = Document::parse(text)
            .map_err(|error| TableError::new(lines.at(error.span()), error.message()))?;
        let root = document.as_table();
        check_schema(lines, root)?;
        check_keys(lines, root)?;
        let defaults = match root.get("defaults") {
            None => Flags::default(),
            Some(item) => {
                let table = item.as_table().ok_or_else(|| unexpected(lines, item, "a table"))?;
                Flags { table: table.clone(), line: lines.at(table.span()) }
            }
        };
        let scenarios = root
            .get("scenario")
            .and_then(Item::as_array_of_tables)
            .filter(|scenarios| !scenarios.is_empty())
            .ok_or_else(|| TableError {
                line: 1,
                message: "no `[[scenario]]`: expected at least one".to_owned(),
            })?;
        let entries =
            scenarios.iter().map(|table| entry(lines, table)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), defaults, entries })
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text with other limits, one to an entry, and with what each assumes where neither it nor the defaults
    /// say so, that a change of a default moves no limit. Only what changed is written anew.
    ///
    /// # Errors
    /// Where the text is no TOML, which it was when it was read.
    pub fn updated(
        &self,
        limits: &[Limits],
        assumed: &[Vec<(String, Leaf)>],
    ) -> Result<String, TableError> {
        let parsed: Result<DocumentMut, toml_edit::TomlError> = self.text.parse();
        let mut document = parsed.map_err(|error| TableError::new(1, error.message()))?;
        let scenarios = document.get_mut("scenario").and_then(Item::as_array_of_tables_mut);
        let scenarios = scenarios.into_iter().flat_map(|scenarios| scenarios.iter_mut());
        let computed = limits.iter().zip(assumed);
        for ((table, entry), (limits, assumed)) in scenarios.zip(&self.entries).zip(computed) {
            let said = |key: &str| entry.flags.says(key) || self.defaults.says(key);
            for (key, leaf) in assumed.iter().filter(|(key, _)| !said(key)) {
                limits::set(table, key, leaf);
            }
            limits::write(table, &limits.changes(&entry.limits));
        }
        Ok(document.to_string())
    }
}

fn entry(lines: Lines<'_>, table: &Table) -> Result<Entry, TableError> {
    let mut own = table.clone();
    let line = lines.at(table.span());
    let (limits, limits_line) = match own.remove("limits") {
        None => (Vec::new(), line),
        Some(item) => {
            let limits = item
                .as_table_like()
                .ok_or_else(|| unexpected(lines, &item, "a table of limits"))?;
            (limits::leaves(limits), lines.at(item.span()))
        }
    };
    Ok(Entry { flags: Flags { table: own, line }, limits, line: limits_line })
}

fn check_schema(lines: Lines<'_>, root: &Table) -> Result<(), TableError> {
    match root.get("schema") {
        Some(item) if item.as_integer() == Some(SCHEMA) => Ok(()),
        Some(item) => Err(unexpected(lines, item, "`schema = 1`, the one that this version reads")),
        None => {
            Err(TableError { line: 1, message: "no `schema`: expected `schema = 1`".to_owned() })
        }
    }
}

fn check_keys(lines: Lines<'_>, root: &Table) -> Result<(), TableError> {
    const KNOWN: [&str; 3] = ["schema", "defaults", "scenario"];
    match TableLike::iter(root).find(|(key, _)| !KNOWN.contains(key)) {
        None => Ok(()),
        Some((key, _)) => {
            let span = root.key(key).and_then(toml_edit::Key::span);
            let message = format!(
                "unknown key `{}`: expected `schema`, `[defaults]` and `[[scenario]]`",
                printable(key)
            );
            Err(TableError::new(lines.at(span), &message))
        }
    }
}

fn unexpected(lines: Lines<'_>, item: &Item, expected: &str) -> TableError {
    let value = item.to_string();
    let message = format!("`{}`: expected {expected}", printable(value.trim()));
    TableError::new(lines.at(item.span()), &message)
}

/// A text whose lines are asked for.
#[derive(Clone, Copy)]
struct Lines<'a>(&'a str);

impl Lines<'_> {
    /// The line on which a span begins.
    fn at(self, span: Option<Range<usize>>) -> usize {
        line_at(self.0, span.map_or(0, |span| span.start))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
