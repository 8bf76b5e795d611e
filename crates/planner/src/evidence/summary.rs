//! What records say together, by kind of card, driver, runtime and release.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::record::{Record, TermId};
use super::robust::{Robust, Sample, robust};
use crate::deployment::Question;
use crate::spec::Runtime;
use crate::units::Bytes;

/// Which measurements are of one size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Key {
    /// The card.
    pub gpu: String,
    /// The driver, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The runtime.
    pub runtime: Runtime,
    /// Its release, where that is known and they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// On how many cards.
    pub gpus: u64,
    /// What was measured.
    pub term: TermId,
    /// The work, of terms that depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Digest>,
}

/// What measurements of one size say together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Group {
    /// Of which size.
    #[serde(flatten)]
    pub key: Key,
    /// How many runs count.
    pub runs: u64,
    /// On how many hosts, as far as that is known.
    pub hosts: u64,
    /// The smallest that counts.
    pub low: Bytes,
    /// The middle one.
    pub median: Bytes,
    /// The largest that counts.
    pub high: Bytes,
    /// When the first was measured, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// When the last was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Those that lie apart and do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outlier>,
}

/// A measurement that lies apart from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outlier {
    /// The record.
    pub record: Digest,
    /// What it says.
    pub size: Bytes,
}

/// The release that a version is of: its first two numbers. A build of llama.cpp is one of its own.
pub fn release_of(version: &str) -> Option<String> {
    let version = version.split(',').next()?;
    if version.starts_with('b') {
        return Some(version.to_owned());
    }
    let mut parts = version.split('.');
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = (parts.next().filter(is_number)?, parts.next().filter(is_number)?);
    Some(format!("{major}.{minor}"))
}

/// What of a deployment decides what a server's graphs and its pool take, wherever else its plan goes.
pub(super) fn served(asked: &Question) -> Question {
    Question {
        model: asked.model.clone(),
        weights: asked.weights,
        kv: asked.kv,
        split: asked.split,
        prefill_chunk: asked.prefill_chunk,
        max_seqs: asked.max_seqs,
        images: asked.images,
        gpu_memory_utilization: asked.gpu_memory_utilization,
        mem_fraction_static: asked.mem_fraction_static,
        enforce_eager: asked.enforce_eager,
        draft: asked.draft.clone(),
        mtp: asked.mtp,
        draft_tokens: asked.draft_tokens,
        max_loras: asked.max_loras,
        max_lora_rank: asked.max_lora_rank,
        cpu_offload_gb: asked.cpu_offload_gb,
        kv_cache_memory_bytes: asked.kv_cache_memory_bytes,
        block_size: asked.block_size,
        max_cudagraph_capture_size: asked.max_cudagraph_capture_size,
        optimization_level: asked.optimization_level,
        tensor_parallel_size: asked.tensor_parallel_size,
        pipeline_parallel_size: asked.pipeline_parallel_size,
        data_parallel_size: asked.data_parallel_size,
        enable_expert_parallel: asked.enable_expert_parallel,
        enable_prefix_caching: asked.enable_prefix_caching,
        decode_context_parallel_size: asked.decode_context_parallel_size,
        ..Question::default()
    }
}

/// All of a deployment but the card and the version, which a key has of its own, and what is asked of the plan alone.
fn ran(asked: &Question) -> Question {
    Question {
        gpu: None,
        gpus: None,
        runtime: None,
        runtime_version: None,
        headroom: None,
        min_decode_speed: None,
        ram: None,
        ram_bandwidth: None,
        other_use: None,
        ..asked.clone()
    }
}

/// What work a term was measured in; nothing where the record does not know its model.
pub(super) fn work_of(record: &Record, term: TermId) -> Option<Digest> {
    if record.deployment.model.is_none() || !record.left_out.is_empty() {
        return None;
    }
    let work = match term {
        TermId::Graphs | TermId::Pool => served(&record.deployment),
        _ => ran(&record.deployment),
    };
    let text = serde_json::to_string(&work).ok()?;
    Some(Digest::of("work", text.as_bytes()))
}

impl Key {
    /// Of a term of a record; nothing of one whose work is not known where the term depends on it.
    pub fn of(record: &Record, term: TermId) -> Option<Self> {
        let work = if term.is_constant() { None } else { Some(work_of(record, term)?) };
        let release = record.engine.version.as_deref().and_then(release_of);
        Some(Self {
            gpu: record.card.name.clone(),
            driver: record.driver.clone(),
            runtime: record.engine.runtime,
            release: release.filter(|_| term.is_of_a_release()),
            gpus: record.card.count,
            term,
            work,
        })
    }
}

/// The samples of a term, each with its record: of each card of each host the newest, as a job that ran again says it
/// again.
pub(super) fn samples<'r>(
    records: impl IntoIterator<Item = &'r Record>,
    term: TermId,
) -> Vec<(Sample, &'r Record)> {
    let mut alone = Vec::new();
    let mut by_card: BTreeMap<(Digest, Digest), (Sample, &Record)> = BTreeMap::new();
    for record in records {
        let Some(found) = record.largest(term) else { continue };
        let sample = Sample { size: found.size, within: found.within, record: record.id() };
        let (Some(host), Some(gpu)) = (record.host, record.gpu) else {
            alone.push((sample, record));
            continue;
        };
        let kept = by_card.entry((host, gpu)).or_insert((sample, record));
        if record.made() > kept.1.made() {
            *kept = (sample, record);
        }
    }
    alone.extend(by_card.into_values());
    alone
}

/// What records say together, sorted by what they are of. Their order does not matter, and equal ones count once.
pub fn summarise<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<Group> {
    let records: BTreeMap<Digest, &Record> = records
        .into_iter()
        .filter(|record| record.is_of_a_card())
        .map(|record| (record.id(), record))
        .collect();
    let mut groups: BTreeMap<Key, Vec<&Record>> = BTreeMap::new();
    for record in records.into_values() {
        let measured = TermId::ALL.into_iter().filter(|term| record.largest(*term).is_some());
        for key in measured.filter_map(|term| Key::of(record, term)) {
            groups.entry(key).or_default().push(record);
        }
    }
    let group = |(key, of): (Key, Vec<&Record>)| {
        let samples = samples(of, key.term);
        group(key, &samples)
    };
    groups.into_iter().filter_map(group).collect()
}

fn group(key: Key, samples: &[(Sample, &Record)]) -> Option<Group> {
    let sizes: Vec<Sample> = samples.iter().map(|(sample, _)| *sample).collect();
    let Robust { runs, low, median, high, outliers, .. } = robust(&sizes)?;
    let hosts: BTreeSet<Digest> = samples.iter().filter_map(|(_, record)| record.host).collect();
    let dates = samples.iter().filter_map(|(_, record)| record.date.clone());
    let outlier = |sample: Sample| Outlier { record: sample.record, size: sample.size };
    Some(Group {
        key,
        runs,
        hosts: hosts.len() as u64,
        low,
        median,
        high,
        first: dates.clone().min(),
        last: dates.max(),
        outliers: outliers.into_iter().map(outlier).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_two_numbers() {
        for (version, release) in [
            ("0.11.2", Some("0.11")),
            ("b8193", Some("b8193")),
            ("4.57,bitsandbytes=0.45", Some("4.57")),
            ("latest", None),
            ("2025", None),
        ] {
            assert_eq!(release_of(version).as_deref(), release, "{version}");
        }
    }
}
