//! A matrix for a terminal of 80 columns: models, formats and users down, GPUs across, in as many blocks as
//! it takes; for one GPU a list, or lengths of conversations across.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::outcome::Outcome;
use super::sweep::{CombinationDoc, SweepDoc};
use super::terminal::{WIDTH, finish, table};
use crate::recommend::Limit;
use crate::text::wrap;

/// Columns between two columns.
const GAP: usize = 2;
/// Reasons of the runtime's that are printed.
const REASONS: usize = 8;

/// The matrix as text.
pub fn to_matrix(doc: &SweepDoc) -> String {
    let Some(first) = doc.combinations.first() else { return String::new() };
    let labels = Labels::of(doc);
    let across = across(doc, &labels);
    let rows: Vec<&[CombinationDoc]> = doc.combinations.chunks(across).collect();
    let body = if across == 1 { list(doc, &labels) } else { blocks(doc, &labels, &rows) };
    let sections = [heading(doc, &labels, first), body, legend(doc)];
    let shown = sections.into_iter().filter(|section| !section.is_empty());
    shown.collect::<Vec<_>>().join("\n")
}

/// The matrix as a grid, whatever it is printed as.
pub(super) struct Grid<'a> {
    /// What cells are, and what is the same in all of them.
    pub(super) heading: String,
    /// The names of a row's labels.
    pub(super) labels: Vec<String>,
    /// The names of the columns.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<GridRow<'a>>,
    /// What the marks mean.
    pub(super) legend: String,
}

/// A row: its labels, and its cells with what they show.
pub(super) struct GridRow<'a> {
    pub(super) labels: Vec<String>,
    pub(super) cells: Vec<(&'a CombinationDoc, String)>,
}

impl<'a> Grid<'a> {
    /// The grid of a sweep; nothing of one without combinations.
    pub(super) fn of(doc: &'a SweepDoc) -> Option<Self> {
        let first = doc.combinations.first()?;
        let labels = Labels::of(doc);
        let across = across(doc, &labels);
        let kind = Cells::of(doc);
        let row = |row: &'a [CombinationDoc]| GridRow {
            labels: labels.row(&row[0]),
            cells: row.iter().map(|found| (found, cell(found, kind))).collect(),
        };
        Some(Self {
            heading: heading(doc, &labels, first),
            labels: labels.header(),
            columns: doc.combinations[..across].iter().map(|c| labels.column(c)).collect(),
            rows: doc.combinations.chunks(across).map(row).collect(),
            legend: legend(doc),
        })
    }
}

/// How many combinations make a row.
fn across(doc: &SweepDoc, labels: &Labels) -> usize {
    let mut columns = BTreeSet::new();
    let names = doc.combinations.iter().map(|found| (&found.gpu, labels.column(found)));
    names.take_while(|name| columns.insert(name.clone())).count()
}

/// Which of a row's names tell it from others; the rest stands in the heading.
struct Labels {
    runtime: bool,
    weights: bool,
    kv: bool,
    gpu: bool,
    users: bool,
    context: bool,
    /// Whether it is lengths of conversations or contexts that are columns.
    contexts_across: bool,
}

impl Labels {
    fn of(doc: &SweepDoc) -> Self {
        let differ = |of: fn(&CombinationDoc) -> &String| {
            doc.combinations.iter().map(of).collect::<BTreeSet<_>>().len() > 1
        };
        let number = |of: fn(&CombinationDoc) -> Option<u64>| {
            doc.combinations.iter().map(of).collect::<BTreeSet<_>>().len() > 1
        };
        let gpu = differ(|c| &c.gpu);
        let context = number(length);
        Self {
            runtime: differ(|c| &c.runtime),
            weights: differ(|c| &c.weights),
            kv: differ(|c| &c.kv),
            gpu,
            users: !doc.users_solved && number(|c| c.users),
            context: context && gpu,
            contexts_across: context && !gpu,
        }
    }

    /// What a column is called.
    fn column(&self, cell: &CombinationDoc) -> String {
        match length(cell) {
            Some(tokens) if self.contexts_across => tokens.to_string(),
            _ => cell.gpu.clone(),
        }
    }

    fn header(&self) -> Vec<String> {
        let names = [
            ("model", true),
            ("runtime", self.runtime),
            ("weights", self.weights),
            ("kv", self.kv),
            ("users", self.users),
            ("context", self.context),
        ];
        names.iter().filter(|(_, shown)| *shown).map(|(name, _)| (*name).to_owned()).collect()
    }

    fn row(&self, row: &CombinationDoc) -> Vec<String> {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let names = [
            (row.model.clone(), true),
            (row.runtime.clone(), self.runtime),
            (row.weights.clone(), self.weights),
            (row.kv.clone(), self.kv),
            (number(row.users), self.users),
            (number(length(row)), self.context),
        ];
        names.into_iter().filter(|(_, shown)| *shown).map(|(name, _)| name).collect()
    }
}

/// The tokens of a conversation or a context, where one was asked for.
fn length(row: &CombinationDoc) -> Option<u64> {
    row.context_per_user.or(row.context)
}

fn heading(doc: &SweepDoc, labels: &Labels, first: &CombinationDoc) -> String {
    let mut parts = Vec::new();
    if !labels.weights {
        parts.push(format!("{} weights", first.weights));
    }
    if !labels.kv {
        parts.push(format!("{} KV", first.kv));
    }
    if !labels.runtime {
        parts.push(format!("{} runtime", doc.runtime));
    }
    if !labels.gpu {
        parts.push(format!("{}, {} usable", first.gpu, first.usable));
    }
    let mut text = wrap(&parts.join(" · "), WIDTH);
    let cache = match (doc.cache_tokens, Cells::of(doc)) {
        (_, Cells::Users) => "cells: users there is room for".to_owned(),
        (Some(tokens), _) => format!("{tokens} cached tokens (given)"),
        (None, Cells::Peak) => "cells: peak".to_owned(),
        (None, Cells::Tokens) => "cells: max_cache_tokens (balanced)".to_owned(),
    };
    let batch = if doc.batch > 1 && !labels.users && !doc.users_solved {
        format!(" · batch {}", doc.batch)
    } else {
        String::new()
    };
    let chunk = match doc.prefill_chunk {
        Some(chunk) => format!("prefill chunk {chunk}"),
        None => "each GPU's own prefill chunk".to_owned(),
    };
    let line = format!("{} system tokens · {chunk}{batch} · {cache}", doc.system_tokens);
    text.push_str(&wrap(&line, WIDTH));
    if labels.contexts_across && first.context_per_user.is_some() {
        text.push_str("across: tokens of each user's conversation\n");
    } else if labels.contexts_across {
        text.push_str("across: context in tokens\n");
    }
    text
}

/// What stands in a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cells {
    /// The largest cache.
    Tokens,
    /// What a cache that is given takes.
    Peak,
    /// For how many users there is room.
    Users,
}

impl Cells {
    fn of(doc: &SweepDoc) -> Self {
        let is_given = |c: &CombinationDoc| c.context_per_user.is_some();
        if doc.users_solved {
            Self::Users
        } else if doc.cache_tokens.is_some() || doc.combinations.iter().any(is_given) {
            Self::Peak
        } else {
            Self::Tokens
        }
    }
}

/// As many blocks of GPUs as the width takes.
fn blocks(doc: &SweepDoc, labels: &Labels, rows: &[&[CombinationDoc]]) -> String {
    let kind = Cells::of(doc);
    let header = labels.header();
    let names: Vec<Vec<String>> = rows.iter().map(|row| labels.row(&row[0])).collect();
    let label_width: usize = (0..header.len())
        .map(|i| names.iter().map(|n| width(&n[i])).fold(width(&header[i]), usize::max) + GAP)
        .sum();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|c| cell(c, kind)).collect()).collect();
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|i| {
            cells.iter().map(|c| width(&c[i])).fold(width(&labels.column(&rows[0][i])), usize::max)
        })
        .collect();
    let mut blocks = Vec::new();
    for range in split(&widths, WIDTH.saturating_sub(label_width)) {
        let across: Vec<String> = rows[0][range.clone()].iter().map(|c| labels.column(c)).collect();
        let columns: Vec<&str> = header.iter().chain(&across).map(String::as_str).collect();
        let right: Vec<usize> = (header.len()..columns.len()).collect();
        let mut block = table(&columns, &right);
        for (names, cells) in names.iter().zip(&cells) {
            block.add_row(names.iter().chain(&cells[range.clone()]));
        }
        blocks.push(finish(&block));
    }
    blocks.join("\n")
}

/// Runs of columns that fit into `room`, each of one column at least.
fn split(widths: &[usize], room: usize) -> Vec<std::ops::Range<usize>> {
    let (mut ranges, mut start, mut taken) = (Vec::new(), 0, 0);
    for (index, width) in widths.iter().enumerate() {
        let gap = if index > start { GAP } else { 0 };
        if index > start && taken + gap + width > room {
            ranges.push(start..index);
            (start, taken) = (index, 0);
        }
        taken += width + if index > start { GAP } else { 0 };
    }
    ranges.push(start..widths.len());
    ranges
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// One row for each combination.
fn list(doc: &SweepDoc, labels: &Labels) -> String {
    let mut header = labels.header();
    let right = [header.len(), header.len() + 1];
    let solved = if doc.users_solved { "users" } else { "cache tokens" };
    let kind = if doc.users_solved { Cells::Users } else { Cells::Tokens };
    header.extend([solved, "peak (high)", "verdict"].map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = table(&header, &right);
    for combination in &doc.combinations {
        let mut row = labels.row(combination);
        row.push(cell(combination, kind));
        row.push(match &combination.result {
            Some(result) => format!("{} ({})", result.peak.expected, result.peak.high),
            None => String::new(),
        });
        row.push(combination.verdict.words().to_owned());
        rows.add_row(row);
    }
    finish(&rows)
}

/// Tokens with what binds, the peak, or users.
fn cell(combination: &CombinationDoc, kind: Cells) -> String {
    let Some(result) = &combination.result else { return "×".to_owned() };
    let tight = match combination.verdict {
        Outcome::Fits => "",
        Outcome::Tight => "~",
        Outcome::DoesNotFit | Outcome::Refused => return "–".to_owned(),
    };
    let placed = if combination.placement.is_some() { "m" } else { "" };
    match kind {
        Cells::Peak => return format!("{tight}{}{placed}", result.peak.expected),
        Cells::Users => return format!("{tight}{}{placed}", combination.users.unwrap_or(1)),
        Cells::Tokens => {}
    }
    let binds = match result.largest.as_ref().map(|largest| largest.limited_by) {
        Some(Limit::Context) => "c",
        Some(Limit::Speed) => "s",
        Some(Limit::Vram) | None => "",
    };
    format!("{tight}{}{binds}{placed}", result.cache_tokens)
}

fn is_placed(row: &CombinationDoc) -> bool {
    row.placement.is_some() && matches!(row.verdict, Outcome::Fits | Outcome::Tight)
}

/// What the marks of the matrix mean, as far as they occur, and why the runtime refuses what it does.
fn legend(doc: &SweepDoc) -> String {
    let verdict = |of: Outcome| doc.combinations.iter().any(|c| c.verdict == of);
    let binds = |of: Limit| {
        let mut fitting = doc.combinations.iter().filter(|c| c.verdict == Outcome::Fits);
        Cells::of(doc) == Cells::Tokens
            && fitting.any(|c| c.result.as_ref().is_some_and(|r| r.is_limited_by(of)))
    };
    let marks = [
        (binds(Limit::Context), "c: limited by the context, not by memory"),
        (binds(Limit::Speed), "s: limited by the decode speed asked for"),
        (doc.combinations.iter().any(is_placed), "m: a part of the model in main memory"),
        (verdict(Outcome::Tight), "~: tight, without the headroom"),
        (verdict(Outcome::DoesNotFit), "–: does not fit"),
        (verdict(Outcome::Refused), "×: refused"),
    ];
    let shown: Vec<&str> = marks.iter().filter(|(used, _)| *used).map(|(_, text)| *text).collect();
    let mut text = if shown.is_empty() { String::new() } else { wrap(&shown.join(" · "), WIDTH) };
    let reasons: BTreeSet<&str> =
        doc.combinations.iter().filter_map(|c| c.reason.as_deref()).collect();
    for reason in reasons.iter().take(REASONS) {
        text.push_str(&wrap(&format!("× {reason}"), WIDTH));
    }
    if let Some(more @ 1..) = reasons.len().checked_sub(REASONS) {
        let _ = writeln!(text, "× {more} more reasons: see `--format csv`");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_split_where_the_room_ends() {
        let lengths = |widths: &[usize], room| -> Vec<usize> {
            split(widths, room).into_iter().map(|range| range.len()).collect()
        };
        assert_eq!(lengths(&[5, 5, 5], 19), [3]);
        assert_eq!(lengths(&[5, 5, 5], 18), [2, 1]);
        assert_eq!(lengths(&[50, 5], 10), [1, 1]);
    }
}
