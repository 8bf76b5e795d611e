//! A matrix: what fits where, for every combination of GPUs, models and formats.
//!
//! Weights are sized once for each model and format. What a runtime refuses is a cell like any other:
//! a matrix is asked for to see just that.

use std::sync::Arc;

use crate::deployment::Deployment;
use crate::estimate::weights::Weights;
use crate::estimate::weights_of;
use crate::plan::Verdict;
use crate::recommend::{
    Fit, Largest, RecommendError, Solver, Summary, settle_batch, settle_share, settle_users, solve,
};
use crate::units::Bytes;

/// The combinations. Those of a row share their model and formats, those of a column their cards.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Row by row.
    pub rows: Vec<Vec<Deployment>>,
    /// Whether the largest cache is searched for where one of a given size is asked about, too.
    pub largest: bool,
}

/// What a combination comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whether it fits.
    pub fit: Fit,
    /// The largest cache that does, where it was asked for.
    pub largest: Option<Largest>,
    /// The flags of a placement that leaves a part of the model in main memory, where the whole does not fit.
    pub placement: Option<String>,
    /// What of main memory has to be free for that, where nothing says how much there is.
    pub main_memory: Option<Bytes>,
}

/// What a combination comes to, or why the runtime refuses it.
pub type Cell = Result<Answered, RecommendError>;

impl Sweep {
    /// Answers every combination: row by row, in the order of the columns.
    pub fn answer(&self) -> Vec<Vec<Cell>> {
        self.groups().into_iter().flat_map(|rows| self.answer_group(rows)).collect()
    }

    /// Runs of rows that share a model and its weights, which are sized once for each: what threads can take.
    pub fn groups(&self) -> Vec<&[Vec<Deployment>]> {
        let same_weights = |a: &Vec<Deployment>, b: &Vec<Deployment>| match (a.first(), b.first()) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.model, &b.model) && a.weights == b.weights,
            _ => false,
        };
        self.rows.chunk_by(same_weights).collect()
    }

    /// Answers the rows of one of the groups.
    pub fn answer_group(&self, rows: &[Vec<Deployment>]) -> Vec<Vec<Cell>> {
        let Some(first) = rows.iter().flatten().next() else { return Vec::new() };
        let weights = weights_of(&first.model, first.weights, &first.runtime);
        let cell = |deployment: &Deployment| match &weights {
            Ok(weights) => self.answered(deployment, weights),
            Err(refused) => Err(refused.clone().into()),
        };
        rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    /// The answer of a combination, with layers and experts in main memory as `budget` has them there.
    fn answered(&self, deployment: &Deployment, weights: &Weights) -> Cell {
        let Some(placement) = solve(deployment)? else {
            let settled = settle_batch(settle_users(settle_share(deployment)?)?)?;
            return self.summed_up(&Solver::with_weights(&settled, weights)?, None);
        };
        let placed = placement.of(deployment);
        let settled = settle_batch(settle_users(settle_share(&placed)?)?)?;
        // Main memory is a device beside the GPUs: each has weights of its own.
        self.summed_up(&Solver::new(&settled)?, Some(placement.flags()))
    }

    fn summed_up(&self, solver: &Solver<'_>, placement: Option<String>) -> Cell {
        let given = if self.largest { None } else { solver.fit_as_given()? };
        let (fit, largest) = if let Some(fit) = given {
            (fit, None)
        } else {
            let Summary { fit, largest } = solver.summary()?;
            (fit, Some(largest))
        };
        let is_placed = placement.is_some() && fit.verdict != Verdict::DoesNotFit;
        let main_memory = if is_placed { solver.main_memory(fit.cache_tokens)? } else { None };
        Ok(Answered { fit, largest, placement, main_memory })
    }
}
