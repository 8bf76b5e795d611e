//! Every profile that the engine runs: what a plan by its name lists is what the engine allocates for its file.

use vramplan_engine::{Cpu, Engine, EngineError, Source, SyntheticSource, Table};
use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::vramplan::capabilities::refuses_model;
use vramplan_planner::estimate::{Buffer, BufferId, Component, Life, Scenario, weights_of};
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::spec::{Logits, ModelShape, ModelSpec, Runtime};
use vramplan_planner::units::Bytes;

use crate::engine::settings;

fn profiles() -> Vec<ModelSpec> {
    let catalog = Catalog::built_in();
    let names = catalog.names(Kind::Model).unwrap();
    names.map(|name| catalog.model(name).unwrap()).collect()
}

fn format() -> WeightFormat {
    "q4_k_m".parse().unwrap()
}

/// The table that a plan by a profile's name has, as far as the engine allocates from it.
fn by_name(model: &ModelSpec) -> Result<Table, EngineError> {
    let catalog = Catalog::built_in();
    let (gpu, runtime) =
        (catalog.gpu("B200").unwrap(), catalog.runtime(Runtime::Vramplan).unwrap());
    let weights = weights_of(model, format(), &runtime).unwrap();
    Table::new(&Scenario {
        model,
        gpu: &gpu,
        runtime: &runtime,
        weights: &weights,
        kv: KvFormat::Int8,
        workload: settings(300, 8192, 512, Logits::Last).workload(model.shape.context_len),
        cache_tokens: 8192,
    })
}

fn rows(table: &Table) -> Vec<(Component, BufferId, Life, Bytes)> {
    let row = |buffer: &Buffer| (buffer.component, buffer.id, buffer.life, buffer.size.expected);
    table.buffers.iter().map(row).collect()
}

#[test]
fn the_plan_of_every_profile_is_the_engines_table() {
    let (mut compared, mut refused) = (0, 0);
    for model in profiles() {
        match SyntheticSource::new(&model, format(), 0) {
            Ok(source) => {
                assert!(refuses_model(&model).is_none(), "{}", model.name);
                let held = settings(300, 8192, 512, Logits::Last).table(source.spec()).unwrap();
                assert_eq!(rows(&by_name(&model).unwrap()), rows(&held), "{}", model.name);
                compared += 1;
            }
            Err(error) => {
                assert!(refuses_model(&model).is_some(), "{}: {error}", model.name);
                refused += 1;
            }
        }
    }
    assert!(compared > 70 && refused > 40, "{compared} compared, {refused} refused");
}

/// With the vocabulary and the context by which a stretched Llama is known, and as small as possible
/// otherwise.
#[test]
fn every_llama_3_loads() {
    let mut loaded = 0;
    for model in profiles()
        .into_iter()
        .filter(|model| model.name.starts_with("llama-3.") && model.shape.per_layer.is_none())
    {
        let shape = ModelShape {
            n_layers: 1,
            hidden_size: 64,
            n_heads: 4,
            kv_heads: 2,
            head_dim: 16,
            ffn_size: 96,
            ..model.shape
        };
        let small = ModelSpec::new(model.name, shape, "test").unwrap();
        let mut source = SyntheticSource::new(&small, "q8_0".parse().unwrap(), 0).unwrap();
        let table = settings(8, 64, 16, Logits::Last).table(source.spec()).unwrap();
        Engine::load(Cpu, &mut source, &table).unwrap();
        loaded += 1;
    }
    assert!(loaded > 10, "{loaded}");
}
