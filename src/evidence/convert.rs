//! Records of what `observe`, `calibrate` and `rehearse` report.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::calibrate::{Device, MeterKind};
use crate::report::observe::{ObserveDoc, SCHEMA as OBSERVED};
#[cfg(target_os = "linux")]
use crate::report::rehearsal::{RehearsalDoc, RunDoc, SCHEMA as REHEARSED};
use vramplan_planner::deployment::Question;
use vramplan_planner::evidence::{
    CardDoc, Digest, Ended, EngineDoc, How, ReadIn, Record, SCHEMA, TermDoc, TermId, Where,
    card_of, date, driver, one, scrub, version,
};
use vramplan_planner::protocol::Stage;
use vramplan_planner::text::{printable, printable_message};
use vramplan_planner::units::Bytes;

#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// The records of a file's text: a record, or a report that records are made of.
///
/// # Errors
/// Where it is neither, or teaches nothing.
pub fn of_text(text: &str) -> Result<Vec<Record>, String> {
    let head: Head = parsed(text)?;
    match head.schema.as_str() {
        SCHEMA => one(text).map(|record| vec![record]).map_err(|error| error.to_string()),
        OBSERVED => of_report(&parsed(text)?).map(|record| vec![record]),
        #[cfg(target_os = "linux")]
        REHEARSED => of_rehearsal(&parsed(text)?),
        other => Err(format!(
            "schema `{}`: expected `{SCHEMA}`, or a report of `observe`, `calibrate` or `rehearse`",
            printable(other)
        )),
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json)
        .map_err(|error| printable_message(&error.to_string()))
}

const NO_PLAN: &str = "it does not say what was run: give the plan's flags, `--model` among them";

/// The record of a measured run.
///
/// # Errors
/// Where the report does not say what was run, or on what.
pub fn of_report(report: &ObserveDoc) -> Result<Record, String> {
    let plan = report.comparison.as_ref().map(|compared| &compared.plan).ok_or(NO_PLAN)?;
    let terms = terms(report);
    if terms.is_empty() {
        return Err("nothing was read while the command ran".to_owned());
    }
    let ended = match &report.exit {
        Some(exit) if exit.code == Some(0) && exit.signal.is_none() => Ended::Well,
        Some(_) => Ended::Failed,
        None => Ended::Unknown,
    };
    let how = if has_pool(report) { How::Calibrated } else { How::Observed };
    record(how, &plan.deployment, &report.device, (&report.started, ended, terms))
}

fn has_pool(report: &ObserveDoc) -> bool {
    report.counters.contains_key("pool_reserved_bytes")
}

fn record(
    how: How,
    asked: &Question,
    device: &Device,
    (started, ended, terms): (&str, Ended, Vec<TermDoc>),
) -> Result<Record, String> {
    let runtime = asked.runtime.ok_or(NO_PLAN)?;
    let named = asked.gpu.as_deref().unwrap_or_default();
    let count = asked.gpus.unwrap_or_else(|| named.split(',').count() as u64);
    let first = named.split(',').next().unwrap_or_default();
    let own = (device.meter == MeterKind::Nvml).then_some(device.name.as_str());
    let name = own.and_then(|name| card_of(name, device.total)).or_else(|| card_of(first, None));
    let scrubbed = scrub(asked);
    let given = asked.runtime_version.as_deref().filter(|given| *given != "latest");
    Ok(Record {
        schema: SCHEMA.to_owned(),
        how,
        date: date(started).map(str::to_owned),
        thread: None,
        ended,
        engine: EngineDoc { runtime, version: given.and_then(version) },
        card: CardDoc {
            name: name.ok_or("it names no card that is known, and no size of one")?,
            total: device.total,
            count: count.clamp(1, vramplan_planner::deployment::MOST_GPUS),
        },
        driver: device.driver.as_deref().and_then(driver),
        deployment: scrubbed.deployment,
        left_out: scrubbed.left_out,
        terms,
        host: None,
        gpu: device.uuid.as_deref().map(|uuid| Digest::of("gpu", uuid.as_bytes())),
        job: None,
    })
}

const fn term(term: TermId, size: Bytes, at: Where, read: ReadIn) -> TermDoc {
    TermDoc { term, size, within: Bytes::ZERO, at, read, line: None }
}

/// What a run held at most; of one that told of its pool, what it held beside it, as [`crate::calibrate::fit`] has it.
fn terms(report: &ObserveDoc) -> Vec<TermDoc> {
    let Some(peak) = &report.peak else { return Vec::new() };
    if report.device.meter != MeterKind::Nvml {
        let read = match report.device.meter {
            MeterKind::Cpu => ReadIn::Resident,
            _ => ReadIn::VirtualCard,
        };
        let at = if read == ReadIn::Resident { Where::Host } else { Where::Card };
        return vec![term(TermId::Peak, peak.bytes, at, read)];
    }
    let mut terms = vec![term(TermId::Peak, peak.bytes, Where::Card, ReadIn::Nvml)];
    terms.extend(beside_pool(report, peak.bytes).unwrap_or_default());
    terms
}

fn beside_pool(report: &ObserveDoc, peak: Bytes) -> Option<Vec<TermDoc>> {
    let well = report.exit.as_ref().is_some_and(|exit| exit.code == Some(0));
    let counter = |name| report.counters.get(name).map(|bytes| Bytes::new(*bytes));
    let (pool, used) = (counter("pool_reserved_bytes")?, counter("pool_used_bytes")?);
    let overhead = peak.minus(pool).filter(|_| well)?;
    let of = |id, size| term(id, size, Where::Card, ReadIn::NvmlLessPool);
    let mut terms =
        vec![of(TermId::Overhead, overhead), of(TermId::Slack, pool.minus_or_zero(used))];
    let end = |stage: Stage| {
        let found = report.phases.iter().find(|phase| phase.name == stage.id());
        found.map(|phase| phase.end)
    };
    if let (Some(context), Some(both)) = (end(Stage::Context), end(Stage::Libraries))
        && let (Some(libraries), Some(workspaces)) = (both.minus(context), overhead.minus(both))
    {
        terms.push(term(TermId::Context, context, Where::Card, ReadIn::Nvml));
        terms.push(of(TermId::Libraries, libraries));
        terms.push(of(TermId::Workspaces, workspaces));
    }
    Some(terms)
}

/// The records of rehearsals, one for each of them that says what was run.
///
/// # Errors
/// Where none does.
#[cfg(target_os = "linux")]
pub fn of_rehearsal(report: &RehearsalDoc) -> Result<Vec<Record>, String> {
    let records: Vec<Record> =
        report.runs.iter().filter_map(|run| of_run(report, run).ok()).collect();
    if records.is_empty() { Err(NO_PLAN.to_owned()) } else { Ok(records) }
}

#[cfg(target_os = "linux")]
fn of_run(report: &RehearsalDoc, run: &RunDoc) -> Result<Record, String> {
    let asked = run.plan.deployment.as_ref().ok_or(NO_PLAN)?;
    let cards = (0..).zip(&run.cards);
    let terms = cards.map(|(index, card)| {
        term(TermId::Peak, card.peak, Where::CardOf(index), ReadIn::VirtualCard)
    });
    let terms: Vec<TermDoc> = terms.collect();
    let first = run.cards.first().ok_or(NO_PLAN)?;
    let device = Device {
        meter: MeterKind::Virtual,
        name: first.name.clone(),
        uuid: None,
        total: Some(first.total),
        reserved: None,
        driver: None,
    };
    let ended = if run.outcome.well { Ended::Well } else { Ended::Failed };
    record(How::Rehearsed, asked, &device, (&report.started, ended, terms))
}
