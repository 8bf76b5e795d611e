//! What there is to choose from.

use serde::Serialize;

use super::flags::key;
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::{Component, Phase, rules};
use crate::read::{Catalog, Kind, SourceError};
use crate::render::{Target, colour};
use crate::spec::{Runtime, RuntimeOptions};

/// Everything that has a name.
#[derive(Clone, Debug, Serialize)]
pub struct Lists {
    /// The planner's version.
    pub version: &'static str,
    /// Models with a profile.
    pub models: Vec<ModelEntry>,
    /// Cards with a profile, the smallest first.
    pub gpus: Vec<GpuEntry>,
    /// Runtimes.
    pub runtimes: Vec<RuntimeEntry>,
    /// Formats of weights.
    pub weights: Vec<&'static str>,
    /// Components, in the order of every table.
    pub components: Vec<ComponentEntry>,
    /// Phases, in the order in which they happen.
    pub phases: Vec<PhaseEntry>,
}

/// A model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelEntry {
    /// Its name.
    pub name: String,
    /// Parameters.
    pub parameters: u64,
}

/// A card.
#[derive(Clone, Debug, Serialize)]
pub struct GpuEntry {
    /// Its name.
    pub name: String,
    /// Bytes, as NVML reports them.
    pub total: u64,
}

/// A runtime, and what of a question is its own.
#[derive(Clone, Debug, Serialize)]
pub struct RuntimeEntry {
    /// Its name.
    pub name: &'static str,
    /// Formats of weights that advice would offer for it, the smallest first.
    pub weights: Vec<String>,
    /// Formats of keys and values that it takes.
    pub kv: Vec<&'static str>,
    /// Ways to compute attention.
    pub attention: Vec<String>,
    /// Versions that plans were checked against.
    pub versions: Vec<&'static str>,
    /// Programs whose settings a plan can be written as.
    pub targets: Vec<&'static str>,
    /// Whether layers and tensors can be placed one by one.
    pub places: bool,
    /// The key of its share of the card, where it takes one for its pool.
    pub share: Option<String>,
    /// Whether it is a server that is told more.
    pub server: bool,
    /// Whether a conversation's cache can be evicted.
    pub evicts: bool,
    /// Whether activations can be captured.
    pub captures: bool,
    /// Whether its cache can grow.
    pub grows: bool,
    /// Whether versions of it differ.
    pub versioned: bool,
    /// Whether `PyTorch`'s allocator can be told to map pages to segments that grow.
    pub segments: bool,
}

/// A component.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentEntry {
    /// Its stable name.
    pub id: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// Its colour in every picture.
    pub colour: &'static str,
}

/// A phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseEntry {
    /// Its stable name.
    pub id: &'static str,
    /// Its name in tables.
    pub title: &'static str,
}

impl Lists {
    /// What a catalog has.
    ///
    /// # Errors
    /// Where a profile cannot be read.
    pub fn of(catalog: &Catalog) -> Result<Self, SourceError> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            models: models(catalog)?,
            gpus: gpus(catalog)?,
            runtimes: Runtime::ALL.into_iter().map(runtime).collect(),
            weights: WeightFormat::names().collect(),
            components: Component::ALL.into_iter().map(component).collect(),
            phases: Phase::ALL
                .into_iter()
                .map(|phase| PhaseEntry { id: phase.id(), title: phase.title() })
                .collect(),
        })
    }
}

fn models(catalog: &Catalog) -> Result<Vec<ModelEntry>, SourceError> {
    let entry = |name: String| {
        let parameters = catalog.model(&name)?.parameters();
        Ok(ModelEntry { name, parameters })
    };
    catalog.list(Kind::Model)?.into_iter().map(|listing| entry(listing.name)).collect()
}

fn gpus(catalog: &Catalog) -> Result<Vec<GpuEntry>, SourceError> {
    let entry = |name: String| {
        let total = catalog.gpu(&name)?.total.value.get();
        Ok(GpuEntry { name, total })
    };
    let names = catalog.list(Kind::Gpu)?.into_iter().map(|listing| listing.name);
    let mut gpus = names.map(entry).collect::<Result<Vec<_>, SourceError>>()?;
    gpus.sort_by_key(|gpu| gpu.total);
    Ok(gpus)
}

fn runtime(runtime: Runtime) -> RuntimeEntry {
    let rules = rules(runtime);
    let newest = RuntimeOptions::newest(runtime);
    let takes = |name: &&str| name.parse::<KvFormat>().is_ok_and(|kv| rules.takes_kv(kv));
    let targets = Target::NAMES
        .into_iter()
        .filter(|(_, target)| target.runtime().is_none_or(|taken| taken == runtime));
    RuntimeEntry {
        name: runtime.name(),
        weights: rules.ladders().weights.iter().map(ToString::to_string).collect(),
        kv: KvFormat::names().filter(takes).collect(),
        attention: rules.attention().allowed.iter().map(ToString::to_string).collect(),
        versions: newest.checked_versions(),
        targets: targets.map(|(name, _)| name).collect(),
        places: rules.places_tensors(),
        share: newest.share().map(|_| key(rules.pool_words().share)),
        server: rules.is_server(),
        evicts: rules.evicts(),
        captures: rules.captures(),
        grows: rules.grows_cache(),
        versioned: newest.version().is_some(),
        segments: rules.takes_expandable_segments(),
    }
}

fn component(component: Component) -> ComponentEntry {
    ComponentEntry { id: component.id(), title: component.title(), colour: colour(component) }
}
