//! Compares recorded placements with the plan: `cargo run -p vramplan-scoreboard --example placement -- ROWS.csv`.

#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use vramplan_scoreboard::placement::{Devices, tables};
use vramplan_scoreboard::{csv, shapes};

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_default();
    let text = fs_err::read_to_string(path)?;
    let models = shapes::models();
    let rows: Vec<_> = csv::rows(&text).collect();
    let tables = tables(&rows, &models)?;
    let mut right = [0u32; 4];
    for row in &rows {
        let name = row.text("model");
        let measured = Devices::measured(row)?;
        let predicted = match Devices::predicted(row, &models[name], &tables[name]) {
            Ok(predicted) => predicted,
            Err(error) => {
                println!("{}: {error}", row.line());
                continue;
            }
        };
        let gpus = measured.compute.len() - 1;
        let hits = [
            predicted.weights == measured.weights,
            predicted.caches == measured.caches,
            predicted.compute[..gpus] == measured.compute[..gpus],
            predicted.compute[gpus] == measured.compute[gpus],
        ];
        for (count, hit) in right.iter_mut().zip(hits) {
            *count += u32::from(hit);
        }
        if hits != [true; 4] {
            println!("{hits:?} {}\n  {predicted:?}\n  {measured:?}", row.line());
        }
    }
    println!("{right:?} of {}", rows.len());
    Ok(())
}
