//! Compares recorded placements with the plan, row by row.
//!
//!     cargo run -p vramplan-scoreboard --example placement -- ROWS.csv [all|tuning|hold-out]

#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use std::collections::BTreeMap;

use vramplan_planner::spec::ModelSpec;
use vramplan_scoreboard::llama_cpp::generation;
use vramplan_scoreboard::placement::{Devices, TensorTable, is_held_out, tables};
use vramplan_scoreboard::{csv, shapes};

/// What was compared, and what of it was right.
#[derive(Clone, Copy, Default)]
struct Count {
    rows: u32,
    weights: u32,
    caches: u32,
    compute: u32,
    inside: u32,
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_default();
    let half = std::env::args().nth(2);
    let text = fs_err::read_to_string(path)?;
    let models = shapes::models();
    let is_wanted = |row: &csv::Row| match half.as_deref() {
        Some("tuning") => !is_held_out(row.text("model")),
        Some("hold-out") => is_held_out(row.text("model")),
        _ => true,
    };
    let rows: Vec<_> = csv::rows(&text).filter(is_wanted).collect();
    let tables = tables(&rows, &models)?;
    let mut counts = BTreeMap::<String, Count>::new();
    for row in &rows {
        let name = row.text("model");
        let release = row.text("llama_cpp_version").split('-').next().unwrap_or_default();
        let count = counts.entry(release.to_owned()).or_default();
        if let Err(error) = compare(row, &models[name], &tables[name], count) {
            println!("{error}: {}", row.line());
        }
    }
    for (release, Count { rows, weights, caches, compute, inside }) in counts {
        println!(
            "{release}: of {rows} rows weights of {weights}, caches of {caches}, compute of {compute} exact, {inside} inside"
        );
    }
    Ok(())
}

fn compare(
    row: &csv::Row,
    model: &ModelSpec,
    table: &TensorTable,
    count: &mut Count,
) -> anyhow::Result<()> {
    count.rows += 1;
    let measured = Devices::measured(row)?;
    let predicted = Devices::predicted(row, model, table)?;
    let is_inside = predicted.holds(&measured, model, generation(row)?)?;
    let hits = [
        predicted.weights == measured.weights,
        predicted.caches == measured.caches,
        predicted.compute == measured.compute,
        is_inside,
    ];
    let sums = [&mut count.weights, &mut count.caches, &mut count.compute, &mut count.inside];
    for (sum, hit) in sums.into_iter().zip(hits) {
        *sum += u32::from(hit);
    }
    if hits != [true; 4] {
        println!("{hits:?} {}\n  {predicted:?}\n  {measured:?}", row.line());
    }
    Ok(())
}
