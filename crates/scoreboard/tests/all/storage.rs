//! Bytes of quantized layers and caches, against the tensors that the libraries themselves store
//! (`evidence/storage`), row by row.

use std::collections::{BTreeMap, BTreeSet};

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::weights::{Modules, parts};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{ModelSpec, Runtime, RuntimeOptions, TensorSpec, TransformersStack};
use vramplan_scoreboard::csv::{Row, rows};

const LAYERS: &str = include_str!("../../../../evidence/storage/layers.csv");
const MODELS: &str = include_str!("../../../../evidence/storage/models.csv");
const EXPERTS: &str = include_str!("../../../../evidence/storage/experts.csv");
const CACHES: &str = include_str!("../../../../evidence/storage/caches.csv");

fn catalog() -> Catalog {
    Catalog::built_in()
}

/// A linear layer of the model with these widths.
fn layer(model: &ModelSpec, inputs: u64, outputs: u64) -> TensorSpec {
    let found = model.tensors.iter().find(|tensor| {
        tensor.role.is_block_linear() && (tensor.row, tensor.rows) == (inputs, outputs)
    });
    *found.unwrap_or_else(|| panic!("{} has no layer of {inputs} by {outputs}", model.name))
}

#[test]
fn layers_store_what_the_libraries_store() {
    let catalog = catalog();
    let mut layers: BTreeMap<[String; 4], BTreeMap<String, u64>> = BTreeMap::new();
    for row in rows(LAYERS) {
        let key = row.texts(["format", "model", "inputs", "outputs"]);
        layers.entry(key).or_default().insert(row.text("tensor").to_owned(), row.number("bytes"));
    }
    assert!(layers.len() > 220, "{}", layers.len());
    for ([format, model, inputs, outputs], stored) in layers {
        let tensor = layer(
            &catalog.model(&model).unwrap(),
            inputs.parse().unwrap(),
            outputs.parse().unwrap(),
        );
        let ours = parts(&tensor, format.parse().unwrap(), Modules::default()).unwrap();
        let ours = ours.into_iter().filter(|part| !part.size.is_zero());
        let ours = ours.map(|part| (part.name.to_owned(), part.size.get()));
        let ours: BTreeMap<String, u64> = ours.collect();
        assert_eq!(ours, stored, "{format} {model} {inputs} by {outputs}");
    }
}

#[test]
fn models_take_what_the_libraries_store_and_keep() {
    let catalog = catalog();
    let mut runtime = catalog.runtime(Runtime::Transformers).unwrap();
    let mut models = BTreeSet::new();
    let experts = rows(EXPERTS).filter(|row| !row.text("total").is_empty());
    for row in rows(MODELS).chain(experts) {
        runtime.options = RuntimeOptions::Transformers(TransformersStack {
            transformers: row.get("transformers").unwrap(),
            ..TransformersStack::default()
        });
        let model = catalog.model(row.text("model")).unwrap();
        let format: WeightFormat = row.get("format").unwrap();
        let weights = weights_of(&model, format, &runtime).unwrap();
        assert_eq!(weights.device.get(), row.number("total"), "{}", row.line());
        let allocated = weights.device.plus(weights.rounding).unwrap();
        assert_eq!(allocated.get(), row.number("allocated"), "{}", row.line());
        models.insert(row.text("model").to_owned());
    }
    assert!(models.len() >= 8, "{models:?}");
}

#[test]
fn experts_are_as_many_modules_as_the_libraries_quantize() {
    let catalog = catalog();
    let mut runtime = catalog.runtime(Runtime::Transformers).unwrap();
    let mut versions = BTreeSet::new();
    for row in rows(MODELS).chain(rows(EXPERTS)) {
        let model = catalog.model(row.text("model")).unwrap();
        runtime.options = RuntimeOptions::Transformers(TransformersStack {
            transformers: row.get("transformers").unwrap(),
            ..TransformersStack::default()
        });
        let modules = Modules::of(&model, &runtime);
        let linear = model.tensors.iter().filter(|tensor| modules.is_linear(tensor.role));
        let count: u64 = linear.map(|tensor| modules.split(tensor).0).sum();
        if row.text("library") == "bitsandbytes" {
            assert_eq!(count, row.number("modules"), "{}", row.line());
            versions.insert(row.text("transformers").to_owned());
        }
    }
    assert_eq!(versions.len(), 2);
}

#[test]
fn caches_store_what_the_libraries_store() {
    let mut caches: BTreeMap<[String; 4], u64> = BTreeMap::new();
    for row in rows(CACHES) {
        let key = row.texts(["format", "kv_heads", "head_dim", "tokens"]);
        *caches.entry(key).or_default() += row.number("bytes");
    }
    assert!(caches.len() >= 100, "{}", caches.len());
    for ([format, heads, width, tokens], stored) in caches {
        let [heads, width, tokens] = [heads, width, tokens].map(|number| number.parse().unwrap());
        let ours = format.parse::<KvFormat>().unwrap().size_of(heads, width, tokens).unwrap();
        assert_eq!(ours.get(), stored, "{format} {heads} {width} {tokens}");
    }
}

#[test]
fn every_row_names_its_library_and_version() {
    for row in [LAYERS, MODELS, EXPERTS, CACHES].into_iter().flat_map(rows) {
        let named = |row: &Row| !row.text("library").is_empty() && !row.text("version").is_empty();
        assert!(named(&row), "{}", row.line());
    }
}
