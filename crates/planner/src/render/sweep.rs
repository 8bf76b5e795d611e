//! A matrix as data, schema `vramplan/sweep/v1`, and as CSV.

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::deployment::Deployment;
use crate::dtype::WeightFormat;
use crate::recommend::Limit;
use crate::spec::{Bounds, ModelSpec, Workload};
use crate::sweep::{Answered, Cell, Sweep};
use crate::text::spreadsheet_text;
use crate::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/sweep/v1";

/// What fits where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SweepDoc {
    /// `vramplan/sweep/v1`.
    pub schema: String,
    /// The runtime; of several, all of them.
    pub runtime: String,
    /// Pinned tokens.
    pub system_tokens: u64,
    /// Tokens of the conversation cache where they are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_tokens: Option<u64>,
    /// Tokens of a prefill step, where they are the same on every GPU: each combination says its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_chunk: Option<u64>,
    /// Sequences at once.
    pub batch: u64,
    /// Whether users are the answer: as many as there is room for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub users_solved: bool,
    /// Every combination: by model, weights and cache, and of those by GPU.
    pub combinations: Vec<CombinationDoc>,
}

/// One combination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CombinationDoc {
    /// The GPU's short name.
    pub gpu: String,
    /// The model's short name or file.
    pub model: String,
    /// The runtime.
    #[serde(default)]
    pub runtime: String,
    /// The format of the weights.
    pub weights: String,
    /// The format of keys and values.
    pub kv: String,
    /// Users at once, where those were asked for or are the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,
    /// Tokens of each user's conversation, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_per_user: Option<u64>,
    /// The context, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// The flags that leave a part of the model in main memory, where the whole does not fit on the GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// What of main memory has to be free for the verdict, where a part of the model is placed there and nothing says how much
    /// there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_memory_needed: Option<Bytes>,
    /// Tokens of a prefill step.
    pub prefill_chunk: u64,
    /// What it came to.
    pub verdict: Outcome,
    /// What the run can take of the card.
    pub usable: Bytes,
    /// What it takes; nothing where the runtime refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<SummaryDoc>,
    /// Why the runtime refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a combination comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryDoc {
    /// The largest cache that fits: of every combination in JSON and CSV, and else where none of a given size was asked about.
    #[serde(flatten)]
    pub largest: Option<LargestDoc>,
    /// The size that was planned: given, balanced, or the largest that has any chance.
    pub cache_tokens: u64,
    /// What the plan at that size takes.
    pub peak: Bounds,
}

/// The largest cache that leaves the headroom free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LargestDoc {
    /// The balanced size; zero where none leaves the headroom free.
    pub max_cache_tokens: u64,
    /// The recent window of a cache of that size.
    pub recent_window: u64,
    /// What keeps the balanced size from being larger.
    pub limited_by: Limit,
}

impl SummaryDoc {
    /// Whether it is known that this keeps the balanced size from being larger.
    pub(super) fn is_limited_by(&self, limit: Limit) -> bool {
        self.largest.as_ref().is_some_and(|largest| largest.limited_by == limit)
    }
}

impl SweepDoc {
    /// The document of an answered sweep.
    pub fn new(sweep: &Sweep, cells: &[Vec<Cell>]) -> Self {
        let first = sweep.rows.iter().flatten().next();
        let of = |field: fn(&Workload) -> u64| first.map_or(0, |first| field(&first.workload));
        let pairs = sweep.rows.iter().flatten().zip(cells.iter().flatten());
        Self {
            schema: SCHEMA.to_owned(),
            runtime: runtimes(sweep),
            system_tokens: of(|work| work.system_tokens),
            cache_tokens: first.and_then(|first| first.cache.fixed()).filter(|tokens| {
                sweep.rows.iter().flatten().all(|asked| asked.cache.fixed() == Some(*tokens))
            }),
            prefill_chunk: first.map(|first| first.workload.prefill_chunk).filter(|chunk| {
                sweep.rows.iter().flatten().all(|asked| asked.workload.prefill_chunk == *chunk)
            }),
            batch: of(|work| work.batch),
            users_solved: first.is_some_and(|first| {
                first.given.users.is_none() && first.given.context_per_user.is_some()
            }),
            combinations: pairs.map(|(asked, cell)| combination(asked, cell)).collect(),
        }
    }

    /// The document as indented JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// The document as CSV (RFC 4180, `\n` between lines); sizes are bytes. A name that a spreadsheet would
    /// take for a formula begins with an apostrophe.
    pub fn to_csv(&self) -> csv::Result<String> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        rows.write_record(COLUMNS)?;
        for combination in &self.combinations {
            rows.write_record(self.csv_row(combination))?;
        }
        let bytes = rows.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn csv_row(&self, row: &CombinationDoc) -> [String; COLUMNS.len()] {
        let name = |name: &str| spreadsheet_text(name).into_owned();
        let result = row.result.as_ref();
        let largest = result.and_then(|result| result.largest.as_ref());
        let number =
            |of: fn(&SummaryDoc) -> u64| result.map(|r| of(r).to_string()).unwrap_or_default();
        [
            name(&row.gpu),
            name(&row.model),
            row.runtime.clone(),
            name(&row.weights),
            row.kv.clone(),
            self.system_tokens.to_string(),
            row.verdict.id().to_owned(),
            largest.map(|largest| largest.max_cache_tokens.to_string()).unwrap_or_default(),
            largest.map(|largest| largest.recent_window.to_string()).unwrap_or_default(),
            number(|result| result.cache_tokens),
            number(|result| result.peak.low.get()),
            number(|result| result.peak.expected.get()),
            number(|result| result.peak.high.get()),
            row.usable.get().to_string(),
            largest.map(|largest| largest.limited_by.id().to_owned()).unwrap_or_default(),
            name(row.reason.as_deref().unwrap_or_default()),
            row.users.map(|users| users.to_string()).unwrap_or_default(),
            row.context_per_user.map(|tokens| tokens.to_string()).unwrap_or_default(),
            row.context.map(|tokens| tokens.to_string()).unwrap_or_default(),
            row.placement.clone().unwrap_or_default(),
        ]
    }
}

/// The header of the CSV.
const COLUMNS: [&str; 20] = [
    "gpu",
    "model",
    "runtime",
    "weights",
    "kv",
    "system_tokens",
    "verdict",
    "max_cache_tokens",
    "recent_window",
    "cache_tokens",
    "peak_low",
    "peak_expected",
    "peak_high",
    "usable",
    "limited_by",
    "reason",
    "users",
    "context_per_user",
    "context",
    "placement",
];

/// The format of the weights, or what a file holds.
fn weights_label(model: &ModelSpec, weights: WeightFormat) -> String {
    match (model.stored_label(), weights) {
        (Some(label), WeightFormat::AsStored) => format!("{label} (as stored)"),
        (_, format) => format.to_string(),
    }
}

fn combination(asked: &Deployment, cell: &Cell) -> CombinationDoc {
    CombinationDoc {
        gpu: super::devices::label(asked.cards.iter().map(|card| card.gpu.name.as_str())),
        model: asked.model.name.clone(),
        runtime: asked.kind().to_string(),
        weights: weights_label(&asked.model, asked.weights),
        kv: asked.kv.to_string(),
        users: users(asked, cell),
        context_per_user: asked.given.context_per_user,
        context: asked.given.context,
        placement: cell.as_ref().ok().and_then(|found| found.placement.clone()),
        main_memory_needed: cell.as_ref().ok().and_then(|found| found.main_memory),
        prefill_chunk: asked.workload.prefill_chunk,
        verdict: Outcome::of(cell.as_ref().ok().map(|found| found.fit.verdict)),
        usable: asked.cards.first().capacity.usable,
        result: cell.as_ref().ok().map(summary_doc),
        reason: cell.as_ref().err().map(ToString::to_string),
    }
}

/// The users that were asked for, or as many as there is room for where only their conversations' length was.
fn users(asked: &Deployment, cell: &Cell) -> Option<u64> {
    let solved =
        || asked.given.context_per_user.and(cell.as_ref().ok()).map(|found| found.fit.batch);
    asked.given.users.or_else(solved)
}

/// The runtimes of a sweep, each once.
fn runtimes(sweep: &Sweep) -> String {
    let mut names: Vec<&str> = Vec::new();
    for asked in sweep.rows.iter().flatten() {
        if !names.contains(&asked.kind().name()) {
            names.push(asked.kind().name());
        }
    }
    names.join(", ")
}

fn summary_doc(found: &Answered) -> SummaryDoc {
    let largest = found.largest.map(|largest| LargestDoc {
        max_cache_tokens: largest.max_cache_tokens,
        recent_window: largest.recent_window.tokens,
        limited_by: largest.limited_by,
    });
    SummaryDoc { largest, cache_tokens: found.fit.cache_tokens, peak: found.fit.peak }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_are_no_formulas() {
        let refused = |model: &str, reason: &str| CombinationDoc {
            gpu: "L4".to_owned(),
            model: model.to_owned(),
            runtime: "vramplan".to_owned(),
            weights: "q4_k_m".to_owned(),
            kv: "int8".to_owned(),
            users: None,
            context_per_user: None,
            context: None,
            placement: None,
            main_memory_needed: None,
            prefill_chunk: 512,
            verdict: Outcome::Refused,
            usable: Bytes::new(7),
            result: None,
            reason: Some(reason.to_owned()),
        };
        let document = SweepDoc {
            schema: SCHEMA.to_owned(),
            runtime: "vramplan".to_owned(),
            system_tokens: 6000,
            cache_tokens: None,
            prefill_chunk: Some(512),
            batch: 1,
            users_solved: false,
            combinations: vec![refused("a, \"b\"", "no"), refused("=cmd|'/c calc'!A0", "@x")],
        };
        let csv = document.to_csv().unwrap();
        let rows: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(
            rows,
            [
                "L4,\"a, \"\"b\"\"\",vramplan,q4_k_m,int8,6000,refused,,,,,,,7,,no,,,,",
                "L4,'=cmd|'/c calc'!A0,vramplan,q4_k_m,int8,6000,refused,,,,,,,7,,'@x,,,,",
            ]
        );
    }
}
