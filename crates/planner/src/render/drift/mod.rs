//! How committed limits differ from what is computed: for people, and as the CI of GitHub and GitLab shows it.

mod gitlab;
mod markdown;

use std::fmt::Write as _;

pub use gitlab::to_gitlab;
pub use markdown::to_markdown;

use crate::limits_table::{Change, Leaf};
use crate::text::{printable, printable_message};

/// A table's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Its path as it was given.
    pub path: String,
    /// Its scenarios.
    pub scenarios: Vec<ScenarioReport>,
}

/// A scenario of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioReport {
    /// The line of its limits.
    pub line: usize,
    /// What it is: GPU, model, formats.
    pub label: String,
    /// What differs.
    pub changes: Vec<Change>,
}

impl FileReport {
    /// How many scenarios differ.
    pub fn drifted(&self) -> usize {
        self.drifting().count()
    }

    /// The scenarios that differ.
    fn drifting(&self) -> impl Iterator<Item = &ScenarioReport> {
        self.scenarios.iter().filter(|scenario| !scenario.changes.is_empty())
    }
}

/// The differences for people; `updated` where they have been written to the files.
pub fn to_report(files: &[FileReport], updated: bool) -> String {
    let mut text = String::new();
    for file in files {
        let state = match (file.drifted(), updated) {
            (0, _) => "up to date".to_owned(),
            (n, true) => format!("{n} updated"),
            (n, false) => format!("{n} drifted"),
        };
        let _ = writeln!(
            text,
            "{}: {}, {state}",
            printable_message(&file.path),
            scenarios(file.scenarios.len())
        );
        for scenario in file.drifting() {
            let _ =
                writeln!(text, "  line {}: {}", scenario.line, printable_message(&scenario.label));
            for line in lines(scenario) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    text
}

fn scenarios(count: usize) -> String {
    if count == 1 { "1 scenario".to_owned() } else { format!("{count} scenarios") }
}

/// One error annotation for each scenario that differs.
pub fn to_github(files: &[FileReport]) -> String {
    let mut text = String::new();
    for file in files {
        for scenario in file.drifting() {
            let label = std::iter::once(printable_message(&scenario.label));
            let lines: Vec<_> = label.chain(lines(scenario)).collect();
            let _ = writeln!(
                text,
                "::error file={},line={},title=limits drifted::{}",
                property(&file.path),
                scenario.line,
                data(&lines.join("\n"))
            );
        }
    }
    text
}

/// What differs in a scenario, or that it had no limits. What is committed may hold anything: a line of it
/// must not pass for a command of the CI that prints it.
fn lines(scenario: &ScenarioReport) -> Vec<String> {
    if scenario.changes.iter().all(|change| change.committed.is_none()) {
        return vec!["had no limits".to_owned()];
    }
    scenario
        .changes
        .iter()
        .map(|change| format!("{}: {}", printable(&change.key), difference(change)))
        .collect()
}

/// `19522 → 18000 (−1522)`.
fn difference(change: &Change) -> String {
    let shown = |leaf: &Option<Leaf>| {
        leaf.as_ref().map_or("nothing".to_owned(), |leaf| printable(&leaf.to_string()))
    };
    let text = format!("{} → {}", shown(&change.committed), shown(&change.computed));
    match (&change.committed, &change.computed) {
        (Some(Leaf::Number(from)), Some(Leaf::Number(to))) => {
            let (sign, by) =
                if to > from { ("+", to.abs_diff(*from)) } else { ("−", from.abs_diff(*to)) };
            format!("{text} ({sign}{by})")
        }
        _ => text,
    }
}

/// The text of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(from: Leaf, to: Option<Leaf>) -> Change {
        Change { key: "max_cache_tokens.balanced".into(), committed: Some(from), computed: to }
    }

    /// A file of one scenario, on line 7.
    pub(super) fn report(path: &str, label: &str, drifted: bool) -> FileReport {
        let changes = drifted.then(|| change(Leaf::Number(5), Some(Leaf::Number(3))));
        let scenario =
            ScenarioReport { line: 7, label: label.into(), changes: changes.into_iter().collect() };
        FileReport { path: path.into(), scenarios: vec![scenario] }
    }

    #[test]
    fn differences_of_numbers_are_signed() {
        let number = Leaf::Number;
        assert_eq!(difference(&change(number(5), Some(number(3)))), "5 → 3 (−2)");
        assert_eq!(difference(&change(number(5), Some(number(9)))), "5 → 9 (+4)");
        let text = Leaf::Text("10 MiB".into());
        assert_eq!(difference(&change(text, None)), "10 MiB → nothing");
    }

    #[test]
    fn annotations_are_escaped() {
        let file = report("a,b:c.toml", "L4 · 100%", true);
        assert_eq!(
            to_github(&[file]),
            "::error file=a%2Cb%3Ac.toml,line=7,title=limits drifted::\
             L4 · 100%25%0Amax_cache_tokens.balanced: 5 → 3 (−2)\n"
        );
    }
}
