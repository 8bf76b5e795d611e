//! What quantization libraries store for a model and for a cache (`evidence/storage`).

use std::collections::BTreeMap;

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{Bounds, Runtime};

use super::csv::rows;
use super::{Board, Origin, Part, Subject};

const MODELS: &str = include_str!("../../../evidence/storage/models.csv");
const CACHES: &str = include_str!("../../../evidence/storage/caches.csv");

const MIB: f64 = 1_048_576.0;

fn subject<'a>(model: &'a str, row: &'a str) -> Subject<'a> {
    let (runtime, origin) = (Runtime::Transformers, Origin::Engine);
    Subject { runtime, origin, model, row, digit: 0.0 }
}

/// Predicts the weights of every model as `PyTorch` counts them, and every cache.
#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let catalog = Catalog::built_in();
    let runtime = catalog.runtime(Runtime::Transformers)?;
    for row in rows(MODELS) {
        let (name, line) = (row.text("model"), row.line());
        let weights =
            weights_of(&catalog.model(name)?, row.get::<WeightFormat>("format")?, &runtime)?;
        let predicted = weights.bounds.plus(Bounds::exactly(weights.rounding))?;
        let measured = Some(row.number("allocated") as f64 / MIB);
        subject(name, &line).hit(board, Part::Weights, "as stored", measured, predicted);
    }
    let mut caches: BTreeMap<[String; 4], u64> = BTreeMap::new();
    for row in rows(CACHES) {
        let key = row.texts(["format", "kv_heads", "head_dim", "tokens"]);
        *caches.entry(key).or_default() += row.number("bytes");
    }
    for ([format, heads, width, tokens], stored) in caches {
        let line = format!("{format},{heads},{width},{tokens}");
        let kv: KvFormat = format.parse()?;
        let size = kv.size_of(heads.parse()?, width.parse()?, tokens.parse()?)?;
        let measured = Some(stored as f64 / MIB);
        subject(&format, &line).hit(board, Part::Kv, "as stored", measured, Bounds::exactly(size));
    }
    Ok(())
}
