//! Forward passes over bitsandbytes layers under several versions
//! (`evidence/transformers/quantized.py`).
//!
//! Which expert a token goes to is the router's decision: where experts run one by one, rows are its
//! extremes, which bounds and not an expected value are compared with (`tests/all/quantized_passes.rs`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use vramplan_planner::dtype::KvFormat;
use vramplan_planner::estimate::weights::Weights;
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Scenario, buffers};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    ModelSpec, Runtime, RuntimeOptions, RuntimeSpec, TransformersStack, TransformersVersion,
};

use super::csv::{Row, rows};
use super::transformers::{Pass, largest_moment};
use super::{Board, Origin, Part, Subject};

const PASSES: &str = include_str!("../../../evidence/transformers/quantized.csv");

const MIB: f64 = 1_048_576.0;

/// Predicts every tracked pass whose experts run together, or that has none.
#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let catalog = Catalog::built_in();
    let mut models: HashMap<[String; 4], (ModelSpec, RuntimeSpec, Weights)> = HashMap::new();
    for row in rows(PASSES) {
        let version: TransformersVersion = row.get("transformers").map_err(anyhow::Error::msg)?;
        if row.text("experts") != "none" && version != TransformersVersion::Current {
            let reason = "experts one by one: rows are the extremes of what a router may decide";
            board.leave_out(Runtime::Transformers, reason);
            continue;
        }
        let key = row.texts(["model", "transformers", "bitsandbytes", "weights"]);
        let (model, runtime, weights) = match models.entry(key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(loaded(&catalog, &row)?),
        };
        let gpu = &catalog.gpu(row.text("gpu"))?;
        let line = row.line();
        let pass = Pass(row);
        let workload = pass.workload(model, gpu)?;
        let kv = KvFormat::Bf16;
        let cache_tokens = pass.cache_tokens();
        let listed =
            buffers(&Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens })?;
        let transient = largest_moment(&listed, pass.phase())?;
        let measured = (pass.number("beyond_kv") + pass.inputs()) as f64 / MIB;
        let (runtime, origin) = (Runtime::Transformers, Origin::Engine);
        let subject = Subject { runtime, origin, model: &key[0], row: &line, digit: 0.0 };
        let what = "beside weights and cache, quantized layers";
        subject.hit(board, Part::Compute, what, Some(measured), transient);
    }
    Ok(())
}

fn loaded(catalog: &Catalog, row: &Row) -> anyhow::Result<(ModelSpec, RuntimeSpec, Weights)> {
    let model = catalog.model(row.text("model"))?;
    let mut runtime = catalog.runtime(Runtime::Transformers)?;
    runtime.options = RuntimeOptions::Transformers(TransformersStack {
        transformers: row.get("transformers").map_err(anyhow::Error::msg)?,
        bitsandbytes: row.get("bitsandbytes").map_err(anyhow::Error::msg)?,
        ..TransformersStack::default()
    });
    let weights = weights_of(&model, row.get("weights")?, &runtime)?;
    Ok((model, runtime, weights))
}
