//! The differences as a table, for the summary of a CI run or a comment on a change.

use std::fmt::Write as _;

use super::{FileReport, lines, scenarios};
use crate::text::{markdown, printable_message};

/// A heading that counts, then a row for each scenario that differs, then the files that have none; `updated` where the
/// differences have been written to the files.
pub fn to_markdown(files: &[FileReport], updated: bool) -> String {
    let all = files.iter().map(|file| file.scenarios.len()).sum();
    let drifted: usize = files.iter().map(FileReport::drifted).sum();
    let all = scenarios(all);
    let mut text = match (drifted, updated) {
        (0, _) => format!("### Limits are up to date\n\n{all} checked.\n"),
        (_, true) => format!("### Limits were updated\n\n{drifted} of {all} differed.\n\n"),
        (_, false) => format!("### Limits have drifted\n\n{drifted} of {all} differ.\n\n"),
    };
    if drifted > 0 {
        rows(&mut text, files);
    }
    let same: Vec<_> = files.iter().filter(|file| file.drifted() == 0).collect();
    if !same.is_empty() {
        text.push('\n');
    }
    for file in same {
        let path = markdown(&printable_message(&file.path));
        let _ = writeln!(text, "- {path}: {}, up to date", scenarios(file.scenarios.len()));
    }
    text
}

fn rows(text: &mut String, files: &[FileReport]) {
    text.push_str("| where | scenario | committed → computed |\n|---|---|---|\n");
    for file in files {
        let path = markdown(&printable_message(&file.path));
        for scenario in file.drifting() {
            let label = markdown(&printable_message(&scenario.label));
            let changes: Vec<_> = lines(scenario).iter().map(|line| markdown(line)).collect();
            let (line, changes) = (scenario.line, changes.join("<br>"));
            let _ = writeln!(text, "| {path}:{line} | {label} | {changes} |");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn what_differs_is_a_row_whose_cells_end_where_they_should() {
        let drifted = report("a|b.toml", "L4 · <b>100%</b>", true);
        let same = report("same.toml", "T4", false);
        assert_eq!(
            to_markdown(&[drifted, same], false),
            "### Limits have drifted\n\n1 of 2 scenarios differ.\n\n\
             | where | scenario | committed → computed |\n|---|---|---|\n\
             | a\\|b.toml:7 | L4 · \\<b\\>100%\\</b\\> | max_cache_tokens.balanced: 5 → 3 (−2) |\n\n\
             - same.toml: 1 scenario, up to date\n"
        );
    }

    #[test]
    fn where_nothing_differs_there_is_no_table() {
        let text = to_markdown(&[report("same.toml", "T4", false)], false);
        assert!(text.starts_with("### Limits are up to date\n\n1 scenario checked.\n"), "{text}");
        assert!(!text.contains('|'), "{text}");
    }
}
