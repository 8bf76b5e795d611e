//! The scoreboard for a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use vramplan_scoreboard::statistics::Statistics;
use vramplan_scoreboard::{Board, Hit};

pub const HEADER: [&str; 12] = [
    "runtime",
    "against",
    "part",
    "rows",
    "median",
    "p90",
    "worst",
    "bias",
    "within",
    "high over",
    "aside: ≤ high",
    "high over",
];

/// What is printed of a runtime that has no rows.
pub const NO_ROWS: &str = "vramplan: needs a GPU, no rows";

/// The scoreboard, and what was left out.
pub fn to_table(board: &Board) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(HEADER);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in cells(board) {
        table.add_row(row);
    }
    let mut text = format!("{table}\n\n{NO_ROWS}\n\nleft out:\n");
    for ((runtime, reason), rows) in &board.left_out {
        let _ = writeln!(text, "  {rows:3}  {runtime}: {reason}");
    }
    text
}

/// The cells of every group.
pub fn cells(board: &Board) -> Vec<[String; 12]> {
    let groups = board.groups();
    let with = groups.filter_map(|(runtime, origin, part, hits)| {
        let all = Statistics::of(hits.iter().copied())?;
        let aside = Statistics::of(hits.iter().copied().filter(|hit| !hit.is_set_from()));
        let [covered, slack] = aside.map_or(["–".to_owned(), "–".to_owned()], |aside| {
            let covered = aside.below_high * f64::from(u32::try_from(aside.rows).unwrap_or(0));
            [format!("{covered:.0}/{}", aside.rows), percent(aside.slack)]
        });
        Some([
            runtime.to_string(),
            origin.to_string(),
            part.to_string(),
            all.rows.to_string(),
            percent(all.median),
            percent(all.p90),
            signed(all.worst),
            signed(all.bias),
            format!("{:.1}%", 100.0 * all.within),
            percent(all.slack),
            covered,
            slack,
        ])
    });
    with.collect()
}

/// Rows of the groups whose name starts with `wanted`, worst first.
pub fn rows(board: &Board, wanted: &str) -> String {
    let mut text = String::new();
    for (runtime, origin, part, mut hits) in board.groups() {
        if !format!("{runtime} {origin} {part}").starts_with(wanted) {
            continue;
        }
        hits.sort_by(|a, b| b.error().abs().total_cmp(&a.error().abs()));
        for Hit { what, measured, predicted: [low, expected, high], row, .. } in &hits {
            let error = signed(expected / measured - 1.0);
            let _ = writeln!(
                text,
                "{error:>9} {expected:10.2} ({low:.2} to {high:.2}) MiB for {measured:.2}, {what}: {row}"
            );
        }
    }
    text
}

/// A share as a percentage that is never `-0.00%`.
pub fn percent(share: f64) -> String {
    let text = format!("{:.2}%", 100.0 * share);
    if text == "-0.00%" { "0.00%".to_owned() } else { text }
}

/// The same with its sign.
pub fn signed(share: f64) -> String {
    let text = format!("{:+.2}%", 100.0 * share);
    if text.ends_with("0.00%") && text.len() == 6 { "0.00%".to_owned() } else { text }
}
