//! Which kinds of card a fleet has, and which of them were not measured, or long ago.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::job::is_kind;
use super::nodes::{Inventory, Scheduler};
use crate::evidence::{Digest, Record, Sample, TermId, robust};
use crate::spec::Runtime;
use crate::text::printable;
use crate::units::Bytes;

/// The name and version of the schema.
pub const PLAN_SCHEMA: &str = "vramplan/fleet-plan/v1";

/// The kinds of a fleet: schema `vramplan/fleet-plan/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FleetPlan {
    /// `vramplan/fleet-plan/v1`.
    pub schema: String,
    /// The scheduler that lists the nodes.
    pub scheduler: Scheduler,
    /// Each kind of card × driver.
    pub kinds: Vec<KindDoc>,
    /// What was left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Cards of one kind under one driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KindDoc {
    /// Its name, safe in names of jobs, files and labels.
    pub id: String,
    /// The profile; none where the scheduler's name is not known.
    pub gpu: Option<String>,
    /// As the scheduler calls it.
    pub said: String,
    /// The driver, where the scheduler tells it.
    pub driver: Option<String>,
    /// Nodes that have it.
    pub nodes: Vec<String>,
    /// How many of them are down.
    pub down: u64,
    /// Cards in all.
    pub cards: u64,
    /// Partitions of these nodes.
    pub partitions: Vec<String>,
    /// What a job asks for.
    pub resource: String,
    /// Labels of the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Whether it was measured.
    pub state: State,
    /// Why it is not in order, or by what it is.
    pub why: String,
    /// Runs that say something of it.
    pub runs: u64,
    /// When the last of them was, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Whether a kind was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was, and nothing speaks against it.
    Calibrated,
    /// It was, too long ago.
    Old,
    /// It was under another driver, or the last run says otherwise than those before.
    Drifted,
    /// It was not.
    Missing,
    /// Nobody knows what card that is.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Calibrated, Self::Old, Self::Drifted, Self::Missing, Self::Unknown];

    /// The word in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calibrated => "calibrated",
            Self::Old => "old",
            Self::Drifted => "drifted",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// By what a kind is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The runtime that is to have been measured; any where nothing is said.
    pub runtime: Option<Runtime>,
    /// What was measured before is too old.
    pub since: Option<String>,
}

impl FleetPlan {
    /// The kinds of these nodes, beside what is known.
    pub fn new<'r>(
        inventory: &Inventory,
        records: impl IntoIterator<Item = &'r Record>,
        wanted: &Wanted,
    ) -> Self {
        let records: Vec<&Record> = records.into_iter().collect();
        let mut kinds = kinds(inventory);
        name(&mut kinds);
        for kind in &mut kinds {
            judge(kind, &records, wanted);
        }
        Self {
            schema: PLAN_SCHEMA.to_owned(),
            scheduler: inventory.scheduler,
            kinds,
            notes: inventory.notes.clone(),
        }
    }

    /// Reads a plan that was written before.
    ///
    /// # Errors
    /// Where it is none, or a name in it is none of a plan's.
    pub fn read(text: &str) -> Result<Self, String> {
        let plan: Self =
            serde_json::from_str(text).map_err(|error| printable(&error.to_string()))?;
        if plan.schema != PLAN_SCHEMA {
            return Err(format!("schema `{}`: expected `{PLAN_SCHEMA}`", printable(&plan.schema)));
        }
        match plan.kinds.iter().find(|kind| !is_kind(&kind.id)) {
            Some(kind) => Err(format!(
                "`id` = `{}`: expected letters a-z, digits and `-`",
                printable(&kind.id)
            )),
            None => Ok(plan),
        }
    }

    /// The same judged anew by what is known now.
    #[must_use]
    pub fn judged<'r>(
        mut self,
        records: impl IntoIterator<Item = &'r Record>,
        wanted: &Wanted,
    ) -> Self {
        let records: Vec<&Record> = records.into_iter().collect();
        for kind in &mut self.kinds {
            judge(kind, &records, wanted);
        }
        self
    }

    /// Whether every kind was measured and nothing speaks against it.
    pub fn is_in_order(&self) -> bool {
        self.kinds.iter().all(|kind| kind.state == State::Calibrated)
    }
}

/// Equal cards under equal drivers, in the order of their names.
fn kinds(inventory: &Inventory) -> Vec<KindDoc> {
    let mut kinds: BTreeMap<(String, String, Option<String>), KindDoc> = BTreeMap::new();
    for node in &inventory.nodes {
        for cards in &node.cards {
            let key = (cards.said.clone(), cards.resource.clone(), node.driver.clone());
            let kind = kinds.entry(key).or_insert_with(|| KindDoc {
                id: String::new(),
                gpu: cards.gpu.clone(),
                said: cards.said.clone(),
                driver: node.driver.clone(),
                nodes: Vec::new(),
                down: 0,
                cards: 0,
                partitions: Vec::new(),
                resource: cards.resource.clone(),
                selector: cards.selector.clone(),
                state: State::Missing,
                why: String::new(),
                runs: 0,
                last: None,
            });
            kind.nodes.push(node.name.clone());
            kind.down = kind.down.saturating_add(u64::from(!node.up));
            kind.cards = kind.cards.saturating_add(cards.count);
            for partition in &node.partitions {
                if !kind.partitions.contains(partition) {
                    kind.partitions.push(partition.clone());
                }
            }
        }
    }
    kinds.into_values().collect()
}

/// Names kinds: by the card, with the driver where that tells two apart, with a number where nothing does.
fn name(kinds: &mut [KindDoc]) {
    let plain = |kind: &KindDoc| slug(kind.gpu.as_deref().unwrap_or(&kind.said));
    let all: Vec<String> = kinds.iter().map(plain).collect();
    let mut taken = BTreeSet::new();
    for (kind, plain) in kinds.iter_mut().zip(&all) {
        let twins = all.iter().filter(|other| *other == plain).count();
        let mut id = match &kind.driver {
            Some(driver) if twins > 1 => slug(&format!("{plain}-{driver}")),
            _ => plain.clone(),
        };
        for n in 2.. {
            if taken.insert(id.clone()) {
                break;
            }
            id = format!("{plain}-{n}");
        }
        kind.id = id;
    }
    kinds.sort_by(|a, b| a.id.cmp(&b.id));
}

/// A name with letters, digits and `-` alone.
fn slug(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let all: String = name.chars().map(safe).collect();
    let words: Vec<&str> = all.split('-').filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-");
    slug.truncate(40);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "gpu".to_owned() } else { slug.to_owned() }
}

/// What of a run says that a kind was measured.
fn says(record: &Record) -> bool {
    TermId::ALL.iter().any(|term| term.is_constant() && record.largest(*term).is_some())
}

fn judge(kind: &mut KindDoc, records: &[&Record], wanted: &Wanted) {
    (kind.runs, kind.last) = (0, None);
    let Some(gpu) = kind.gpu.clone() else {
        let said = if kind.said.is_empty() { "no type" } else { &*kind.said };
        kind.state = State::Unknown;
        kind.why = format!("the scheduler says `{said}`: say `--gpu-type {said}=GPU`");
        return;
    };
    let of_card: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|record| {
            record.is_of_a_card()
                && record.card.name == gpu
                && wanted.runtime.is_none_or(|runtime| record.engine.runtime == runtime)
                && says(record)
        })
        .collect();
    let same_driver = |record: &&Record| match (&kind.driver, &record.driver) {
        (Some(here), Some(there)) => here == there,
        _ => true,
    };
    let here: Vec<&Record> = of_card.iter().copied().filter(same_driver).collect();
    if here.is_empty() {
        let drivers: BTreeSet<&str> = of_card.iter().filter_map(|r| r.driver.as_deref()).collect();
        (kind.state, kind.why) = if drivers.is_empty() {
            (State::Missing, "no run says what it holds".to_owned())
        } else {
            let drivers: Vec<&str> = drivers.into_iter().collect();
            (State::Drifted, format!("measured under driver {} only", drivers.join(", ")))
        };
        return;
    }
    kind.runs = here.len() as u64;
    kind.last = here.iter().filter_map(|record| record.date.clone()).max();
    (kind.state, kind.why) = match (&kind.last, &wanted.since) {
        (Some(last), Some(since)) if last < since => {
            (State::Old, format!("last measured on {}", day(last)))
        }
        (None, Some(_)) => (State::Old, "nobody knows when it was measured".to_owned()),
        _ => match drift(&here) {
            Some(why) => (State::Drifted, why),
            None => (State::Calibrated, runs(kind.runs, kind.last.as_deref())),
        },
    };
}

fn day(date: &str) -> &str {
    date.get(..10).unwrap_or(date)
}

fn runs(runs: u64, last: Option<&str>) -> String {
    let word = if runs == 1 { "run" } else { "runs" };
    match last {
        Some(last) => format!("{runs} {word}, the last on {}", day(last)),
        None => format!("{runs} {word}"),
    }
}

/// What the last day's runs may lie apart from those before: a twentieth, and no less than this.
const LEAST_DRIFT: Bytes = Bytes::new(32 << 20);

/// Why the last run contradicts those before it, if it does.
fn drift(records: &[&Record]) -> Option<String> {
    TermId::ALL.into_iter().filter(|term| term.is_constant()).find_map(|term| {
        let mut by_runtime: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.largest(term).is_some()) {
            let release = record.engine.version.clone().filter(|_| term.is_of_a_release());
            by_runtime.entry((record.engine.runtime, release)).or_default().push(record);
        }
        by_runtime.into_values().find_map(|of| drift_of(term, &of))
    })
}

fn drift_of(term: TermId, records: &[&Record]) -> Option<String> {
    let mut made: Vec<&Record> = records.iter().copied().filter(|r| r.date.is_some()).collect();
    made.sort_by(|a, b| a.made().cmp(&b.made()));
    let (last, before) = made.split_last()?;
    let sample = |record: &&Record| {
        let found = record.largest(term)?;
        let record = Digest::of("sample", b"");
        Some(Sample { size: found.size, within: found.within, record })
    };
    let known = robust(&before.iter().filter_map(sample).collect::<Vec<_>>())?;
    let found = sample(last)?;
    let margin = known.median.scale(1, 20).ok()?.max(LEAST_DRIFT).max(known.within);
    let (low, high) = (known.low.minus_or_zero(margin), known.high.plus(margin).ok()?);
    (found.size < low || found.size > high).then(|| {
        let date = last.date.as_deref().map_or("", day);
        format!("{}: {} on {date}, {} before", term.id(), found.size, known.median)
    })
}
