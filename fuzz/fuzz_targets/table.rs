//! Bytes as a table of limits: read, answered and written anew.
#![no_main]

use vramplan::cli::deployment;
use vramplan_planner::deployment::Question;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::Solver;
use vramplan_planner::table::{Limits, LimitsTable};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(table) = LimitsTable::parse(text) else { return };
    let Ok(defaults) = table.defaults.read::<Question>() else { return };
    let catalog = Catalog::built_in();
    let mut limits = Vec::new();
    for entry in &table.entries {
        let Ok(own) = entry.flags.read::<Question>() else { return };
        let flags = own.or(defaults.clone());
        let Ok(deployment) = deployment(&flags, None, &catalog) else { return };
        let Ok(solver) = Solver::new(&deployment) else { return };
        let (Ok(summary), Ok(sizes)) = (solver.summary(), solver.recommend()) else { return };
        limits.push(Limits::new(&summary, &sizes));
    }
    let updated = table.updated(&limits, &vec![Vec::new(); limits.len()]).expect("a table that was read can be written");
    let again = LimitsTable::parse(&updated).expect("what was written can be read");
    for (entry, limits) in again.entries.iter().zip(&limits) {
        assert!(limits.changes(&entry.limits).is_empty(), "an updated table is up to date");
    }
});
