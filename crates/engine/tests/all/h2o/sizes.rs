//! The cache takes what a plan says that it takes.

use vramplan_engine::h2o::{Heads, Policy, rows_size, scores_size};
use vramplan_planner::estimate::buffers;
use vramplan_planner::recommend::Solver;
use vramplan_planner::spec::Runtime;
use vramplan_planner::units::Bytes;

use crate::support::Case;

fn small(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

#[test]
fn the_cache_takes_what_a_plan_says() {
    for model in ["qwen2.5-14b", "llama-3.1-8b", "qwen2.5-0.5b"] {
        let case = Case::new("L4", model, Runtime::Vramplan).cache(7000);
        let solver = Solver::new(&case).unwrap();
        let scenario = solver.scenario(7000);
        let planned = buffers(&scenario).unwrap();
        let planned = |name| -> Vec<Bytes> {
            let rows = planned.iter().filter(|buffer| buffer.label() == name);
            rows.map(|buffer| buffer.size.expected).collect()
        };
        let shape = &case.model.shape;
        let heads = [shape.n_heads, shape.kv_heads, shape.head_dim].map(small);
        let heads = Heads::new(heads[0], heads[1], heads[2]).unwrap();
        let policy = Policy::new(6000, 7000, 3500).unwrap();
        let layers = case.model.layers.len() as u64;
        let rows = |tokens| rows_size(heads, tokens).unwrap().times(layers).unwrap();
        assert_eq!(planned("keys and values"), [rows(6000), rows(7000)], "{model}");
        let scores = scores_size(heads, &policy).unwrap().times(layers).unwrap();
        assert_eq!(planned("eviction scores"), [scores], "{model}");
    }
}
