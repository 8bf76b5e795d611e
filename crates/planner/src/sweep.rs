//! A matrix: what fits where, for every combination of GPUs, models and formats.
//!
//! Weights are sized once for each model and format. What a runtime refuses is a cell like any other:
//! a matrix is asked for to see just that.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::weights::{Weights, weights};
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

/// Combinations below which a second thread costs more than it gives.
const CELLS_FOR_THREADS: usize = 1024;

impl Sweep<'_> {
    /// Answers every combination: row by row, in the order of the columns.
    pub fn answer(&self) -> Vec<Vec<Cell>> {
        let same_weights =
            |a: &Row<'_>, b: &Row<'_>| std::ptr::eq(a.model, b.model) && a.weights == b.weights;
        let groups: Vec<&[Row<'_>]> = self.rows.chunk_by(same_weights).collect();
        if self.rows.len() * self.columns.len() < CELLS_FOR_THREADS {
            return groups.into_iter().flat_map(|group| self.group(group)).collect();
        }
        self.answer_in_threads(&groups)
    }

    fn answer_in_threads(&self, groups: &[&[Row<'_>]]) -> Vec<Vec<Cell>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(group) = groups.get(index) else { return done };
                done.push((index, self.group(group)));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut done = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for other in others {
                match other.join() {
                    Ok(more) => done.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        });
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().flat_map(|(_, rows)| rows).collect()
    }

    /// Answers rows that share their weights.
    fn group(&self, rows: &[Row<'_>]) -> Vec<Vec<Cell>> {
        let Some(first) = rows.first() else { return Vec::new() };
        let weights = weights(first.model, first.weights, self.runtime);
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
