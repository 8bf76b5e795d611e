//! Public logs of llama.cpp on real GPUs: one card, all layers on it. They print hundredths of a MiB.

use vramplan::dtype::KvFormat;
use vramplan::estimate::llama_graph::{
    ContextParams, LlamaCppVersion, Outputs, cached_layers, compute_buffer,
};

use super::{csv, shapes};

const LOGS: &str = include_str!("../engines/llama_cpp/logs.csv");

pub fn version(name: &str) -> LlamaCppVersion {
    match name {
        "Copies" => LlamaCppVersion::Copies,
        "SetRows" => LlamaCppVersion::SetRows,
        "EmbeddingInput" => LlamaCppVersion::EmbeddingInput,
        "Current" => LlamaCppVersion::Current,
        other => panic!("no version `{other}`"),
    }
}

#[test]
fn compute_buffers_match_public_logs_of_four_generations() {
    let models = shapes::models();
    let mut compared = 0;
    for row in csv::rows(LOGS) {
        let mut model = models[row.text("model")].clone();
        model.shape.vocab_size = row.number("n_vocab");
        let n_seq = row.number("n_seq_max");
        let params = ContextParams {
            n_ctx: row.number("n_ctx"),
            n_batch: row.number("n_batch"),
            n_ubatch: row.number("n_ubatch"),
            n_seq,
            unified: n_seq > 1,
            swa_full: false,
            outputs: Outputs::All,
            flash: row.flag("flash_attn"),
            ada: true,
            type_k: KvFormat::F16,
            type_v: KvFormat::F16,
            version: version(row.text("version")),
        };
        let graph = params.resolve(&model.shape).unwrap().graph;
        let layers = cached_layers(&model.shape, &model.layers);
        let compute = compute_buffer(&model.shape, &layers, &graph).unwrap();
        let printed = [compute.device, compute.host].map(|size| format!("{:.2}", size.as_mib()));
        let logged = [row.text("compute_gpu_mib"), row.text("compute_host_mib")];
        assert_eq!(printed, logged, "{}", row.line());
        compared += 1;
    }
    println!("{compared} public logs match");
    assert!(compared >= 18);
}
