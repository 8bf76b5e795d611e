//! What a run has beside its own measurement: sizes that were tried, what eviction loses.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use vramplan_planner::render::terminal::{WIDTH, finish, table};
use vramplan_planner::text::wrap;
use vramplan_planner::units::Bytes;

/// What else was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Sizes that were tried.
    pub steps: Option<StepsDoc>,
    /// What eviction loses.
    pub quality: Option<QualityDoc>,
}

/// Sizes of the cache that were run one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepsDoc {
    /// Every run, in order.
    pub runs: Vec<StepDoc>,
    /// The largest size that ran.
    pub proven_cache_tokens: u64,
    /// The largest size whose low bound fits, by the plan.
    pub hard_max_cache_tokens: u64,
    /// What keeps the recommended size from being larger.
    pub limited_by: String,
    /// Whether the recommended size ran, and the first one past the hard maximum did not.
    pub as_planned: bool,
}

/// A size that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepDoc {
    /// Tokens of the conversation cache.
    pub cache_tokens: u64,
    /// Why this size: the names of tiers, `hard maximum`, `past it`, `between`.
    pub size: String,
    /// Whether it ran.
    pub ran: bool,
    /// Why it did not, and in which phase.
    pub failure: Option<String>,
    /// The most that it held.
    pub peak: Option<Bytes>,
}

/// What eviction loses on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QualityDoc {
    /// The recent window that loses least.
    pub recent_window: u64,
    /// Whether it is the one that was planned and run with.
    pub used: bool,
    /// Schema `vramplan/quality/v1`.
    pub report: serde_json::Value,
    /// The same for reading.
    pub text: String,
}

/// What a run of everything is called.
const WHOLE: &str = "whole run";
/// The share of a size by which one that did not run whole is lowered.
const BACK: u64 = 64;

impl StepsDoc {
    /// Notes that the largest size that ran did not run whole, and goes back a little, to the next smaller
    /// size that ran at most; nothing where there is none.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "climbed on Linux"))]
    pub fn retreat(&mut self, failure: &str) -> Option<u64> {
        self.runs.push(StepDoc {
            cache_tokens: self.proven_cache_tokens,
            size: WHOLE.to_owned(),
            ran: false,
            failure: Some(failure.to_owned()),
            peak: None,
        });
        let ran = self.runs.iter().filter(|run| run.ran).map(|run| run.cache_tokens);
        let smaller = ran.filter(|tokens| *tokens < self.proven_cache_tokens).max()?;
        let back = (self.proven_cache_tokens / BACK).max(1);
        self.proven_cache_tokens = smaller.max(self.proven_cache_tokens - back);
        Some(self.proven_cache_tokens)
    }

    /// Notes that a size ran whole, unless it is known to run.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "climbed on Linux"))]
    pub fn prove(&mut self, peak: Option<Bytes>) {
        let cache_tokens = self.proven_cache_tokens;
        if self.runs.iter().all(|run| !run.ran || run.cache_tokens != cache_tokens) {
            let (size, ran, failure) = (WHOLE.to_owned(), true, None);
            self.runs.push(StepDoc { cache_tokens, size, ran, failure, peak });
        }
    }

    fn cells(run: &StepDoc) -> [String; 4] {
        let size = |size: &Bytes| size.to_string();
        [
            run.cache_tokens.to_string(),
            run.size.clone(),
            run.failure.clone().unwrap_or_else(|| "ran".to_owned()),
            run.peak.as_ref().map_or_else(|| "–".to_owned(), size),
        ]
    }

    fn verdict(&self) -> String {
        let planned = if self.as_planned { "as planned" } else { "not as planned" };
        format!(
            "{} tokens ran; the plan's hard maximum is {} ({planned})",
            self.proven_cache_tokens, self.hard_max_cache_tokens
        )
    }

    /// For a terminal.
    pub(super) fn to_table(&self) -> String {
        let mut rows = table(&["cache tokens", "size", "outcome", "peak"], &[0, 3]);
        for run in &self.runs {
            rows.add_row(Self::cells(run));
        }
        format!("{}\n{}", finish(&rows), wrap(&self.verdict(), WIDTH))
    }

    /// For a repository.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = "| cache tokens | size | outcome | peak |\n|---:|---|---|---:|\n".to_owned();
        for run in &self.runs {
            let cells = Self::cells(run).map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        let _ = writeln!(text, "\n{}.\n", self.verdict());
        text
    }
}

impl QualityDoc {
    /// The report with what was made of it.
    pub(super) fn to_text(&self) -> String {
        let made = if self.used { "planned and run with" } else { "another one was given" };
        let line = format!("recent window {}: {made}", self.recent_window);
        format!("{}\n{}", self.text, wrap(&line, WIDTH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_does_not_run_again_is_not_proven() {
        let run = |cache_tokens, ran| StepDoc {
            cache_tokens,
            size: "between".to_owned(),
            ran,
            failure: None,
            peak: None,
        };
        let mut steps = StepsDoc {
            runs: vec![run(100, true), run(200, false), run(150, true)],
            proven_cache_tokens: 150,
            hard_max_cache_tokens: 180,
            limited_by: "vram".to_owned(),
            as_planned: true,
        };
        assert_eq!(steps.retreat("no room"), Some(148));
        steps.prove(None);
        assert_eq!(steps.runs.last().map(|run| (run.cache_tokens, run.ran)), Some((148, true)));
        steps.proven_cache_tokens = 101;
        assert_eq!(steps.retreat("no room"), Some(100));
        assert_eq!(steps.retreat("no room"), None);
        assert!(steps.to_table().contains("no room") && steps.to_markdown().contains("| 200 |"));
    }
}
