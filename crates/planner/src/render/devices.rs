//! The GPUs that a model is spread over: as data, and as a table.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::document::{CapacityDoc, Document, PeakDoc, PhaseDoc, PoolDoc, phase_doc, pool_doc};
use super::terminal::Rows;
use crate::estimate::Component;
use crate::plan::Verdict;
use crate::recommend::{Answer, DevicePlan};
use crate::spec::{Basis, Bounds, Split};
use crate::text::{markdown, wrap};
use crate::units::Bytes;

/// One GPU's plan in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceDoc {
    /// Which GPU, from 0, in the order in which the model is spread over them.
    pub index: u64,
    /// Its short name.
    pub gpu: String,
    /// Whether it is the one that binds: its plan is the document's.
    pub binding: bool,
    /// What it has of the model.
    pub part: PartDoc,
    /// Whether it is main memory: the last of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// What it offers; nothing for main memory whose size was not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityDoc>,
    /// The runtime's own share of it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolDoc>,
    /// Whether it fits there.
    pub verdict: Verdict,
    /// How much is missing: for the expected peak where that does not fit, else for the headroom.
    pub short_by: Bytes,
    /// The largest phase.
    pub peak: PeakDoc,
    /// What each component holds at the peak: all of them.
    pub components: Vec<DeviceComponentDoc>,
    /// What each phase holds.
    pub phases: Vec<PhaseDoc>,
}

/// What a GPU has of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartDoc {
    /// The first decoder layer, from 0.
    pub first_layer: u64,
    /// How many layers it has, or has a part of.
    pub layers: u64,
    /// Whether it has the output head, or a part of it.
    pub output_head: bool,
    /// Its weights.
    pub weights: Bytes,
    /// What of them GPUs before it have, too.
    pub repeated_weights: Bytes,
}

/// A component on one GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceComponentDoc {
    /// Its stable name.
    pub id: Component,
    /// What it holds at that GPU's peak.
    #[serde(flatten)]
    pub at_peak: Bounds,
    /// What its largest buffer's size rests on.
    pub basis: Basis,
}

/// Every GPU of an answer; nothing where there is one.
pub(super) fn device_docs(answer: &Answer) -> Vec<DeviceDoc> {
    let doc = |(index, device)| device_doc(index, device, index == answer.binding);
    answer.devices.iter().enumerate().map(doc).collect()
}

fn device_doc(index: usize, device: &DevicePlan, binding: bool) -> DeviceDoc {
    let DevicePlan { card, part, weights, plan } = device;
    let component = |id| {
        let row = plan.component(id);
        let at_peak = row.map_or(Bounds::ZERO, |row| row.at_peak);
        DeviceComponentDoc { id, at_peak, basis: row.map_or(Basis::Exact, |row| row.basis) }
    };
    DeviceDoc {
        index: index as u64,
        gpu: card.gpu.name.clone(),
        binding,
        part: PartDoc {
            first_layer: part.layers.start,
            layers: part.layers.end - part.layers.start,
            output_head: part.has_head,
            weights: weights.0,
            repeated_weights: weights.1,
        },
        host: part.is_host,
        capacity: card.gpu.has_known_size().then(|| CapacityDoc::new(&card.gpu, card.capacity)),
        pool: plan.pool.map(|pool| pool_doc(&pool, None)),
        verdict: plan.verdict,
        short_by: plan.short_by,
        peak: PeakDoc { phase: plan.peak_phase, total: plan.peak },
        components: Component::ALL.into_iter().map(component).collect(),
        phases: plan.phases.iter().map(phase_doc).collect(),
    }
}

/// `L4`, `2 × L4`, or `L4 + T4`.
pub(super) fn label<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let first = names.clone().next().unwrap_or_default();
    let count = names.clone().count();
    if count > 1 && names.clone().all(|name| name == first) {
        return format!("{count} × {first}");
    }
    names.collect::<Vec<_>>().join(" + ")
}

/// The GPUs of a document, and how the model is spread over them.
pub(super) fn label_of(document: &Document) -> String {
    if document.devices.is_empty() {
        return document.deployment.gpu.clone();
    }
    let gpus = document.devices.iter().filter(|device| !device.host);
    let label = label(gpus.clone().map(|device| device.gpu.as_str()));
    let beside = if gpus.clone().count() < document.devices.len() { " + RAM" } else { "" };
    if gpus.count() < 2 {
        return label + beside;
    }
    format!("{label}{beside}, {}", spread(document))
}

/// How the model is spread: by layers or by parts of each, or by the kinds of parallelism that were asked for.
fn spread(document: &Document) -> String {
    let asked = &document.deployment.given;
    let several = |count: Option<u64>| count.filter(|count| *count > 1);
    let copies = if asked.enable_dp_attention { "attention" } else { "the dense layers" };
    let parts = [
        several(asked.tensor_parallel_size).map(|ranks| format!("every layer over {ranks}")),
        several(asked.pipeline_parallel_size).map(|stages| format!("{stages} stages")),
        several(asked.data_parallel_size).map(|engines| format!("{engines} copies of {copies}")),
        asked.enable_expert_parallel.then(|| "whole experts on each".to_owned()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        format!("split by {}", document.deployment.split())
    } else {
        parts.join(", ")
    }
}

/// A line for each GPU, and which of them the rest is about.
pub(super) fn to_table(document: &Document, width: usize) -> String {
    let Some(binding) = document.devices.iter().find(|device| device.binding) else {
        return String::new();
    };
    let mut rows = Rows::new(&HEADER, &[2, 3, 4, 5]).dropping(&[&[3], &[2], &[1], &[5]]);
    for row in short_rows(document) {
        rows.add_row(row);
    }
    let mut text = rows.finish(width);
    let name = if binding.host {
        "main memory".to_owned()
    } else {
        format!("GPU {} ({})", binding.index, binding.gpu)
    };
    let _ =
        write!(text, "\n{}", wrap(&format!("{name} has the least room; what it holds:"), width));
    text
}

/// The same in Markdown.
pub(super) fn to_markdown(document: &Document) -> String {
    if document.devices.is_empty() {
        return String::new();
    }
    let mut text = format!("| {} |\n|---|---|---:|---:|---:|---:|---|\n", HEADER.join(" | "));
    for device in &document.devices {
        let row = row(device, document.deployment.split());
        let _ = writeln!(text, "| {} |", row.map(|cell| markdown(&cell)).join(" | "));
    }
    text + "\n"
}

/// More equal rows than this, one behind the other, are one row: `0–7 H100`.
const MOST_EQUAL: usize = 4;

/// A row for each GPU, those of many that hold the same put together.
fn short_rows(document: &Document) -> Vec<[String; 7]> {
    let split = document.deployment.split();
    let rows: Vec<_> = document.devices.iter().map(|device| (device, row(device, split))).collect();
    let runs = rows.chunk_by(|(one, first), (other, second)| {
        one.gpu == other.gpu && !other.host && first[1..] == second[1..]
    });
    let shortened = runs.flat_map(|run| match run {
        [(first, row), .., (last, _)] if run.len() > MOST_EQUAL => {
            let mut row = row.clone();
            row[0] = format!("{}–{} {}", first.index, last.index, first.gpu);
            vec![row]
        }
        run => run.iter().map(|(_, row)| row.clone()).collect(),
    });
    shortened.collect()
}

const HEADER: [&str; 7] = ["GPU", "layers", "weights", "caches", "peak", "free", "verdict"];

fn row(device: &DeviceDoc, split: Split) -> [String; 7] {
    let caches = [Component::SystemPromptCache, Component::ConversationCache];
    let mine = device.components.iter().filter(|row| caches.contains(&row.id));
    let caches = Bytes::sum(mine.map(|row| row.at_peak.expected)).unwrap_or(Bytes::ZERO);
    let peak = device.peak.total.expected;
    [
        if device.host { device.gpu.clone() } else { format!("{} {}", device.index, device.gpu) },
        layers(&device.part, split),
        device.part.weights.to_string(),
        caches.to_string(),
        peak.to_string(),
        device
            .capacity
            .as_ref()
            .map_or("?".to_owned(), |capacity| capacity.usable.minus_or_zero(peak).to_string()),
        match device.capacity {
            Some(_) => device.verdict.words().to_owned(),
            None => "size not given".to_owned(),
        },
    ]
}

/// `0–23`, `24–47 + head`, or `all` where every GPU has a part of each.
fn layers(part: &PartDoc, split: Split) -> String {
    let head = if part.output_head { " + head" } else { "" };
    let last = (part.first_layer + part.layers).saturating_sub(1);
    match (split, part.layers) {
        (Split::Tensor, n) if part.output_head && part.first_layer == 0 => format!("parts of {n}"),
        (_, 0) => format!("none{head}"),
        (_, 1) => format!("{last}{head}"),
        _ => format!("{}–{last}{head}", part.first_layer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_cards_are_counted_and_others_named() {
        assert_eq!(label(["L4"].into_iter()), "L4");
        assert_eq!(label(["L4", "L4", "L4"].into_iter()), "3 × L4");
        assert_eq!(label(["L4", "T4"].into_iter()), "L4 + T4");
    }
}
