//! A measured run for a repository or an issue.

use std::fmt::Write as _;

use super::{ComparisonDoc, ObserveDoc, RowDoc, ending, signed};
use vramplan_planner::text::markdown;

/// The document as Markdown.
pub fn to_markdown(document: &ObserveDoc) -> String {
    let mut text = String::from("## Measured run\n\n");
    let _ = writeln!(
        text,
        "`{}` on {}: {:.3} s, {}, {} readings ({:.0} a second). Figures are {}.\n",
        document.command.join(" ").replace('`', "'"),
        markdown(&document.device.name),
        document.seconds,
        ending(document.exit.as_ref()),
        document.sampling.readings,
        document.sampling.rate,
        document.figures
    );
    phases(&mut text, document);
    if let Some(comparison) = &document.comparison {
        compared(&mut text, comparison);
        components(&mut text, comparison);
    }
    if let Some(steps) = &document.steps {
        text.push_str(&steps.to_markdown());
    }
    if let Some(quality) = &document.quality {
        let _ = writeln!(text, "```text\n{}```\n", quality.to_text());
    }
    for diagnosis in &document.diagnoses {
        let _ = writeln!(
            text,
            "- `{}`: {}; {}",
            diagnosis.code,
            cell(&diagnosis.text),
            diagnosis.remedy
        );
    }
    text
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn phases(text: &mut String, document: &ObserveDoc) {
    text.push_str("| phase | begins | lasts | at first | peak | at last | readings |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    for phase in &document.phases {
        let _ = writeln!(
            text,
            "| {} | {:.3} s | {:.3} s | {} | {} | {} | {} |",
            markdown(&phase.name),
            phase.begins,
            phase.seconds,
            phase.begin,
            phase.peak,
            phase.end,
            phase.readings
        );
    }
    if let Some(peak) = &document.peak {
        let _ = writeln!(
            text,
            "\nPeak **{}** at {:.3} s; {} before the start are deducted.",
            peak.bytes, peak.at, document.baseline
        );
    }
    text.push('\n');
}

fn compared(text: &mut String, comparison: &ComparisonDoc) {
    text.push_str("| plan | low | expected | high | measured | difference | |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---|\n");
    for phase in &comparison.phases {
        row(text, &markdown(&phase.name), &phase.row);
    }
    if let Some(peak) = &comparison.peak {
        row(text, &format!("**peak ({})**", comparison.plan.peak_phase.title()), peak);
    }
    let verdict = if comparison.within { "Within" } else { "Outside" };
    let _ = writeln!(text, "\n{verdict} {}% of the plan's bounds.\n", comparison.tolerance_percent);
    for outside in &comparison.outside {
        let _ = writeln!(text, "- {}", markdown(outside));
    }
    if !comparison.outside.is_empty() {
        text.push('\n');
    }
}

fn row(text: &mut String, name: &str, row: &RowDoc) {
    let percent = row.percent.map(|percent| format!(" ({percent:+.1}%)")).unwrap_or_default();
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {}{percent} | {} |",
        row.plan.low,
        row.plan.expected,
        row.plan.high,
        row.measured,
        signed(row.difference),
        row.verdict
    );
}

fn components(text: &mut String, comparison: &ComparisonDoc) {
    text.push_str("| component at the peak | low | expected | high | stated | difference | |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---|\n");
    for component in &comparison.components {
        let cells = component
            .stated
            .as_ref()
            .map(|row| [row.measured.to_string(), signed(row.difference), row.verdict.clone()]);
        let [stated, difference, verdict] = cells.unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {stated} | {difference} | {verdict} |",
            component.id.title(),
            component.plan.low,
            component.plan.expected,
            component.plan.high
        );
    }
    if let Some(unexplained) = comparison.unexplained {
        let _ = writeln!(text, "| **unexplained** | | | | | {} | |", signed(unexplained));
    }
    text.push('\n');
    by_phase(text, comparison);
}

/// Components as the program stated them, phase by phase.
fn by_phase(text: &mut String, comparison: &ComparisonDoc) {
    if comparison.by_phase.is_empty() {
        return;
    }
    text.push_str("| component in a phase | low | expected | high | stated | difference | |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---|\n");
    for measure in &comparison.by_phase {
        let name = format!("{}: {}", markdown(&measure.phase), measure.id.title());
        row(text, &name, &measure.stated);
    }
    text.push('\n');
}
