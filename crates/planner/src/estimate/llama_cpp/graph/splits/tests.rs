use super::super::tests::{params, variants};
use super::*;
use crate::dtype::WeightFormat;
use crate::estimate::llama_cpp::gates_of;
use crate::estimate::llama_cpp::placement::{Counts, Placing, TensorTable};
use crate::spec::{Launch, LlamaCppGeneration, ModelSpec};

/// Numbers that look random, and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn placed(model: &ModelSpec, table: &TensorTable, numbers: &mut Numbers) -> Placed {
    let gpus = 1 + numbers.below(3);
    let free: Vec<Bytes> = (0..gpus).map(|_| Bytes::new((8 + numbers.below(24)) << 30)).collect();
    let overrides = [
        None,
        None,
        Some(r"ffn_down=CPU"),
        Some(r"blk\.1[0-9]\.attn=CPU"),
        Some(r"norm=CPU"),
        Some("output.weight=CPU"),
    ];
    let chosen = overrides[usize::try_from(numbers.below(6)).unwrap()];
    let launch = Launch {
        overrides: chosen.iter().map(|text| text.parse().unwrap()).collect(),
        offloads_cache: numbers.below(5) > 0,
        offloads_operations: numbers.below(5) > 0,
        ..Launch::default()
    };
    let layers = model.shape.n_layers;
    let placing = Placing {
        table,
        file_layers: layers,
        free: &free,
        launch: &launch,
        version: LlamaCppGeneration::NEWEST,
        output_first: true,
        by_rows: false,
        ada: true,
        turing: true,
    };
    let experts = if placing.has_experts() { layers } else { 0 };
    let cpu_moe = if numbers.below(2) == 0 { 0 } else { numbers.below(experts + 1) };
    let gpu_layers = if numbers.below(2) == 0 { layers + 1 } else { numbers.below(layers + 2) };
    placing.place(Counts { gpu_layers, cpu_moe }).unwrap()
}

#[test]
fn leaving_out_layers_that_repeat_changes_nothing() {
    let format: WeightFormat = "q4_k_m".parse().unwrap();
    let mut numbers = Numbers(7);
    let (mut compared, mut shorter) = (0, 0);
    for model in variants() {
        let table = TensorTable::new(&model, format).unwrap();
        for trial in 0..24 {
            let placed = placed(&model, &table, &mut numbers);
            let (_, version) =
                LlamaCppGeneration::ALL[1 + trial % (LlamaCppGeneration::ALL.len() - 1)];
            let asked = params(1024 + numbers.below(30_000), 16 << numbers.below(6), version);
            let mut graph = asked.resolve(&model.shape).unwrap().graph;
            graph.gates = gates_of(&model, format);
            let find = |layer: Option<u64>, stem: &str, kind: &str| {
                let weight = placed.weight(layer, stem, kind)?;
                Some(WeightAt { home: placed.home_of(weight, layer), copy: weight.copy })
            };
            for rows in [graph.rows, graph.n_seq] {
                let graph = GraphParams { rows, ..graph };
                let (shape, layers) = (&model.shape, &model.gguf_layers);
                let short = graph_buffers(shape, layers, &graph, &placed, &find).unwrap();
                let joins = graph.gates.shared_with_routed;
                let gates = Gates { shared_with_routed: false, ..graph.gates };
                let params = &GraphParams { gates, ..graph };
                let asked = Asked { shape, layers, params, placed: &placed, find: &find, joins };
                let stage = Stage::all(shape);
                let all = Selection::all(&stage.layers);
                let (peaks, _) = asked.place(&stage, &all).unwrap();
                let whole: Vec<ComputeBuffer> = peaks.into_iter().map(buffer).collect();
                assert_eq!(short, whole, "{trial}: {placed:?}, {graph:?}");
                let rotates = |index| family_of(shape, params).rotates(index);
                let first = &repeat::selections(shape, layers, &placed, rotates)[0];
                compared += 1;
                shorter += usize::from(asked.place(&stage, first).unwrap().1 && *first != all);
            }
        }
    }
    println!("{shorter} of {compared} graphs were placed in part");
    assert!(shorter > 30, "{shorter} of {compared}");
}
