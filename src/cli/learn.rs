//! `--learn`: keeps what a run was measured to hold.

use std::io::Write as _;

use super::args::CatalogArgs;
use super::known::Known;
use super::problem::Problem;
use crate::calibrate::now;
use crate::evidence::{Store, StoreError, machine};
use vramplan_planner::evidence::Record;
use vramplan_planner::text::printable_path;

/// Makes the directory that a record is to be kept in, before there is one.
pub fn ready(catalog: &CatalogArgs, learns: bool) -> anyhow::Result<()> {
    if !learns {
        return Ok(());
    }
    Store::new(&catalog.evidence).make().map_err(explain)
}

/// Keeps the record of a run on this machine.
pub fn keep_own(record: Record, known: &Known) -> anyhow::Result<()> {
    let machine = machine();
    keep(&Record { host: machine.host, job: machine.job, ..record }, known.store())
}

/// Keeps the record of a log. One that a job of a scheduler reads is of its own node and day.
pub fn keep_read(record: Record, known: &Known) -> anyhow::Result<()> {
    let machine = machine();
    if machine.job.is_none() {
        return keep(&record, known.store());
    }
    // To the day, so that a job which runs again says the same.
    let date = now().get(..10).map(|day| format!("{day}T00:00:00Z"));
    keep(&Record { host: machine.host, job: machine.job, date, ..record }, known.store())
}

fn keep(record: &Record, store: &Store) -> anyhow::Result<()> {
    let kept = store.keep(record).map_err(explain)?;
    let path = printable_path(&kept.path);
    let told = match (kept.new, record.terms.len()) {
        (true, 1) => format!("learned: 1 size, kept in `{path}`\n"),
        (true, terms) => format!("learned: {terms} sizes, kept in `{path}`\n"),
        (false, _) => format!("known already: `{path}`\n"),
    };
    Ok(anstream::stderr().write_all(told.as_bytes())?)
}

/// Why a run is not kept as evidence.
pub fn nothing(why: &str) -> anyhow::Error {
    Problem::new(format!("nothing is learned: {why}"))
        .hint("a record says what was run and on what: add `--gpu` and `--model`")
        .into()
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn explain(error: StoreError) -> anyhow::Error {
    Problem::new(format!("the record cannot be kept: {error}"))
        .hint("name a directory that can be written to with `--evidence DIR`")
        .into()
}
