//! The published shapes under the newest version of the library that was looked at.

use vramplan_planner::estimate::llama_cpp::gates_of;
use vramplan_planner::estimate::llama_cpp::graph::{Stage, caches_of, graph_bounds, model_buffer};

use vramplan_scoreboard::{csv, llama_cpp, shapes};

const NEWEST: &str = include_str!("../../../../../evidence/llama_cpp/llama_cpp_newest.csv");

#[test]
fn the_newest_graph_is_matched_to_the_byte_but_for_hybrids() {
    let models = shapes::models();
    let (mut compared, mut exact) = (0, 0);
    for row in csv::rows(NEWEST) {
        let model = &models[row.text("model")];
        let mut context = llama_cpp::context(&row).unwrap().resolve_for(model).unwrap();
        let format = llama_cpp::format(row.text("file_type")).unwrap();
        context.graph.gates = gates_of(model, format);
        let stage = Stage::all(&model.shape);
        let compute = model_buffer(model, &context.graph, &stage).unwrap();
        let bounds = graph_bounds(model, context.graph.version, compute.device).unwrap();
        let caches = caches_of(model, &stage.layers, &context).unwrap();
        let kept = caches.full.get() + caches.window.get() + caches.recurrent.get();
        let measured = row.number("compute_gpu_bytes");
        compared += 1;
        exact += usize::from(measured == compute.device.get());
        assert_eq!(kept, row.number("kv_bytes"), "{}", row.line());
        assert_eq!(compute.host.get(), row.number("compute_host_bytes"), "{}", row.line());
        let is_within = (bounds.low.get()..=bounds.high.get()).contains(&measured);
        assert!(is_within, "{} for {measured}: {}", compute.device.get(), row.line());
    }
    println!("{exact} of {compared} are exact");
    assert!(compared >= 600 && exact * 100 >= compared * 96);
}
