//! What `scripts/seed-stack.sh` measured, where a record of it is committed.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use vramplan_planner::estimate::Component;
use vramplan_planner::units::Bytes;

/// The run whose attention, weights and cache are those of `examples/seed-l4.toml`.
const RUN: &str = "docs/measurements/seed-stack/sdpa-hqq8.json";

/// A record of one run.
#[derive(Debug, Deserialize)]
struct Record {
    schema: String,
    device: Device,
    settings: Settings,
    phases: Vec<Phase>,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Device {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Settings {
    small: bool,
}

/// What PyTorch counted at the end of a phase; nothing on the CPU.
#[derive(Debug, Deserialize)]
struct Phase {
    #[serde(rename = "phase")]
    name: String,
    allocated: Option<u64>,
    reserved: Option<u64>,
    peak_allocated: Option<u64>,
    peak_reserved: Option<u64>,
    card_used: Option<u64>,
}

/// The figures of a run on an L4, if there are any.
#[derive(Debug)]
pub struct Measured(Option<Record>);

impl Measured {
    /// Reads the committed record; none is no error, one that is not of this run is.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(RUN);
        if !path.exists() {
            return Ok(Self(None));
        }
        let record: Record = serde_json::from_str(&fs_err::read_to_string(&path)?)
            .with_context(|| format!("`{RUN}` is no record of `scripts/seed_stack.py`"))?;
        ensure!(record.schema == "vramplan/seed-stack/v1", "`{RUN}` has another schema");
        ensure!(record.complete && !record.settings.small, "`{RUN}` is no complete run");
        ensure!(record.device.name.contains("L4"), "`{RUN}` was not measured on an L4");
        Ok(Self(Some(record)))
    }

    /// Whether there is a record.
    pub const fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// What the run held of a component, as far as the counters tell components apart.
    pub fn of(&self, component: Component) -> Option<Bytes> {
        match component {
            Component::Weights => self.difference(("load", ALLOCATED), ("context", ALLOCATED)),
            Component::SystemPromptCache => {
                self.difference(("system_prefill", ALLOCATED), ("load", ALLOCATED))
            }
            Component::ConversationCache => {
                self.difference(("prefill", ALLOCATED), ("system_prefill", ALLOCATED))
            }
            Component::AttentionTransients => {
                self.difference(("capture", PEAK_ALLOCATED), ("capture", ALLOCATED))
            }
            Component::Activations => {
                self.difference(("prefill", PEAK_ALLOCATED), ("prefill", ALLOCATED))
            }
            Component::RuntimeOverhead => {
                self.difference(("capture", CARD_USED), ("capture", RESERVED))
            }
            Component::Fragmentation => {
                self.difference(("capture", PEAK_RESERVED), ("capture", PEAK_ALLOCATED))
            }
            _ => None,
        }
    }

    /// The most that the card had in use at the end of a phase.
    pub fn total(&self) -> Option<Bytes> {
        let used = self.0.as_ref()?.phases.iter().filter_map(|phase| phase.card_used);
        used.max().map(Bytes::new)
    }

    fn difference(&self, end: (&str, Counter), start: (&str, Counter)) -> Option<Bytes> {
        let (end, start) = (self.counter(end)?, self.counter(start)?);
        end.checked_sub(start).map(Bytes::new)
    }

    fn counter(&self, (name, counter): (&str, Counter)) -> Option<u64> {
        counter(self.0.as_ref()?.phases.iter().find(|phase| phase.name == name)?)
    }
}

type Counter = fn(&Phase) -> Option<u64>;
const ALLOCATED: Counter = |phase| phase.allocated;
const RESERVED: Counter = |phase| phase.reserved;
const PEAK_ALLOCATED: Counter = |phase| phase.peak_allocated;
const PEAK_RESERVED: Counter = |phase| phase.peak_reserved;
const CARD_USED: Counter = |phase| phase.card_used;
