//! The estimator of the `transformers` runtime against transformers itself: every row of
//! `engines/transformers/transformers.csv` is a forward pass of the real code whose live storages
//! were tracked (`engines/transformers/track.py`).
//!
//! Compared is what a pass holds beside the weights and the cache, the inputs included. What the
//! expected value of a plan leaves out on purpose is rounding of allocations, which the tracker does
//! not see either.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::BTreeMap;

use serde::Deserialize;
use vramplan::dtype::{KvFormat, WeightFormat};
use vramplan::estimate::weights::{Weights, weights};
use vramplan::estimate::{Component, Life, Moment, Phase, Scenario, buffers};
use vramplan::spec::{
    Basis, Bounds, Capture, Fact, GpuSpec, Logits, ModelShape, ModelSpec, Runtime, RuntimeSpec,
    Workload,
};
use vramplan::units::Bytes;

/// Median and 90th percentile that the relative error must stay below, and the share of rows that may
/// lie more than 2% outside the bounds.
const MEDIAN: f64 = 0.005;
const P90: f64 = 0.01;
const OUTSIDE: f64 = 0.01;

#[derive(Deserialize)]
struct Profile {
    shape: ModelShape,
}

/// A row of the table.
struct Row<'a> {
    fields: BTreeMap<&'a str, &'a str>,
}

impl Row<'_> {
    fn number(&self, column: &str) -> u64 {
        self.fields[column].parse().unwrap()
    }

    fn is(&self, column: &str, value: &str) -> bool {
        self.fields[column] == value
    }

    fn seen(&self) -> u64 {
        self.number("rows") + self.number("past")
    }

    /// Bytes beside the weights, with ids and padding mask, which the tracker takes as given.
    fn held(&self) -> u64 {
        let inputs = 8 * self.number("batch") * (self.number("rows") + self.seen());
        self.number("live_peak") + inputs
    }

    fn phase(&self) -> Phase {
        match self.fields["phase"] {
            _ if !self.is("capture", "none") => Phase::Capture,
            "system_prefill" => Phase::SystemPrefill,
            "prefill" => Phase::Prefill,
            _ => Phase::Decode,
        }
    }

    /// The request whose pass of this phase is the row's.
    fn workload(&self, layers: u64) -> Workload {
        let (rows, past) = (self.number("rows"), self.number("past"));
        let first = self.is("phase", "system_prefill");
        let capture = (!self.is("capture", "none")).then_some(Capture {
            layers,
            tokens: rows,
            attention: self.is("capture", "hidden+attention"),
            keep: true,
        });
        Workload {
            system_tokens: if first { rows } else { 0 },
            cache_tokens: if first { 0 } else { past + rows },
            recent_window: None,
            prefill_chunk: rows,
            batch: self.number("batch"),
            context: 1 << 20,
            attention: self.fields["attention"].parse().unwrap(),
            capture,
            images: None,
            logits: self.fields["logits"].parse::<Logits>().unwrap(),
            grown_cache: self.is("cache", "dynamic"),
            llama_cpp: vramplan::spec::LlamaCppVersion::default(),
            serving: None,
        }
    }
}

fn model(name: &str) -> ModelSpec {
    let path = format!("{}/profiles/models/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let profile: Profile = toml::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    ModelSpec::new(name, profile.shape, "profile").unwrap()
}

fn fact<T>(value: T) -> Fact<T> {
    Fact::new(value, Basis::Assumed, "test")
}

fn runtime() -> RuntimeSpec {
    RuntimeSpec {
        runtime: Runtime::Transformers,
        version: "5.23.0".into(),
        libraries: fact(Bounds::ZERO),
        blas_workspace: fact(Bytes::ZERO),
        blas_workspace_hopper: fact(Bytes::ZERO),
        allocation_granule: fact(Bytes::new(512)),
        segment_granule: fact(Bytes::new(2 << 20)),
    }
}

/// Keys and values, and the largest moment of the row's phase.
fn predicted(row: &Row<'_>, model: &ModelSpec, weights: &Weights) -> (u64, Bounds) {
    let (gpu, runtime) = (gpu(), runtime());
    let kv = KvFormat::Bf16;
    let workload = row.workload(model.shape.n_layers);
    let scenario = Scenario { model, gpu: &gpu, runtime: &runtime, weights, kv, workload };
    let (buffers, phase) = (buffers(&scenario).unwrap(), row.phase());
    let caches = [Component::SystemPromptCache, Component::ConversationCache];
    let scores = "eviction scores";
    let cache = buffers
        .iter()
        .filter(|b| caches.contains(&b.component) && b.name != scores)
        .filter(|b| matches!(b.life, Life::From(_)))
        .map(|b| b.size.expected.get())
        .sum();
    let moments =
        [Moment::Conversion, Moment::Attention, Moment::FeedForward, Moment::Output, Moment::Whole];
    let largest = moments.into_iter().fold(Bounds::ZERO, |largest, moment| {
        let alive = |life| matches!(life, Life::During(p, m) if p == phase && (m == moment || m == Moment::Whole));
        let sum = buffers
            .iter()
            .filter(|b| alive(b.life))
            .try_fold(Bounds::ZERO, |sum, b| sum.plus(b.size));
        largest.max(sum.unwrap())
    });
    (cache, largest)
}

/// Errors of the rows of one model and attention.
#[derive(Default)]
struct Errors(Vec<(f64, String)>);

impl Errors {
    fn sort(&mut self) {
        self.0.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)].0
    }
}

#[allow(clippy::cast_precision_loss)]
fn relative(predicted: u64, measured: u64) -> f64 {
    predicted.abs_diff(measured) as f64 / measured.max(1) as f64
}

#[test]
fn passes_hold_what_the_tracker_saw() {
    let table = include_str!("engines/transformers/transformers.csv");
    let mut lines = table.lines();
    let columns: Vec<_> = lines.next().unwrap().split(',').collect();
    let mut groups: BTreeMap<(String, String), Errors> = BTreeMap::new();
    let (mut dense, mut experts) = (Errors::default(), Errors::default());
    let mut outside = Vec::new();
    for line in lines {
        let row = Row { fields: columns.iter().copied().zip(line.split(',')).collect() };
        let model = model(row.fields["model"]);
        // The tracker's experts are bf16, published as MXFP4 or not.
        let mut weights =
            weights(&model, "bf16".parse::<WeightFormat>().unwrap(), &runtime()).unwrap();
        weights.packed_experts = false;
        let (cache, transient) = predicted(&row, &model, &weights);
        let beyond = row.held().saturating_sub(cache);
        let error = relative(transient.expected.get(), beyond);
        let what = format!("{line}: predicted {}, saw {beyond}", transient.expected.get());
        let (low, high) = (transient.low.get(), transient.high.get());
        if beyond < low - low / 50 || beyond > high + high / 50 {
            outside.push(format!("{:.1}% {what}", error * 100.0));
        }
        let key = (row.fields["model"].to_owned(), row.fields["attention"].to_owned());
        groups.entry(key).or_default().0.push((error, what.clone()));
        let all = if model.shape.moe.is_some() { &mut experts } else { &mut dense };
        all.0.push((error, what));
    }
    report(&mut groups);
    for errors in groups.values() {
        let (error, what) = errors.0.last().unwrap();
        println!("worst {:.2}% {what}", error * 100.0);
    }
    println!("outside the bounds by more than 2%: {}\n{}", outside.len(), outside.join("\n"));
    #[allow(clippy::cast_precision_loss)]
    let share = outside.len() as f64 / (dense.0.len() + experts.0.len()) as f64;
    assert!(share < OUTSIDE, "{share} of the rows are outside the bounds");
    for (family, errors) in [("dense", &mut dense), ("experts", &mut experts)] {
        errors.sort();
        let (median, p90) = (errors.percentile(50), errors.percentile(90));
        let (rows, m, p) = (errors.0.len(), median * 100.0, p90 * 100.0);
        println!("{family}: {rows} rows, median {m:.2}%, 90th percentile {p:.2}%");
        assert!(median < MEDIAN && p90 < P90, "{family}: median {m}%, 90th percentile {p}%");
    }
}

fn report(groups: &mut BTreeMap<(String, String), Errors>) {
    println!("| model | attention | rows | median | p90 | worst |\n|---|---|---|---|---|---|");
    for ((model, attention), errors) in groups {
        errors.sort();
        let percent = |p| format!("{:.2}%", 100.0 * errors.percentile(p));
        let (median, p90, worst) = (percent(50), percent(90), percent(100));
        println!("| {model} | {attention} | {} | {median} | {p90} | {worst} |", errors.0.len());
    }
}

fn gpu() -> GpuSpec {
    GpuSpec {
        name: "test".into(),
        aliases: Vec::new(),
        total: fact(Bytes::new(24 << 30)),
        reserved: fact(Bytes::ZERO),
        compute_capability: "8.9".parse().unwrap(),
        sm_count: fact(58),
        bandwidth: fact(Bytes::new(300_000_000_000)),
        ecc: vramplan::spec::Ecc::None,
        context: None,
    }
}
