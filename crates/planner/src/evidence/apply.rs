//! A deployment with what was measured of its cards in the place of what was assumed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::record::{Record, TermId};
use super::robust::{Robust, Sample, robust};
use super::scrub::scrub;
use super::summary::{Group, release_of, samples, served, summarise};
use crate::deployment::{Card, Cards, Deployment};
use crate::spec::{Basis, Bounds, Fact, GpuSpec, MeasuredServer};
use crate::units::Bytes;

/// Records, each once.
#[derive(Clone, Debug, Default)]
pub struct Book {
    records: Vec<Record>,
}

/// The smallest margin: a page of the device's memory.
const MARGIN: Bytes = Bytes::new(2 << 20);

impl Book {
    /// Of these records; equal ones count once, and their order does not matter.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        let mut records: Vec<Record> = records.into_iter().collect();
        records.sort_by_cached_key(Record::id);
        records.dedup_by_key(|record| record.id());
        Self { records }
    }

    /// The records, in no particular order that callers could rely on but always in the same.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What they say together.
    pub fn groups(&self) -> Vec<Group> {
        summarise(&self.records)
    }

    /// The deployment with what was measured on cards of its kind, under its runtime and release. What `calibrate
    /// --write` measured on a card stays.
    ///
    /// A constant counts for every model; graphs and pools for the setting that they were measured in.
    #[must_use]
    pub fn apply(&self, deployment: Deployment) -> Deployment {
        let here = |record: &&Record| {
            record.is_of_a_card()
                && record.engine.runtime == deployment.kind()
                && record.card.count == deployment.cards.len() as u64
        };
        let records: Vec<&Record> = self.records.iter().filter(here).collect();
        if records.is_empty() {
            return deployment;
        }
        let card = |card: &Card| {
            let name = &card.gpu.name;
            let of_card: Vec<&Record> =
                records.iter().copied().filter(|record| record.card.name == *name).collect();
            let mut card = card.clone();
            known(&mut card.gpu, &of_card, &deployment);
            card
        };
        let first = card(deployment.cards.first());
        let others = deployment.cards.iter().skip(1).map(card).collect();
        Deployment { cards: Cards::new(first, others), ..deployment }
    }
}

/// Puts what records say of a card in its place.
fn known(gpu: &mut GpuSpec, records: &[&Record], deployment: &Deployment) {
    if gpu.is_main_memory() {
        return;
    }
    let release = deployment.options().version().as_deref().and_then(release_of);
    let of_release: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|record| {
            let version = record.engine.version.as_deref();
            release.is_some() && version.and_then(release_of) == release
        })
        .collect();
    if !gpu.is_calibrated() {
        constants(gpu, records);
        if let Some(non_torch) = fact(&of_release, TermId::NonTorch) {
            gpu.calibrated.libraries = Some(non_torch);
        }
    }
    let server = server(&of_release, deployment);
    if server.graphs.is_some() || server.pool.is_some() {
        gpu.calibrated.served = Some(Arc::new(server));
    }
}

/// What a process holds beside its allocator's pool: told apart where records do, else all of it.
fn constants(gpu: &mut GpuSpec, records: &[&Record]) {
    let apart: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|record| {
            let parts = [TermId::Context, TermId::Libraries, TermId::Workspaces];
            parts.iter().all(|part| record.largest(*part).is_some())
        })
        .collect();
    if let Some(context) = fact(&apart, TermId::Context) {
        gpu.context = Some(context);
        gpu.calibrated.libraries = fact(&apart, TermId::Libraries);
        gpu.calibrated.workspaces = fact(&apart, TermId::Workspaces);
    } else if let Some(overhead) = fact(records, TermId::Overhead) {
        gpu.context = Some(overhead);
    }
    if gpu.is_calibrated() {
        gpu.calibrated.slack = fact(records, TermId::Slack);
    }
}

/// What servers of this setting took.
fn server(records: &[&Record], deployment: &Deployment) -> MeasuredServer {
    let asked = served(&scrub(&deployment.resolved()).deployment);
    let same: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|record| {
            let is_whole = record.deployment.model.is_some() && record.left_out.is_empty();
            is_whole && served(&record.deployment) == asked
        })
        .collect();
    MeasuredServer {
        model: deployment.model.name.clone(),
        weights: deployment.weights,
        kv: deployment.kv,
        prefill_chunk: deployment.workload.prefill_chunk,
        images: deployment.workload.images,
        options: deployment.options().without_use(),
        graphs: fact(&same, TermId::Graphs),
        pool: fact(&same, TermId::Pool),
    }
}

/// The median of what runs say, between their bounds with a margin.
fn fact(records: &[&Record], term: TermId) -> Option<Fact<Bounds>> {
    let found = samples(records.iter().copied(), term);
    let sizes: Vec<Sample> = found.iter().map(|(sample, _)| *sample).collect();
    let Robust { runs, low, median, high, within, outliers } = robust(&sizes)?;
    // What one driver and day differ by from the next is not known from a few runs.
    let margin = median.scale(1, 100).ok()?.max(MARGIN).max(within);
    let bounds = Bounds::new(low.minus_or_zero(margin), median, high.plus(margin).ok()?);
    let counted: Vec<&Record> = found
        .iter()
        .filter(|(sample, _)| !outliers.contains(sample))
        .map(|(_, record)| *record)
        .collect();
    Some(Fact::new(bounds, Basis::Calibrated, source(runs, outliers.len(), &counted)))
}

/// `3 runs, 2026-03-01 to 2026-03-04, under drivers 535.183.06 and 550.54.15; 1 outlier left out`.
fn source(runs: u64, outliers: usize, records: &[&Record]) -> String {
    let mut text = format!("{runs} {}", if runs == 1 { "run" } else { "runs" });
    let dates = records.iter().filter_map(|record| record.date.as_deref());
    let days: BTreeSet<&str> = dates.filter_map(|date| date.get(..10)).collect();
    match (days.first(), days.last()) {
        (Some(first), Some(last)) if first == last => drop(write!(text, ", {first}")),
        (Some(first), Some(last)) => drop(write!(text, ", {first} to {last}")),
        _ => text += ", at a time that is not known",
    }
    let drivers: Vec<&str> = records.iter().filter_map(|record| record.driver.as_deref()).collect();
    let drivers: Vec<&str> = drivers.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    match drivers.as_slice() {
        [] => {}
        [driver] => drop(write!(text, ", under driver {driver}")),
        drivers => drop(write!(text, ", under drivers {}", drivers.join(" and "))),
    }
    match outliers {
        0 => {}
        1 => text += "; 1 outlier left out",
        n => drop(write!(text, "; {n} outliers left out")),
    }
    text
}
