//! A measured run for a terminal of 80 columns.

use super::{
    ComparisonDoc, ObserveDoc, PhaseComponentMeasure, QualityDoc, RowDoc, StepsDoc, ending, signed,
};
use vramplan_planner::render::terminal::{WIDTH, finish, range, table};
use vramplan_planner::text::wrap;

/// The document as text.
pub fn to_table(document: &ObserveDoc) -> String {
    let mut sections = vec![heading(document), phases(document)];
    if let Some(comparison) = &document.comparison {
        sections.push(compared(comparison));
        sections.push(components(comparison));
    }
    sections.extend(document.steps.as_ref().map(StepsDoc::to_table));
    sections.extend(document.quality.as_ref().map(QualityDoc::to_text));
    sections.push(noticed(document));
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn heading(document: &ObserveDoc) -> String {
    let mut text = wrap(&format!("`{}`", document.command.join(" ")), WIDTH);
    let sampling = &document.sampling;
    let line = format!(
        "{} · {:.3} s · {} · {} readings, {:.0} a second",
        document.device.name,
        document.seconds,
        ending(document.exit.as_ref()),
        sampling.readings,
        sampling.rate,
    );
    text.push_str(&wrap(&line, WIDTH));
    let baseline = if document.baseline.is_zero() {
        String::new()
    } else {
        format!("; {} before the start are deducted", document.baseline)
    };
    text.push_str(&wrap(&format!("{}{baseline}", document.figures), WIDTH));
    text
}

fn phases(document: &ObserveDoc) -> String {
    let header = ["phase", "begins", "lasts", "at first", "peak", "at last", "readings"];
    let mut rows = table(&header, &[1, 2, 3, 4, 5, 6]);
    for phase in &document.phases {
        let times =
            if phase.occurrences > 1 { format!(" ×{}", phase.occurrences) } else { String::new() };
        rows.add_row([
            format!("{}{times}", phase.name),
            format!("{:.3} s", phase.begins),
            format!("{:.3} s", phase.seconds),
            phase.begin.to_string(),
            phase.peak.to_string(),
            phase.end.to_string(),
            phase.readings.to_string(),
        ]);
    }
    let mut text = finish(&rows);
    if let Some(peak) = &document.peak {
        let phase = peak.phase.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        let after =
            document.after.map(|after| format!("; {after} held afterwards")).unwrap_or_default();
        let line = format!("peak {} at {:.3} s{phase}{after}", peak.bytes, peak.at);
        text.push('\n');
        text.push_str(&wrap(&line, WIDTH));
    }
    text
}

fn compared(comparison: &ComparisonDoc) -> String {
    let mut rows =
        table(&["plan", "low – high", "expected", "measured", "difference", ""], &[1, 2, 3, 4]);
    for phase in &comparison.phases {
        rows.add_row(cells(phase.name.clone(), &phase.row));
    }
    if let Some(peak) = &comparison.peak {
        rows.add_row(cells(format!("peak ({})", comparison.plan.peak_phase.title()), peak));
    }
    let verdict = if comparison.within { "within" } else { "outside" };
    let line = format!("{verdict} {}% of the plan's bounds", comparison.tolerance_percent);
    let mut text = format!("{}\n{}", finish(&rows), wrap(&line, WIDTH));
    for outside in &comparison.outside {
        text.push_str(&wrap(&format!("- {outside}"), WIDTH));
    }
    text
}

fn cells(name: String, row: &RowDoc) -> [String; 6] {
    let percent = row.percent.map(|percent| format!(" ({percent:+.1}%)")).unwrap_or_default();
    [
        name,
        range(row.plan),
        row.plan.expected.to_string(),
        row.measured.to_string(),
        format!("{}{percent}", signed(row.difference)),
        row.verdict.clone(),
    ]
}

fn components(comparison: &ComparisonDoc) -> String {
    let header = ["component at the peak", "low – high", "expected", "stated", "difference", ""];
    let mut rows = table(&header, &[1, 2, 3, 4]);
    for component in &comparison.components {
        let unknown = || ["–".to_owned(), String::new(), String::new()];
        let stated = component.stated.as_ref();
        let [stated, difference, verdict] = stated.map_or_else(unknown, |row| {
            [row.measured.to_string(), signed(row.difference), row.verdict.clone()]
        });
        rows.add_row([
            component.id.title().to_owned(),
            range(component.plan),
            component.plan.expected.to_string(),
            stated,
            difference,
            verdict,
        ]);
    }
    if let Some(unexplained) = comparison.unexplained {
        let none = String::new;
        let name = "unexplained".to_owned();
        rows.add_row([name, none(), none(), none(), signed(unexplained), none()]);
    }
    format!("{}{}", finish(&rows), differing(comparison))
}

/// Components that were stated in a phase and are not what was planned there, or that all are.
fn differing(comparison: &ComparisonDoc) -> String {
    if comparison.by_phase.is_empty() {
        return String::new();
    }
    let differing = comparison.by_phase.iter().filter(|row| row.stated.difference != 0);
    let line = |row: &PhaseComponentMeasure| {
        let line = format!(
            "- {} in {}: {} instead of {}, {}",
            row.id.title(),
            row.phase,
            row.stated.measured,
            row.stated.plan.expected,
            row.stated.verdict
        );
        wrap(&line, WIDTH)
    };
    let lines: String = differing.map(line).collect();
    if lines.is_empty() {
        let text = format!(
            "all {} figures that the program states by phase and component are those of the plan, to \
             the byte",
            comparison.by_phase.len()
        );
        return format!("\n{}", wrap(&text, WIDTH));
    }
    format!("\n{lines}")
}

fn noticed(document: &ObserveDoc) -> String {
    let mut text = String::new();
    for diagnosis in &document.diagnoses {
        let line = format!("- {}: {}; {}", diagnosis.code, diagnosis.text, diagnosis.remedy);
        text.push_str(&wrap(&line, WIDTH));
    }
    text
}
