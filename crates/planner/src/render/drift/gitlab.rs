//! The differences as a report of GitLab's Code Quality, which a merge request shows at their lines.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{FileReport, lines};
use crate::text::printable_message;

/// A finding, as GitLab reads it: `docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format`.
#[derive(Serialize)]
struct Issue {
    description: String,
    check_name: &'static str,
    /// What tells a finding from others and is the same from run to run, so no line number.
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

/// A list with a finding for each scenario that differs.
///
/// # Errors
///
/// Serde's, of which a list of texts and numbers has none.
pub fn to_gitlab(files: &[FileReport]) -> Result<String, serde_json::Error> {
    let issues: Vec<Issue> = files.iter().flat_map(issues).collect();
    serde_json::to_string_pretty(&issues).map(|text| text + "\n")
}

fn issues(file: &FileReport) -> Vec<Issue> {
    let path = printable_message(&file.path);
    let mut seen = BTreeMap::new();
    let issue = |scenario: &super::ScenarioReport| {
        let label = printable_message(&scenario.label);
        let nth: &mut u32 = seen.entry(label.clone()).or_default();
        *nth += 1;
        Issue {
            description: format!("{label}: {}", lines(scenario).join("; ")),
            check_name: "limits-drifted",
            fingerprint: format!("vramplan/{path}/{label}/{nth}"),
            severity: "major",
            location: Location { path: path.clone(), lines: Lines { begin: scenario.line } },
        }
    };
    file.drifting().map(issue).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn two_scenarios_of_one_name_are_two_findings() {
        let mut file = report("limits.toml", "L4", true);
        file.scenarios.push(file.scenarios[0].clone());
        let list: serde_json::Value = serde_json::from_str(&to_gitlab(&[file]).unwrap()).unwrap();
        assert_eq!(list[0]["location"]["lines"]["begin"], 7);
        assert_eq!(list[0]["description"], "L4: max_cache_tokens.balanced: 5 → 3 (−2)");
        assert_ne!(list[0]["fingerprint"], list[1]["fingerprint"]);
    }

    #[test]
    fn no_difference_is_an_empty_list() {
        assert_eq!(to_gitlab(&[report("limits.toml", "L4", false)]).unwrap(), "[]\n");
    }
}
