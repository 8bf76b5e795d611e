//! A matrix for a terminal of 80 columns: models and formats down, GPUs across, in as many blocks as
//! it takes; for one GPU a list.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::sweep::{CombinationDoc, SweepDoc};
use super::terminal::{WIDTH, finish, table};
use crate::text::wrap;

/// Columns between two columns.
const GAP: usize = 2;
/// Reasons of the runtime's that are printed.
const REASONS: usize = 8;

/// The matrix as text.
pub fn to_matrix(doc: &SweepDoc) -> String {
    let Some(first) = doc.combinations.first() else { return String::new() };
    let across = doc.combinations.iter().take_while(|c| same_row(c, first)).count();
    let labels = Labels::of(doc);
    let rows: Vec<&[CombinationDoc]> = doc.combinations.chunks(across).collect();
    let body = if across == 1 { list(doc, &labels) } else { blocks(doc, &labels, &rows) };
    let sections = [heading(doc, &labels, first), body, legend(doc)];
    let shown = sections.into_iter().filter(|section| !section.is_empty());
    shown.collect::<Vec<_>>().join("\n")
}

fn same_row(a: &CombinationDoc, b: &CombinationDoc) -> bool {
    a.model == b.model && a.weights == b.weights && a.kv == b.kv
}

/// Which of a row's names tell it from others; the rest stands in the heading.
struct Labels {
    weights: bool,
    kv: bool,
    gpu: bool,
}

impl Labels {
    fn of(doc: &SweepDoc) -> Self {
        let differ = |of: fn(&CombinationDoc) -> &String| {
            doc.combinations.iter().map(of).collect::<BTreeSet<_>>().len() > 1
        };
        Self { weights: differ(|c| &c.weights), kv: differ(|c| &c.kv), gpu: differ(|c| &c.gpu) }
    }

    fn header(&self) -> Vec<String> {
        let names = [("model", true), ("weights", self.weights), ("kv", self.kv)];
        names.iter().filter(|(_, shown)| *shown).map(|(name, _)| (*name).to_owned()).collect()
    }

    fn row(&self, row: &CombinationDoc) -> Vec<String> {
        let names = [(&row.model, true), (&row.weights, self.weights), (&row.kv, self.kv)];
        names.iter().filter(|(_, shown)| *shown).map(|(name, _)| (*name).clone()).collect()
    }
}

fn heading(doc: &SweepDoc, labels: &Labels, first: &CombinationDoc) -> String {
    let mut parts = Vec::new();
    if !labels.weights {
        parts.push(format!("{} weights", first.weights));
    }
    if !labels.kv {
        parts.push(format!("{} KV", first.kv));
    }
    parts.push(format!("{} runtime", doc.runtime));
    if !labels.gpu {
        parts.push(format!("{}, {} usable", first.gpu, first.usable));
    }
    let mut text = wrap(&parts.join(" · "), WIDTH);
    let cache = match doc.cache_tokens {
        Some(tokens) => format!("{tokens} cached tokens (given)"),
        None => "cells: max_cache_tokens (balanced)".to_owned(),
    };
    let batch = if doc.batch > 1 { format!(" · batch {}", doc.batch) } else { String::new() };
    let chunk = match doc.prefill_chunk {
        Some(chunk) => format!("prefill chunk {chunk}"),
        None => "each GPU's own prefill chunk".to_owned(),
    };
    let line = format!("{} system tokens · {chunk}{batch} · {cache}", doc.system_tokens);
    text.push_str(&wrap(&line, WIDTH));
    text
}

/// As many blocks of GPUs as the width takes.
fn blocks(doc: &SweepDoc, labels: &Labels, rows: &[&[CombinationDoc]]) -> String {
    let given = doc.cache_tokens.is_some();
    let header = labels.header();
    let names: Vec<Vec<String>> = rows.iter().map(|row| labels.row(&row[0])).collect();
    let label_width: usize = (0..header.len())
        .map(|i| names.iter().map(|n| width(&n[i])).fold(width(&header[i]), usize::max) + GAP)
        .sum();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|c| cell(c, given)).collect()).collect();
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|i| cells.iter().map(|c| width(&c[i])).fold(width(&rows[0][i].gpu), usize::max))
        .collect();
    let mut blocks = Vec::new();
    for range in split(&widths, WIDTH.saturating_sub(label_width)) {
        let gpus = rows[0][range.clone()].iter().map(|c| c.gpu.as_str());
        let columns: Vec<&str> = header.iter().map(String::as_str).chain(gpus).collect();
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
    header.extend(["cache tokens", "peak (high)", "verdict"].map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = table(&header, &right);
    for combination in &doc.combinations {
        let mut row = labels.row(combination);
        row.push(cell(combination, false));
        row.push(match &combination.result {
            Some(result) => format!("{} ({})", result.peak.expected, result.peak.high),
            None => String::new(),
        });
        row.push(combination.verdict.replace('_', " "));
        rows.add_row(row);
    }
    finish(&rows)
}

/// Tokens with what binds; where tokens are `given`, the peak.
fn cell(combination: &CombinationDoc, given: bool) -> String {
    let Some(result) = &combination.result else { return "×".to_owned() };
    let tight = match combination.verdict.as_str() {
        "fits" => "",
        "tight" => "~",
        _ => return "–".to_owned(),
    };
    if given {
        return format!("{tight}{}", result.peak.expected);
    }
    let binds = match result.limited_by.as_str() {
        "context" => "c",
        "speed" => "s",
        _ => "",
    };
    format!("{tight}{}{binds}", result.cache_tokens)
}

/// What the marks of the matrix mean, as far as they occur, and why the runtime refuses what it does.
fn legend(doc: &SweepDoc) -> String {
    let verdict = |name: &str| doc.combinations.iter().any(|c| c.verdict == name);
    let binds = |name: &str| {
        let mut fitting = doc.combinations.iter().filter(|c| c.verdict == "fits");
        doc.cache_tokens.is_none()
            && fitting.any(|c| c.result.as_ref().is_some_and(|r| r.limited_by == name))
    };
    let marks = [
        (binds("context"), "c: limited by the context, not by memory"),
        (binds("speed"), "s: limited by the decode speed asked for"),
        (verdict("tight"), "~: tight, without the headroom"),
        (verdict("does_not_fit"), "–: does not fit"),
        (verdict("refused"), "×: refused"),
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
