//! Bytes as a scenario file, planned where it can be.
#![no_main]

use vramplan::cli::deployment;
use vramplan_fuzz::with_file;
use vramplan_planner::deployment::Question;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, Format, render};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_file(".toml", bytes, |path| {
        let catalog = Catalog::built_in();
        let Ok(deployment) = deployment(&Question::default(), Some(path), &catalog) else {
            return;
        };
        if let Ok(answer) = answer(&deployment) {
            let _ = render(&Document::new(&deployment, &answer), Format::Table);
        }
    });
});
