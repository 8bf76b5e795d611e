//! Bytes as a scenario file, planned where it can be.
#![no_main]

use vramplan::cli::Resolved;
use vramplan::cli::args::PlanArgs;
use vramplan_fuzz::with_file;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, Format, render};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_file(".toml", bytes, |path| {
        let catalog = Catalog::built_in();
        let Ok(resolved) = Resolved::from_args(&PlanArgs::default(), Some(path), &catalog) else {
            return;
        };
        let request = resolved.request();
        if let Ok(answer) = answer(&request) {
            let _ = render(&Document::new(&request, &answer), Format::Table);
        }
    });
});
