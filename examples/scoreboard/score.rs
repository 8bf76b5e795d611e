//! Predictions beside what real runs printed.
//!
//! `version` is the generation that a log's build number names; logs without one are dated by the
//! generation that reproduces both of their buffers, so for those it is a fit.

use std::collections::BTreeMap;

use vramplan::dtype::{KvFormat, WeightFormat};
use vramplan::estimate::Component as C;
use vramplan::estimate::weights::weights;
use vramplan::estimate::{Scenario, buffers};
use vramplan::source::Catalog;
use vramplan::spec::{Attention, Bounds, Logits, Runtime, Workload};
use vramplan::units::Bytes;

/// Public logs of llama.cpp: one card, every layer on it, unless `left_out` says otherwise.
const LLAMA_CPP: &str = include_str!("../../tests/corpus/llama_cpp.csv");

/// One figure of a run, and what was predicted for it.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// Predicted / measured − 1.
    pub error: f64,
    /// Whether the measured figure lies within the bounds, to the hundredth of a MiB that logs print.
    pub covered: bool,
    /// High bound / measured − 1.
    pub margin: f64,
}

/// Hits by runtime and quantity, and the rows that were left out with the reason.
#[derive(Debug, Default)]
pub struct Board {
    /// By runtime and quantity.
    pub hits: BTreeMap<(&'static str, &'static str), Vec<Hit>>,
    /// Reason → rows.
    pub left_out: BTreeMap<String, usize>,
}

/// The rows of a CSV without quotes, by column.
fn rows(csv: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    let mut lines = csv.lines();
    let names: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
    lines.map(move |line| names.iter().copied().zip(line.split(',')).collect())
}

impl Board {
    /// Predicts every run.
    pub fn new() -> anyhow::Result<Self> {
        let mut board = Self::default();
        for row in rows(LLAMA_CPP) {
            board.llama_cpp(&row)?;
        }
        Ok(board)
    }

    fn llama_cpp(&mut self, row: &BTreeMap<&str, &str>) -> anyhow::Result<()> {
        if !row["left_out"].is_empty() {
            *self.left_out.entry(format!("llama.cpp: {}", row["left_out"])).or_default() += 1;
            return Ok(());
        }
        let catalog = Catalog::without_configuration(&[]);
        let (model, gpu) = (catalog.model(row["model"])?, catalog.gpu("L4")?);
        let runtime = catalog.runtime(Runtime::LlamaCpp)?;
        let weights = weights(&model, row["weights"].parse::<WeightFormat>()?, &runtime)?;
        let workload = Workload {
            system_tokens: 0,
            cache_tokens: row["cache_tokens"].parse()?,
            recent_window: None,
            prefill_chunk: row["prefill_chunk"].parse()?,
            batch: 1,
            context: u64::MAX,
            attention: row["attention"].parse::<Attention>().map_err(anyhow::Error::msg)?,
            capture: None,
            images: None,
            logits: Logits::All,
            grown_cache: false,
            llama_cpp: row["version"].parse().map_err(anyhow::Error::msg)?,
            serving: None,
        };
        let kv = row["kv"].parse::<KvFormat>()?;
        let scenario = Scenario {
            model: &model,
            gpu: &gpu,
            runtime: &runtime,
            weights: &weights,
            kv,
            workload,
        };
        let buffers = buffers(&scenario)?;
        let sum = |components: &[C]| {
            let mine = buffers.iter().filter(|buffer| components.contains(&buffer.component));
            mine.map(|buffer| buffer.size).try_fold(Bounds::ZERO, Bounds::plus)
        };
        let caches = [C::SystemPromptCache, C::ConversationCache];
        let compute = [C::AttentionTransients, C::Activations, C::Logits, C::SmallBuffers];
        self.hit("weights", row["weights_mib"], sum(&[C::Weights])?)?;
        self.hit("kv", row["kv_mib"], sum(&caches)?)?;
        self.hit("compute", row["compute_mib"], sum(&compute)?)
    }

    fn hit(
        &mut self,
        quantity: &'static str,
        measured: &str,
        predicted: Bounds,
    ) -> anyhow::Result<()> {
        if measured.is_empty() {
            return Ok(());
        }
        let measured: f64 = measured.parse()?;
        let [low, expected, high] =
            [predicted.low, predicted.expected, predicted.high].map(Bytes::as_mib);
        let hit = Hit {
            error: expected / measured - 1.0,
            covered: low <= measured + 0.01 && measured <= high + 0.01,
            margin: high / measured - 1.0,
        };
        self.hits.entry(("llama.cpp", quantity)).or_default().push(hit);
        Ok(())
    }
}

/// The value below which this share of a sorted list lies.
#[must_use]
pub fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(f64::NAN)
}

/// The absolute errors of hits, sorted.
#[must_use]
pub fn errors(hits: &[Hit]) -> Vec<f64> {
    let mut errors: Vec<f64> = hits.iter().map(|hit| hit.error.abs()).collect();
    errors.sort_by(f64::total_cmp);
    errors
}

/// Hits whose measured figure lies within the bounds.
#[must_use]
pub fn covered(hits: &[Hit]) -> usize {
    hits.iter().filter(|hit| hit.covered).count()
}
