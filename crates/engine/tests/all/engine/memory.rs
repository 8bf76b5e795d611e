//! What the engine allocates is what the plan says, byte for byte.

use vramplan_engine::{Cpu, Engine, Source};
use vramplan_planner::estimate::{Component, Life, Phase};
use vramplan_planner::spec::{Architecture, Logits, ModelShape, QkNorm};
use vramplan_planner::units::Bytes;

use crate::decoder::{shape, source};
use crate::engine::settings;

fn shapes() -> [ModelShape; 4] {
    let qwen3 = ModelShape {
        qk_norm: QkNorm::PerHead,
        head_dim: 24,
        kv_heads: 4,
        ..shape(Architecture::Qwen3)
    };
    [
        ModelShape { tied_embeddings: true, ..shape(Architecture::Llama) },
        ModelShape { head_dim: 32, kv_heads: 1, n_layers: 3, ..shape(Architecture::Mistral) },
        ModelShape {
            qkv_bias: true,
            hidden_size: 128,
            ffn_size: 480,
            ..shape(Architecture::Qwen2)
        },
        ModelShape { vocab_size: 999, ..qwen3 },
    ]
}

#[test]
fn the_ledger_is_the_plans_table() {
    let mut compared = 0;
    for shape in shapes() {
        for (system, cache, chunk) in
            [(0, 16, 8), (5, 16, 8), (40, 130, 64), (7, 3, 1), (3, 128, 1)]
        {
            for logits in [Logits::Last, Logits::All] {
                let mut model = source(shape.clone(), "f32", 3);
                let settings = settings(system, cache, chunk, logits);
                let settings =
                    vramplan_engine::Settings { recent_window: chunk.max(cache / 3), ..settings };
                if cache - settings.recent_window < 4 && system < 4 {
                    continue;
                }
                let table = settings.table(model.spec()).unwrap();
                let engine = Engine::load(Cpu, &mut model, &table).unwrap();
                compared += compare(&engine, &table);
            }
        }
    }
    assert!(compared > 500, "{compared} rows");
}

/// Row by row, by component and phase.
fn compare(engine: &Engine, table: &vramplan_engine::Table) -> usize {
    let ledger = engine.memory();
    assert_eq!(ledger.entries.len(), table.buffers.len());
    for buffer in &table.buffers {
        let same = |entry: &&vramplan_engine::Entry| {
            (entry.component, entry.id, entry.life) == (buffer.component, buffer.id, buffer.life)
        };
        let held = ledger.entries.iter().find(same).unwrap_or_else(|| panic!("{}", buffer.id));
        assert_eq!(held.size, buffer.size.expected, "{}", buffer.id);
    }
    for component in Component::ALL {
        for phase in Phase::ALL {
            let in_ledger = ledger.entries.iter().filter(|entry| entry.component == component);
            let held =
                in_ledger.filter(|entry| is_alive(entry.life, phase)).map(|entry| entry.size);
            let in_table = table.buffers.iter().filter(|buffer| buffer.component == component);
            let planned = in_table
                .filter(|buffer| is_alive(buffer.life, phase))
                .map(|buffer| buffer.size.expected);
            assert_eq!(Bytes::sum(held).unwrap(), Bytes::sum(planned).unwrap());
        }
    }
    table.buffers.len()
}

fn is_alive(life: Life, phase: Phase) -> bool {
    match life {
        Life::From(from) => from <= phase,
        Life::During(of, _) => of == phase,
    }
}

#[test]
fn the_arena_is_the_plans_largest_moment() {
    // A wide vocabulary: the head needs most. A wide MLP: the MLP does.
    for (vocab_size, ffn_size) in [(4000, 96), (50, 4096)] {
        let shape = ModelShape { vocab_size, ffn_size, ..shape(Architecture::Llama) };
        let mut model = source(shape.clone(), "f32", 3);
        let table = settings(8, 64, 16, Logits::All).table(model.spec()).unwrap();
        let engine = Engine::load(Cpu, &mut model, &table).unwrap();
        let whole = 16 * 2 * shape.hidden_size * 4;
        let widest = (vocab_size).max(2 * ffn_size);
        assert_eq!(engine.memory().scratch, Bytes::new(whole + 16 * widest * 4));
    }
}

#[test]
fn another_models_table_is_refused() {
    let [llama, mistral, ..] = shapes();
    let mut model = source(llama, "f32", 3);
    let other = source(mistral, "f32", 3);
    let table = settings(8, 64, 16, Logits::Last).table(other.spec()).unwrap();
    let error = Engine::load(Cpu, &mut model, &table).unwrap_err().to_string();
    assert!(error.starts_with("`weights` needs "), "{error}");
}
