//! Bytes as a table of limits: read, answered and written anew.
#![no_main]

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::limits_table::{Leaf, Limits, LimitsTable};
use vramplan_planner::read::{Catalog, NoFiles};
use vramplan_planner::recommend::Solver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(table) = LimitsTable::parse(text) else { return };
    let Ok(defaults) = table.defaults.read::<Question>() else { return };
    let catalog = Catalog::built_in();
    let (mut limits, mut assumed) = (Vec::new(), Vec::new());
    for entry in &table.entries {
        let Ok(own) = entry.flags.read::<Question>() else { return };
        let question = own.or(defaults.clone());
        let Ok(deployment) = resolve(&question, &catalog, &NoFiles, None) else { return };
        let Ok(solver) = Solver::new(&deployment) else { return };
        let (Ok(summary), Ok(sizes)) = (solver.summary(), solver.recommend()) else { return };
        let kv = Leaf::Text(deployment.kv.to_string());
        assumed.push(vec![("kv".to_owned(), kv)]);
        limits.push(Limits::new(&summary, &sizes));
    }
    let updated = table.updated(&limits, &assumed).expect("a table that was read can be written");
    let again = LimitsTable::parse(&updated).expect("what was written can be read");
    for (entry, limits) in again.entries.iter().zip(&limits) {
        assert!(limits.changes(&entry.limits).is_empty(), "an updated table is up to date");
    }
});
