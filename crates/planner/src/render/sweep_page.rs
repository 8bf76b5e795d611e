//! A matrix as Markdown, and as a page that shows by colour what fits.

use std::fmt::Write as _;

use super::matrix::Grid;
use super::sweep::{CombinationDoc, SweepDoc};
use crate::text::{html as escaped, markdown};

/// The matrix as a Markdown table.
pub fn sweep_to_markdown(doc: &SweepDoc) -> String {
    let Some(grid) = Grid::of(doc) else { return String::new() };
    let mut text = String::new();
    for line in paragraphs(&grid.heading) {
        let _ = writeln!(text, "{}\n", markdown(&line));
    }
    let cells = |cells: &mut dyn Iterator<Item = &String>| {
        cells.map(|cell| markdown(cell)).collect::<Vec<_>>().join(" | ")
    };
    let _ = writeln!(text, "| {} |", cells(&mut grid.labels.iter().chain(&grid.columns)));
    let sides = grid.labels.iter().map(|_| "---").chain(grid.columns.iter().map(|_| "---:"));
    let _ = writeln!(text, "|{}|", sides.collect::<Vec<_>>().join("|"));
    for row in &grid.rows {
        let shown = row.cells.iter().map(|(_, shown)| shown);
        let _ = writeln!(text, "| {} |", cells(&mut row.labels.iter().chain(shown)));
    }
    for line in paragraphs(&grid.legend) {
        let _ = writeln!(text, "\n{}", markdown(&line));
    }
    text
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;margin:2rem auto;padding:0 1rem;\
max-width:80rem}\
h1{font-size:1.5rem}.scroll{overflow-x:auto}table{border-collapse:collapse}\
th,td{padding:.3rem .6rem;border:1px solid #8884;text-align:left}th{font-weight:600}\
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;color:#111}\
.fits{background:hsl(155 45% var(--light))}.tight{background:#f3d58a}.does_not_fit{background:#e6b3ae}\
.refused{background:#d5d5d5}.note{color:#777;font-size:.9rem}";

/// The matrix as one page: the more of a card stays free, the lighter is its cell.
pub fn sweep_to_html(doc: &SweepDoc) -> String {
    const TITLE: &str = "What fits where";
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{TITLE}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{TITLE}</h1>\n"
    );
    if let Some(grid) = Grid::of(doc) {
        for line in paragraphs(&grid.heading) {
            let _ = writeln!(page, "<p>{}</p>", escaped(&line));
        }
        table(&mut page, &grid);
        for line in paragraphs(&grid.legend) {
            let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(&line));
        }
    }
    page + "</body>\n</html>\n"
}

fn table(page: &mut String, grid: &Grid<'_>) {
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for name in grid.labels.iter().chain(&grid.columns) {
        let _ = write!(page, "<th>{}</th>", escaped(name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &grid.rows {
        page.push_str("<tr>");
        for label in &row.labels {
            let _ = write!(page, "<td>{}</td>", escaped(label));
        }
        for (found, shown) in &row.cells {
            cell(page, found, shown);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// A cell; what it shows in short is said whole where a pointer rests on it.
fn cell(page: &mut String, found: &CombinationDoc, shown: &str) {
    let peak = found.result.as_ref().map(|result| {
        format!(": {} of {}, up to {}", result.peak.expected, found.usable, result.peak.high)
    });
    let placed = found.placement.as_ref().map(|flags| format!(", {flags}"));
    let why = found.reason.as_ref().map(|reason| format!(": {reason}"));
    let parts: String = [peak, placed, why].into_iter().flatten().collect();
    let _ = write!(
        page,
        "<td class=\"n {}\" style=\"--light:{}%\" title=\"{}\">{}</td>",
        found.verdict.id(),
        lightness(found),
        escaped(&format!("{}{parts}", found.verdict.words())),
        escaped(shown)
    );
}

/// From 60 where the card is full to 90 where it is empty.
fn lightness(found: &CombinationDoc) -> u64 {
    const DARKEST: u64 = 60;
    const RANGE: u64 = 30;
    let Some(result) = &found.result else { return DARKEST };
    let free = found.usable.minus_or_zero(result.peak.expected);
    let whole = found.usable.get().max(1);
    DARKEST + free.scale(RANGE, whole).map_or(0, |share| share.get().min(RANGE))
}

/// Lines as they were before they were broken for a terminal.
fn paragraphs(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("  "), lines.last_mut()) {
            (Some(rest), Some(last)) => {
                last.push(' ');
                last.push_str(rest);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}
