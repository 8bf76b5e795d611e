//! Public logs of llama.cpp on real GPUs: one card, all layers on it. They print hundredths of a MiB.

use vramplan_planner::read::Catalog;

use super::csv;
use vramplan_scoreboard::llama_cpp::{Buffers, LOGS, logged_context};

#[test]
fn compute_buffers_match_public_logs_of_four_generations() {
    let catalog = Catalog::built_in();
    let mut compared = 0;
    for row in csv::rows(LOGS).filter(|row| row.text("left_out").is_empty()) {
        let mut model = catalog.model(row.text("model")).unwrap();
        model.shape.vocab_size = row.number("n_vocab");
        let buffers = Buffers::of(&model, &logged_context(&row).unwrap()).unwrap();
        let compute = [buffers.compute.device, buffers.compute.host];
        let printed = compute.map(|size| format!("{:.2}", size.as_mib()));
        let logged = [row.text("compute_mib"), row.text("compute_host_mib")];
        assert_eq!(printed, logged, "{}", row.line());
        compared += 1;
    }
    println!("{compared} public logs match");
    assert!(compared >= 18);
}
