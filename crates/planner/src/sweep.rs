//! A matrix: what fits where, for every combination of GPUs, models and formats.
//!
//! Weights are sized once for each model and format. What a runtime refuses is a cell like any other:
//! a matrix is asked for to see just that.

use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::weights::Weights;
use crate::estimate::weights_of;
use crate::plan::Capacity;
use crate::recommend::{Card, RecommendError, Request, Solver, Summary};
use crate::spec::{GpuSpec, ModelSpec, RuntimeSpec, Split, Workload};

/// What is asked of every combination.
#[derive(Clone, Debug)]
pub struct Sweep<'a> {
    /// The runtime's constants.
    pub runtime: &'a RuntimeSpec,
    /// Models with their formats, one to a row.
    pub rows: Vec<Row<'a>>,
    /// GPUs, one to a column.
    pub columns: Vec<Column<'a>>,
    /// How models are spread where a column has several GPUs.
    pub split: Split,
    /// Whether the size of the cache is given.
    pub fixed_cache: bool,
    /// Tokens a second that generation must be able to reach.
    pub min_decode_speed: Option<f64>,
}

/// A model with its formats and its work.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The format of the weights.
    pub weights: WeightFormat,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// The work on each GPU: runtimes have defaults that depend on the card.
    pub workloads: &'a [Workload],
}

/// A GPU with what it offers.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// The GPU.
    pub gpu: &'a GpuSpec,
    /// What it offers.
    pub capacity: Capacity,
    /// Further GPUs beside it.
    pub others: &'a [Card],
}

/// What a combination comes to, or why the runtime refuses it.
pub type Cell = Result<Summary, RecommendError>;

impl Sweep<'_> {
    /// Answers every combination: row by row, in the order of the columns.
    pub fn answer(&self) -> Vec<Vec<Cell>> {
        self.groups().into_iter().flat_map(|group| self.answer_group(group)).collect()
    }

    /// Runs of rows that share a model and its weights, which are sized once for each: what threads can take.
    pub fn groups(&self) -> Vec<&[Row<'_>]> {
        let same_weights =
            |a: &Row<'_>, b: &Row<'_>| std::ptr::eq(a.model, b.model) && a.weights == b.weights;
        self.rows.chunk_by(same_weights).collect()
    }

    /// Answers the rows of one of the groups.
    pub fn answer_group(&self, rows: &[Row<'_>]) -> Vec<Vec<Cell>> {
        let Some(first) = rows.first() else { return Vec::new() };
        let weights = weights_of(first.model, first.weights, self.runtime);
        let cell = |row: &Row<'_>, column: &Column<'_>, workload: &Workload| match &weights {
            Ok(weights) => self.cell(row, column, workload, weights),
            Err(refused) => Err(refused.clone().into()),
        };
        let cells = |row: &Row<'_>| {
            let on = self.columns.iter().zip(row.workloads);
            on.map(|(column, workload)| cell(row, column, workload)).collect()
        };
        rows.iter().map(cells).collect()
    }

    fn cell(
        &self,
        row: &Row<'_>,
        column: &Column<'_>,
        workload: &Workload,
        weights: &Weights,
    ) -> Cell {
        let request = Request {
            model: row.model,
            gpu: column.gpu,
            runtime: self.runtime,
            weights: row.weights,
            kv: row.kv,
            workload: workload.clone(),
            capacity: column.capacity,
            others: column.others,
            split: self.split,
            fixed_cache: self.fixed_cache,
            min_decode_speed: self.min_decode_speed,
            siblings: &[],
        };
        Solver::with_weights(&request, weights)?.summary()
    }
}
