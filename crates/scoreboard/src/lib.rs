//! Predictions beside what real runs printed and what the engines themselves answer.
//!
//! A log or an answer is a row under `tests/corpus` or `evidence`; each file here predicts the rows of one runtime.
//! Sizes are MiB.

pub mod allocator;
pub mod archs;
pub mod csv;
pub mod llama_cpp;
pub mod llama_rehearsed;
pub mod peers;
pub mod placement;
pub mod quantized;
pub mod rehearsed;
pub mod shapes;
pub mod statistics;
pub mod storage;
pub mod transformers;
pub mod vllm;
pub mod vllm_engine;

use std::collections::BTreeMap;
use std::fmt;

use vramplan_planner::estimate::rules;
use vramplan_planner::spec::{Bounds, GpuSpec, Logits, ModelSpec, Runtime, Workload};
use vramplan_planner::units::{Bytes, Overflow};

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Weights.
    Weights,
    /// Keys and values.
    Kv,
    /// Activations, attention's transients, logits and small buffers together.
    Compute,
    /// Context, libraries, captured graphs.
    Overhead,
    /// Everything that the row counts.
    Total,
    /// What an allocator holds for all of it.
    Reserved,
}

impl Part {
    /// Every part, in the order of every table.
    pub const ALL: [Self; 6] =
        [Self::Weights, Self::Kv, Self::Compute, Self::Overhead, Self::Total, Self::Reserved];

    /// The name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Kv => "kv",
            Self::Compute => "compute",
            Self::Overhead => "overhead",
            Self::Total => "total",
            Self::Reserved => "reserved",
        }
    }
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A public log of a real GPU.
    Log,
    /// The engine itself, asked without a GPU.
    Engine,
}

impl Origin {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Log, Self::Engine];

    /// The name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "logs",
            Self::Engine => "engine",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One figure of a row, and what was predicted for it.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The runtime.
    pub runtime: Runtime,
    /// Who said it.
    pub origin: Origin,
    /// What it is of.
    pub part: Part,
    /// What exactly was measured there, where a part is measured in several ways.
    pub what: &'static str,
    /// The model, in lower case.
    pub model: String,
    /// The row, for messages.
    pub row: String,
    /// What was measured.
    pub measured: f64,
    /// The last digit that the row prints.
    pub digit: f64,
    /// Low bound, expected value and high bound.
    pub predicted: [f64; 3],
}

impl Hit {
    /// Predicted / measured − 1.
    pub fn error(&self) -> f64 {
        self.predicted[1] / self.measured - 1.0
    }

    /// High bound / measured − 1.
    pub fn slack(&self) -> f64 {
        self.predicted[2] / self.measured - 1.0
    }

    /// Whether the measured figure is at least the low bound, to the digit that the row prints.
    pub fn above_low(&self) -> bool {
        self.predicted[0] <= self.measured + self.digit
    }

    /// Whether the measured figure is at most the high bound, to the digit that the row prints.
    pub fn below_high(&self) -> bool {
        self.measured <= self.predicted[2] + self.digit
    }

    /// Whether bounds were set from rows of this model; the others are held aside.
    pub fn is_set_from(&self) -> bool {
        is_set_from(&self.model)
    }
}

/// A fixed half of all models: FNV-1a of the name, even.
pub fn is_set_from(model: &str) -> bool {
    let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The lowest bit of FNV-1a is the parity of the bytes' lowest bits: fold the rest in.
    (hash ^ (hash >> 32)).count_ones().is_multiple_of(2)
}

/// Every figure, and the rows that were left out with the reason.
#[derive(Debug, Default)]
pub struct Board {
    /// Every figure.
    pub hits: Vec<Hit>,
    /// Runtime and reason → rows.
    pub left_out: BTreeMap<(Runtime, String), usize>,
}

impl Board {
    /// Predicts every row of every runtime.
    pub fn new() -> anyhow::Result<Self> {
        let mut board = Self::default();
        llama_cpp::logs(&mut board)?;
        llama_cpp::engine(&mut board)?;
        vllm::logs(&mut board)?;
        vllm_engine::engine(&mut board)?;
        transformers::logs(&mut board);
        transformers::engine(&mut board)?;
        quantized::engine(&mut board)?;
        storage::engine(&mut board)?;
        allocator::engine(&mut board)?;
        Ok(board)
    }

    /// Hits of a runtime, an origin and a part.
    pub fn of(&self, runtime: Runtime, origin: Origin, part: Part) -> Vec<&Hit> {
        let wanted = |hit: &&Hit| (hit.runtime, hit.origin, hit.part) == (runtime, origin, part);
        self.hits.iter().filter(wanted).collect()
    }

    /// Groups that have hits, in the order of every table.
    pub fn groups(&self) -> impl Iterator<Item = (Runtime, Origin, Part, Vec<&Hit>)> {
        let runtimes = [Runtime::LlamaCpp, Runtime::Vllm, Runtime::Transformers];
        let origins = runtimes.into_iter().flat_map(|r| Origin::ALL.map(|origin| (r, origin)));
        let parts = origins.flat_map(|(r, origin)| Part::ALL.map(|part| (r, origin, part)));
        parts.filter_map(|(runtime, origin, part)| {
            let hits = self.of(runtime, origin, part);
            (!hits.is_empty()).then_some((runtime, origin, part, hits))
        })
    }

    fn leave_out(&mut self, runtime: Runtime, reason: &str) {
        *self.left_out.entry((runtime, reason.to_owned())).or_default() += 1;
    }
}

/// A row that is being predicted.
#[derive(Clone, Copy)]
struct Subject<'a> {
    runtime: Runtime,
    origin: Origin,
    model: &'a str,
    row: &'a str,
    digit: f64,
}

impl Subject<'_> {
    /// Adds a figure unless the row has none, or nothing.
    fn hit(
        &self,
        board: &mut Board,
        part: Part,
        what: &'static str,
        measured: Option<f64>,
        predicted: Bounds,
    ) {
        let Some(measured) = measured.filter(|measured| *measured > 0.0) else { return };
        board.hits.push(Hit {
            runtime: self.runtime,
            origin: self.origin,
            part,
            what,
            model: self.model.to_ascii_lowercase(),
            row: self.row.to_owned(),
            measured,
            digit: self.digit,
            predicted: [predicted.low, predicted.expected, predicted.high].map(Bytes::as_mib),
        });
    }
}

/// Sums bounds.
fn sum(sizes: impl IntoIterator<Item = Bounds>) -> Result<Bounds, Overflow> {
    sizes.into_iter().try_fold(Bounds::ZERO, Bounds::plus)
}

/// The work of a row before it says anything.
fn workload(runtime: Runtime, model: &ModelSpec, gpu: &GpuSpec) -> Workload {
    let defaults = rules(runtime).defaults(model, gpu);
    Workload {
        system_tokens: 0,
        recent_window: None,
        prefill_chunk: 512,
        batch: 1,
        context: 1 << 20,
        attention: defaults.attention,
        capture: None,
        images: None,
        logits: Logits::Last,
        grown_cache: defaults.grown_cache,
    }
}
