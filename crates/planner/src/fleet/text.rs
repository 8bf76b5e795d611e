//! Plans and what was merged, for people.

use std::fmt::Write as _;

use super::merge::MergedDoc;
use super::plan::FleetPlan;
use crate::text::wrap;

const WIDTH: usize = 80;

/// A plan as a table.
pub fn plan_text(plan: &FleetPlan) -> String {
    let rows: Vec<[String; 6]> = plan
        .kinds
        .iter()
        .map(|kind| {
            [
                kind.id.clone(),
                kind.gpu.clone().unwrap_or_else(|| format!("? ({})", kind.said)),
                kind.driver.clone().unwrap_or_else(|| "?".to_owned()),
                kind.nodes.len().to_string(),
                kind.cards.to_string(),
                kind.state.name().to_owned(),
            ]
        })
        .collect();
    let mut text = table(["kind", "card", "driver", "nodes", "cards", "state"], &rows);
    text.push('\n');
    for kind in &plan.kinds {
        let down = match kind.down {
            0 => String::new(),
            down => format!("; {down} of its nodes down"),
        };
        let _ = writeln!(
            text,
            "{}",
            wrap(&format!("{}: {}{down}", kind.id, kind.why), WIDTH).trim_end()
        );
    }
    for note in &plan.notes {
        let _ = writeln!(text, "{}", wrap(&format!("note: {note}"), WIDTH).trim_end());
    }
    text
}

/// What was merged as a table.
pub fn merged_text(merged: &MergedDoc) -> String {
    let rows: Vec<[String; 6]> = merged
        .groups
        .iter()
        .filter(|group| group.key.work.is_none())
        .map(|group| {
            let key = &group.key;
            let release =
                key.release.as_deref().map(|release| format!(" {release}")).unwrap_or_default();
            let cards =
                if key.gpus > 1 { format!("{}x{}", key.gpus, key.gpu) } else { key.gpu.clone() };
            [
                cards,
                key.driver.clone().unwrap_or_else(|| "?".to_owned()),
                format!("{}{release}", key.runtime),
                key.term.id().to_owned(),
                format!("{} ({} – {})", group.median, group.low, group.high),
                group.runs.to_string(),
            ]
        })
        .collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text = table(["card", "driver", "runtime", "term", "median (low – high)", "runs"], &rows);
        text.push('\n');
    }
    let _ = writeln!(text, "{} records, {} jobs done", merged.records, merged.done);
    for group in &merged.groups {
        for outlier in &group.outliers {
            let (key, size, record) = (&group.key, outlier.size, outlier.record);
            let _ = writeln!(
                text,
                "outlier, not counted: {} of {}, {size} in record {record}",
                key.term.id(),
                key.gpu
            );
        }
    }
    for mark in &merged.failed {
        let number = mark.job.as_deref().map(|job| format!(" (job {job})")).unwrap_or_default();
        let _ = writeln!(
            text,
            "failed, not counted: {} {}{number}: {}",
            mark.kind,
            mark.index,
            mark.words()
        );
    }
    for refused in &merged.refused {
        let _ = writeln!(text, "not read: {}: {}", refused.file, refused.why);
    }
    text
}

/// Columns as wide as they have to be.
fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let width = |at: usize| {
        let cells = all().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = width(at);
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
