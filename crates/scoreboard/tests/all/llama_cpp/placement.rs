//! Layers, experts, tensors and caches in main memory: every device, main memory too.

use vramplan_scoreboard::llama_cpp::generation;
use vramplan_scoreboard::placement::{Devices, is_held_out, tables};

use super::{csv, shapes};

/// Random placements by which the replay was mended, and those of another seed that were recorded after that; the same
/// under 0.8.0.
const ROWS: [(&str, &str); 4] = [
    ("fit", include_str!("../../../../../evidence/llama_cpp/llama_cpp_placement.csv")),
    ("hold-out", include_str!("../../../../../evidence/llama_cpp/llama_cpp_placement_holdout.csv")),
    ("0.8.0", include_str!("../../../../../evidence/llama_cpp/llama_cpp_placement_newest.csv")),
    (
        "0.8.0, hold-out",
        include_str!("../../../../../evidence/llama_cpp/llama_cpp_placement_newest_holdout.csv"),
    ),
];

/// Random placements of 74 models under 0.7.0 and 0.5.0: half of the models were looked at once nothing of the other
/// half was off.
const BUILDS: &str =
    include_str!("../../../../../evidence/llama_cpp/llama_cpp_placement_builds.csv");

/// State-space layers on several cards and in main memory.
const STATES: &str =
    include_str!("../../../../../evidence/llama_cpp/llama_cpp_placement_states.csv");

/// Rows of a thousand whose compute buffers may be off by a byte or more.
const MOST_OFF: usize = 5;

#[test]
fn every_device_of_a_placement_has_what_the_library_gives_it() {
    let models = shapes::models();
    for (name, text) in ROWS {
        let rows: Vec<_> = csv::rows(text).collect();
        let tables = tables(&rows, &models).unwrap();
        let (mut off, mut outside) = (0, Vec::new());
        for row in &rows {
            let model = row.text("model");
            let measured = Devices::measured(row).unwrap();
            let predicted = Devices::predicted(row, &models[model], &tables[model]).unwrap();
            assert_eq!(predicted.weights, measured.weights, "{}", row.line());
            assert_eq!(predicted.caches, measured.caches, "{}", row.line());
            off += usize::from(predicted.compute != measured.compute);
            if !predicted.holds(&measured, &models[model], generation(row).unwrap()).unwrap() {
                outside.push(row.line());
            }
        }
        println!("{name}: {} rows, compute of {off} off, {} outside", rows.len(), outside.len());
        assert!(off * 1000 <= rows.len() * MOST_OFF, "{name}: {off} of {} are off", rows.len());
        assert!(outside.is_empty(), "{name}:\n{}", outside.join("\n"));
        assert!(rows.len() > 50, "{name}: only {} rows", rows.len());
    }
}

#[test]
fn earlier_releases_are_matched_on_every_device() {
    let models = shapes::models();
    let rows: Vec<_> = csv::rows(BUILDS).collect();
    let tables = tables(&rows, &models).unwrap();
    let mut halves = [0, 0];
    for row in &rows {
        let name = row.text("model");
        let measured = Devices::measured(row).unwrap();
        let predicted = Devices::predicted(row, &models[name], &tables[name]).unwrap();
        assert_eq!(predicted, measured, "{}", row.line());
        halves[usize::from(is_held_out(name))] += 1;
    }
    assert_eq!(halves, [911, 864]);
}

#[test]
fn state_space_layers_are_matched_on_every_device() {
    let models = shapes::models();
    let rows: Vec<_> = csv::rows(STATES).collect();
    let tables = tables(&rows, &models).unwrap();
    for row in &rows {
        let model = row.text("model");
        let measured = Devices::measured(row).unwrap();
        let predicted = Devices::predicted(row, &models[model], &tables[model]).unwrap();
        assert_eq!(predicted, measured, "{}", row.line());
    }
    assert_eq!(rows.len(), 180);
}
