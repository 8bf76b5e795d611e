//! Bytes as a scenario file, planned where it can be.
#![no_main]

use vramplan::cli::Known;
use vramplan_fuzz::with_file;
use vramplan_planner::deployment::Question;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, to_table};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_file(".toml", bytes, |path| {
        let catalog = Known::built_in();
        let flags = Question::default();
        let Ok(deployment) = vramplan::cli::deployment(&flags, Some(path), &catalog) else {
            return;
        };
        if let Ok(answer) = answer(&deployment) {
            let _ = to_table(&Document::new(&deployment, &answer));
        }
    });
});
