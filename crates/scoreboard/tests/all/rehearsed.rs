//! Runs of transformers on a virtual GPU: of seeds that formulas were read from, and of seeds that were held back.

use std::collections::{BTreeMap, BTreeSet};

use vramplan_planner::read::Catalog;
use vramplan_scoreboard::csv::rows;
use vramplan_scoreboard::rehearsed::{Figures, RUNS, Run, runs};

/// What is asked for at most in each phase, the smallest card in this share of the runs at least, and how far its bounds lie
/// apart.
fn check(what: &str, runs: &[&Run], share: f64) {
    let figures = Figures::of(runs.iter().copied());
    #[allow(clippy::print_stdout, reason = "a report")]
    {
        println!("{what}: {figures:?}");
    }
    for [median, most] in figures.asked {
        assert!(median <= 0.001 && most <= 0.01, "{what}: {figures:?}");
    }
    assert!(figures.below >= share, "{what}: {figures:?}");
    assert!(figures.width < 0.03, "{what}: {figures:?}");
}

#[test]
fn plans_are_what_runs_ask_for_and_end_on_the_card_of_the_high_bound() {
    let runs = runs(RUNS).unwrap();
    assert!(runs.len() >= 300, "{} runs", runs.len());
    let (held_back, looked_at): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.is_held_back);
    check("looked at", &looked_at, 0.97);
    check("held back", &held_back, 0.97);
}

/// What is rehearsed is as varied as what is claimed: versions, families, cards, formats, caches.
#[test]
fn every_kind_is_there_in_some_runs() {
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let catalog = Catalog::built_in();
    for row in rows(RUNS) {
        for kind in
            ["torch", "transformers", "card", "weights", "attention", "cache", "kv", "batch"]
        {
            seen.entry(kind).or_default().insert(row.text(kind).to_owned());
        }
        let family = catalog.model(row.text("model")).unwrap().shape.architecture;
        seen.entry("family").or_default().insert(family.to_string());
    }
    for (kind, least) in [
        ("torch", 3),
        ("transformers", 3),
        ("family", 14),
        ("card", 5),
        ("weights", 4),
        ("attention", 2),
        ("cache", 2),
        ("kv", 4),
        ("batch", 4),
    ] {
        assert!(seen[kind].len() >= least, "{kind}: {:?}", seen[kind]);
    }
}
