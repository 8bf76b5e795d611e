//! Two plans side by side, schema `vramplan/compare/v1`: what is, and what is proposed.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::document::{DeploymentDoc, Document, PeakDoc, RecommendationDoc};
use super::terminal::{finish, table};
use crate::deployment::Question;
use crate::estimate::Component;
use crate::plan::Verdict;
use crate::recommend::TierName;
use crate::text::markdown;
use crate::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/compare/v1";

/// Two plans, and how they differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CompareDoc {
    /// `vramplan/compare/v1`.
    pub schema: String,
    /// What is.
    pub current: SideDoc,
    /// What is proposed.
    pub proposed: SideDoc,
    /// The inputs that differ, as they are written.
    pub changes: Vec<ChangeDoc>,
    /// What each component holds at its plan's peak.
    pub components: Vec<DifferenceDoc>,
    /// The expected peaks.
    pub peak_difference: i64,
}

/// One of the plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SideDoc {
    /// Where it is from.
    pub name: String,
    /// What was asked, and what it was resolved to.
    pub deployment: DeploymentDoc,
    /// What the run can take of the card.
    pub usable: Bytes,
    /// The largest phase.
    pub peak: PeakDoc,
    /// Whether it does what is asked for.
    pub verdict: Verdict,
    /// What of main memory has to be free for that verdict, where nothing says how much there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_memory_needed: Option<Bytes>,
    /// How much is missing: for the expected peak where that does not fit, else for the headroom.
    pub short_by: Bytes,
    /// The sizes that fit.
    pub recommendation: RecommendationDoc,
}

/// An input that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeDoc {
    /// Its name.
    pub input: String,
    /// What it is.
    pub current: String,
    /// What is proposed.
    pub proposed: String,
}

/// A component of both plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DifferenceDoc {
    /// Its stable name.
    pub id: Component,
    /// What it holds now.
    pub current: Bytes,
    /// What it would hold.
    pub proposed: Bytes,
    /// By how much that is more; negative where it is less.
    pub difference: i64,
}

impl CompareDoc {
    /// Compares two plans, each with the name of where it is from.
    pub fn new(current: (&str, &Document), proposed: (&str, &Document)) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            changes: changes(&current.1.deployment, &proposed.1.deployment),
            components: components(current.1, proposed.1),
            peak_difference: difference(
                current.1.peak.total.expected,
                proposed.1.peak.total.expected,
            ),
            current: side(current),
            proposed: side(proposed),
        }
    }

    /// The document as indented JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// The document for a terminal.
    pub fn to_table(&self) -> String {
        let mut text =
            format!("current   {}\nproposed  {}\n", self.current.name, self.proposed.name);
        for section in self.sections() {
            let mut rows = table(&section.header, &section.right());
            for row in &section.rows {
                rows.add_row(row);
            }
            text.push('\n');
            text.push_str(&finish(&rows));
        }
        text
    }

    /// The document as Markdown tables.
    pub fn to_markdown(&self) -> String {
        let mut text =
            format!("Current: `{}`. Proposed: `{}`.\n", code(&self.current), code(&self.proposed));
        for section in self.sections() {
            let _ = writeln!(text, "\n| {} |", section.header.join(" | "));
            let right = section.right();
            let rules = (0..section.header.len())
                .map(|index| if right.contains(&index) { "---:" } else { "---" });
            let _ = writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|"));
            for row in &section.rows {
                let cells: Vec<_> = row.iter().map(|cell| markdown(cell)).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
        }
        text
    }

    fn sections(&self) -> Vec<Section> {
        let changes = self.changes.iter().map(|change| {
            vec![change.input.clone(), change.current.clone(), change.proposed.clone()]
        });
        let changes = Section {
            header: vec!["input", "current", "proposed"],
            numbers: false,
            rows: changes.collect(),
        };
        let sections = [changes, self.sizes(), self.limits()];
        sections.into_iter().filter(|section| !section.rows.is_empty()).collect()
    }

    fn sizes(&self) -> Section {
        let mut rows: Vec<_> = self
            .components
            .iter()
            .map(|row| size_row(row.id.title(), row.current, row.proposed))
            .collect();
        let (current, proposed) = (self.current.peak.total, self.proposed.peak.total);
        rows.push(size_row("peak", current.expected, proposed.expected));
        rows.push(size_row("peak (high)", current.high, proposed.high));
        rows.push(size_row("usable", self.current.usable, self.proposed.usable));
        let left = |side: &SideDoc| side.usable.minus_or_zero(side.peak.total.expected);
        rows.push(size_row("left", left(&self.current), left(&self.proposed)));
        let header = vec!["component", "current", "proposed", "difference"];
        Section { header, numbers: true, rows }
    }

    fn limits(&self) -> Section {
        let sides = [&self.current, &self.proposed];
        let row = |title: &str, of: &dyn Fn(&SideDoc) -> String| {
            let [current, proposed] = sides.map(of);
            vec![title.to_owned(), current, proposed]
        };
        let tokens = |side: &SideDoc, window: bool| {
            let balanced =
                side.recommendation.tiers.iter().find(|tier| tier.name == TierName::Balanced);
            let number = |tier: &super::TierDoc| {
                if window { tier.recent_window } else { tier.max_cache_tokens }
            };
            balanced.map_or(String::new(), |tier| number(tier).to_string())
        };
        let rows = vec![
            row("verdict", &|side| side.verdict.words().to_owned()),
            row("max_cache_tokens (balanced)", &|side| tokens(side, false)),
            row("recent_window (balanced)", &|side| tokens(side, true)),
            row("hard maximum", &|side| side.recommendation.hard_max_cache_tokens.to_string()),
            row("limited by", &|side| side.recommendation.limited_by.id().to_owned()),
        ];
        Section { header: vec!["limit", "current", "proposed"], numbers: true, rows }
    }
}

/// A table of the comparison.
struct Section {
    header: Vec<&'static str>,
    /// Whether the columns after the first are aligned to the right.
    numbers: bool,
    rows: Vec<Vec<String>>,
}

impl Section {
    fn right(&self) -> Vec<usize> {
        if self.numbers { (1..self.header.len()).collect() } else { Vec::new() }
    }
}

/// A side's name within backticks.
fn code(side: &SideDoc) -> String {
    side.name.replace('`', "'")
}

fn side((name, document): (&str, &Document)) -> SideDoc {
    SideDoc {
        name: name.to_owned(),
        deployment: document.deployment.clone(),
        usable: document.capacity.usable,
        peak: document.peak.clone(),
        verdict: document.verdict,
        main_memory_needed: document.main_memory_needed,
        short_by: document.short_by,
        recommendation: document.recommendation.clone(),
    }
}

/// The keys of the question that differ as it was resolved.
fn changes(current: &DeploymentDoc, proposed: &DeploymentDoc) -> Vec<ChangeDoc> {
    let fields = |asked: &DeploymentDoc| {
        let resolved = Question { model: Some(asked.model.name.clone()), ..asked.resolved.clone() };
        toml::Table::try_from(resolved).unwrap_or_default()
    };
    // Versions of different runtimes have nothing in common.
    let same_runtime = current.resolved.runtime == proposed.resolved.runtime;
    let (current, proposed) = (fields(current), fields(proposed));
    let text = |value: Option<&toml::Value>| match value {
        None => "–".to_owned(),
        Some(toml::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let new = proposed.keys().filter(|name| !current.contains_key(*name));
    current
        .keys()
        .chain(new)
        .filter(|name| same_runtime || *name != "runtime_version")
        .filter(|name| current.get(*name) != proposed.get(*name))
        .map(|name| ChangeDoc {
            input: name.clone(),
            current: text(current.get(name)),
            proposed: text(proposed.get(name)),
        })
        .collect()
}

fn components(current: &Document, proposed: &Document) -> Vec<DifferenceDoc> {
    let size = |document: &Document, id| {
        document.components.iter().find(|row| row.id == id).map(|row| row.expected)
    };
    let row = |id| {
        let [current, proposed] =
            [current, proposed].map(|document| size(document, id).unwrap_or_default());
        if current.is_zero() && proposed.is_zero() {
            return None;
        }
        Some(DifferenceDoc { id, current, proposed, difference: difference(current, proposed) })
    };
    Component::ALL.into_iter().filter_map(row).collect()
}

fn difference(current: Bytes, proposed: Bytes) -> i64 {
    i64::try_from(proposed.diff(current)).unwrap_or(i64::MAX)
}

fn size_row(title: &str, current: Bytes, proposed: Bytes) -> Vec<String> {
    let by = difference(current, proposed);
    let signed = match by {
        0 => String::new(),
        _ => format!("{}{}", if by < 0 { "−" } else { "+" }, Bytes::new(by.unsigned_abs())),
    };
    vec![title.to_owned(), current.to_string(), proposed.to_string(), signed]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_a_sign() {
        let mib = |n| Bytes::mib(n).unwrap();
        assert_eq!(size_row("x", mib(3), mib(1))[3], "−2.00 MiB");
        assert_eq!(size_row("x", mib(1), mib(3))[3], "+2.00 MiB");
        assert_eq!(size_row("x", mib(1), mib(1))[3], "");
    }
}
