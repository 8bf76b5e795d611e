//! The formats of a model beside each other: what each takes, whether it fits, how much context it leaves. As data,
//! schema `vramplan/quants/v1`, and as a table of 80 columns.

use serde::{Deserialize, Serialize};

use super::document::{SpeedDoc, speed_doc};
use super::outcome::Outcome;
use super::terminal::{WIDTH, finish, table};
use crate::deployment::{Deployment, Origin};
use crate::dtype::{FileType, WeightFormat};
use crate::estimate::runtimes::file_size;
use crate::plan::Verdict;
use crate::recommend::{LEAST_CONTEXT, Limit, Placement, RecommendError, Solver, solve};
use crate::spec::{Bounds, ModelSpec, QUALITY_SOURCE, Quality, quality};
use crate::text::{printable, wrap};
use crate::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/quants/v1";

/// The formats of a model on the same cards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuantsDoc {
    /// `vramplan/quants/v1`.
    pub schema: String,
    /// What was asked for.
    pub model: String,
    /// The GPUs.
    pub gpu: String,
    /// The runtime.
    pub runtime: String,
    /// The format of keys and values.
    pub kv: String,
    /// Pinned tokens, which are among the context.
    pub system_tokens: u64,
    /// Sequences at once.
    pub batch: u64,
    /// What a run can take of the card; of several, the first.
    pub usable: Bytes,
    /// Where the formats are listed, where that is not the model's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Of the formats that fit with a useful context the one that loses the least, by its published measure; where none has such a
    /// context, the one with the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,
    /// The tokens of a useful context: what was asked for, or enough for a question and its answer.
    #[serde(default)]
    pub useful_context: u64,
    /// Every format, the largest first.
    pub formats: Vec<QuantDoc>,
    /// Where the measure of quality is from.
    pub quality_source: String,
}

/// One format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuantDoc {
    /// Its name.
    pub format: String,
    /// Its first file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Bytes of the files, or of the tensors where it is known by rule only.
    pub size: Bytes,
    /// Whether the tensors are those of a file; else they follow the format's rule.
    pub exact: bool,
    /// Bits of the tensors for each of the model's parameters.
    pub bits_per_weight: f64,
    /// What it came to.
    pub verdict: Outcome,
    /// What it comes to; nothing where the runtime refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<QuantResult>,
    /// Why the runtime refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A published measure of what it loses; nothing where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// What a format comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuantResult {
    /// The largest context with the headroom free, in tokens: pinned ones and the conversation's.
    pub context: u64,
    /// What keeps it from being larger.
    pub limited_by: Limit,
    /// Where none leaves the headroom free, the largest context whose expected peak fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tight_context: Option<u64>,
    /// What the plan takes at the size that was asked for, or at the largest.
    pub peak: Bounds,
    /// Tokens a second with that much cached, from memory bandwidth alone.
    pub decode_tokens_per_second: SpeedDoc,
    /// The flags of a placement that leaves a part of the model in main memory, where the whole does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// What of main memory has to be free for that, where nothing says how much there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_memory: Option<Bytes>,
}

/// A format to be compared: the same question about the same model, but for its weights.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name, where that is not the weights' own.
    pub name: Option<String>,
    /// Its first file.
    pub file: Option<String>,
    /// Bytes of its files.
    pub size: Option<Bytes>,
    /// The question.
    pub deployment: Deployment,
}

impl QuantsDoc {
    /// The document of at least one candidate.
    pub fn new(model: &str, origin: Option<Origin>, candidates: &[Candidate]) -> Option<Self> {
        let first = &candidates.first()?.deployment;
        let mut ranked: Vec<_> = candidates.iter().map(|one| (quant_doc(one), one)).collect();
        ranked.sort_by(|(a, _), (b, _)| b.size.cmp(&a.size).then_with(|| a.format.cmp(&b.format)));
        let useful_context = useful_context(first);
        let best = best(&ranked, useful_context).map(|row| row.format.clone());
        let formats = ranked.into_iter().map(|(row, _)| row).collect();
        Some(Self {
            schema: SCHEMA.to_owned(),
            model: printable(model),
            gpu: super::devices::label(first.cards.iter().map(|card| card.gpu.name.as_str())),
            runtime: first.kind().to_string(),
            kv: first.kv.to_string(),
            system_tokens: first.workload.system_tokens,
            batch: first.workload.batch,
            usable: first.cards.first().capacity.usable,
            origin,
            best,
            useful_context,
            formats,
            quality_source: QUALITY_SOURCE.to_owned(),
        })
    }

    /// The document as indented JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// The document as a table.
    pub fn to_table(&self) -> String {
        [self.heading(), self.rows(), self.legend()].join("\n")
    }

    fn heading(&self) -> String {
        let batch =
            if self.batch > 1 { format!(" · batch {}", self.batch) } else { String::new() };
        let title = format!(
            "{} · {} KV · {} runtime · {}, {} usable{batch}",
            self.model, self.kv, self.runtime, self.gpu, self.usable
        );
        let mut text = wrap(&title, WIDTH);
        if let Some(origin) = &self.origin {
            text.push_str(&wrap(&origin.text(), WIDTH));
        }
        text + &self.answer_alone()
    }

    /// Whether a format fits, be it with a part of the model in main memory.
    pub fn any_fits(&self) -> bool {
        self.formats.iter().any(|row| row.verdict == Outcome::Fits)
    }

    /// The best format that fits, in a line.
    pub fn answer_alone(&self) -> String {
        let best = self.best.as_deref();
        let row = best.and_then(|best| self.formats.iter().find(|row| row.format == best));
        let Some(row) = row else {
            let is_placed = self.formats.iter().any(QuantDoc::is_placed);
            let whole = if is_placed { " without a part of it in main memory" } else { "" };
            return wrap(&format!("no format fits{whole}"), WIDTH);
        };
        let kl = row.quality.map(|quality| format!(" (KL {})", shown_quality(quality)));
        let context = row.holds_some().map_or(0, |result| result.context);
        let only = if row.is_useful(self.useful_context) { "" } else { "only " };
        let line = format!(
            "the best format that fits: {}{}, with {only}{context} tokens of context",
            row.format,
            kl.unwrap_or_default()
        );
        wrap(&line, WIDTH)
    }

    fn rows(&self) -> String {
        let header = ["format", "size", "bits", "verdict", "context", "tok/s", "KL"];
        let mut rows = table(&header, &[1, 2, 4, 5, 6]);
        for row in &self.formats {
            rows.add_row(row.cells());
        }
        finish(&rows)
    }

    fn legend(&self) -> String {
        let any = |of: fn(&QuantDoc) -> bool| self.formats.iter().any(of);
        let has_quality = any(|row| row.quality.is_some());
        let by_context = any(QuantDoc::is_limited_by_context);
        let lines = [
            (
                true,
                "context: the largest with the headroom free; tok/s: at most, from memory bandwidth alone",
            ),
            (by_context, "c: all of the context asked for, or the model's own"),
            (any(QuantDoc::is_tight), "t: as expected, without the headroom"),
            (
                any(QuantDoc::is_placed),
                "m: with a part of the model in main memory, as `budget` places it",
            ),
            (any(|row| row.exact), "bits: of the file's tensors for each parameter"),
            (any(|row| !row.exact), "~: by the format's rule, not of a file"),
            (
                has_quality,
                "KL: how far Llama 3 8B is from f16, without an importance matrix (i: with one); other models differ: llama.cpp, tools/perplexity/README.md",
            ),
        ];
        let mut text = String::new();
        for (_, line) in lines.iter().filter(|(shown, _)| *shown) {
            text.push_str(&wrap(line, WIDTH));
        }
        for row in self.formats.iter().filter(|row| row.reason.is_some()) {
            let reason = row.reason.as_deref().unwrap_or_default();
            text.push_str(&wrap(&format!("× {}: {reason}", row.format), WIDTH));
        }
        text
    }
}

impl QuantDoc {
    /// Whether what fits holds a useful context.
    fn is_useful(&self, tokens: u64) -> bool {
        self.verdict == Outcome::Fits
            && (self.is_limited_by_context()
                || self.holds_some().is_some_and(|result| result.context >= tokens))
    }

    /// Whether a part of it is in main memory.
    fn is_placed(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.placement.is_some())
    }

    /// Whether it holds some context without the headroom alone.
    fn is_tight(&self) -> bool {
        self.tight_context().is_some()
    }

    fn tight_context(&self) -> Option<u64> {
        let tight = self.result.as_ref().filter(|_| self.verdict == Outcome::Tight);
        tight.and_then(|result| result.tight_context)
    }

    fn is_limited_by_context(&self) -> bool {
        self.holds_some().is_some_and(|result| result.limited_by == Limit::Context)
    }

    /// Its bits and its published divergence.
    fn published(&self) -> Option<(f64, f64)> {
        let Quality { plain, imatrix } = self.quality?;
        Some((self.bits_per_weight, plain.or(imatrix)?))
    }

    /// What it comes to where it holds some context with the headroom free, be it less than was asked for.
    fn holds_some(&self) -> Option<&QuantResult> {
        self.result.as_ref().filter(|result| result.context > 0)
    }

    fn cells(&self) -> [String; 7] {
        let nothing = || "–".to_owned();
        let shown = self.holds_some().or(self.result.as_ref().filter(|_| self.is_tight()));
        let context = |result: &QuantResult| match (self.tight_context(), result.limited_by) {
            (Some(tokens), _) => format!("{tokens}t"),
            _ if result.placement.is_some() => format!("{}m", result.context),
            (None, Limit::Context) => format!("{}c", result.context),
            (None, Limit::Vram | Limit::Speed) => result.context.to_string(),
        };
        let speed = |result: &QuantResult| format!("{:.0}", result.decode_tokens_per_second.high);
        let about = if self.exact { "" } else { "~" };
        [
            shortened(&self.format),
            format!("{about}{}", self.size),
            format!("{:.2}", self.bits_per_weight),
            self.verdict.words().to_owned(),
            shown.map_or_else(nothing, context),
            shown.map_or_else(nothing, speed),
            self.quality.map_or_else(nothing, shown_quality),
        ]
    }
}

/// A name that leaves room for the other columns.
fn shortened(name: &str) -> String {
    const MOST: usize = 22;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

fn shown_quality(quality: Quality) -> String {
    match (quality.plain, quality.imatrix) {
        (Some(plain), _) => format!("{plain:.4}"),
        (None, Some(imatrix)) => format!("{imatrix:.4}i"),
        (None, None) => "–".to_owned(),
    }
}

/// What a context has to hold to be of use: what was asked for, or [`LEAST_CONTEXT`].
fn useful_context(deployment: &Deployment) -> u64 {
    let given = &deployment.given;
    let asked = given.context_per_user.or(given.context).or(given.cache_tokens);
    asked.unwrap_or(LEAST_CONTEXT)
}

/// Of the rows that fit on the GPUs with a useful context the one that loses the least; where none has such a context, the one with the most.
fn best<'a>(rows: &'a [(QuantDoc, &Candidate)], useful: u64) -> Option<&'a QuantDoc> {
    let published: Vec<(f64, f64)> = rows.iter().filter_map(|(row, _)| row.published()).collect();
    let is_whole = |row: &QuantDoc| row.verdict == Outcome::Fits && !row.is_placed();
    let fits = rows.iter().filter(|(row, _)| is_whole(row));
    let useful = fits.clone().filter(|(row, _)| row.is_useful(useful));
    // Rows are sorted by their sizes: of those that lose as much the first is the largest.
    let loss = |(row, candidate): &&(QuantDoc, &Candidate)| loss(row, candidate, &published);
    let least = useful.min_by(|a, b| loss(a).total_cmp(&loss(b)));
    let context = |row: &QuantDoc| row.holds_some().map_or(0, |result| result.context);
    least.or_else(|| fits.max_by_key(|(row, _)| context(row))).map(|(row, _)| row)
}

/// What a format loses: nothing where it is the model's own, what was published of it, and else no less than the best published one
/// of as many bits or fewer.
fn loss(row: &QuantDoc, candidate: &Candidate, published: &[(f64, f64)]) -> f64 {
    if loses_nothing(row, &candidate.deployment) {
        return 0.0;
    }
    if let Some((_, loss)) = row.published() {
        return loss;
    }
    let fewer = published.iter().filter(|(bits, _)| *bits <= row.bits_per_weight);
    fewer.map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min)
}

/// Whether a format is what the model was trained in, or published in alone.
fn loses_nothing(row: &QuantDoc, deployment: &Deployment) -> bool {
    let Deployment { model, weights, .. } = deployment;
    let is_checkpoint = model.stored.as_ref().is_some_and(|stored| !stored.is_gguf());
    let named: Option<WeightFormat> = row.format.to_ascii_lowercase().parse().ok();
    let is_float = named.is_some_and(WeightFormat::is_float);
    let is_own = named == Some(WeightFormat::Gguf(FileType::Mxfp4Moe))
        && model.shape.architecture.family().experts.in_mxfp4();
    is_float || is_own || (is_checkpoint && *weights == WeightFormat::AsStored)
}

fn quant_doc(candidate: &Candidate) -> QuantDoc {
    let Deployment { model, weights, .. } = &candidate.deployment;
    let tensors = size_of(model, *weights, &candidate.deployment);
    let format = candidate.name.clone().unwrap_or_else(|| label(model, *weights));
    let answered = answered(&candidate.deployment);
    QuantDoc {
        quality: published(&format),
        format: printable(&format),
        file: candidate.file.as_deref().map(printable),
        size: candidate.size.unwrap_or(tensors),
        exact: *weights == WeightFormat::AsStored && model.stored.is_some(),
        bits_per_weight: bits_per_weight(tensors, parameters(model, *weights)),
        verdict: Outcome::of(answered.as_ref().ok().map(|(verdict, _)| *verdict)),
        reason: answered.as_ref().err().map(ToString::to_string),
        result: answered.ok().map(|(_, result)| result),
    }
}

/// The published quality of a format by its name: a name with anything else in it is another format.
fn published(format: &str) -> Option<Quality> {
    match format.to_ascii_lowercase().parse() {
        Ok(WeightFormat::Gguf(file_type)) => quality(file_type),
        _ => None,
    }
}

fn label(model: &ModelSpec, weights: WeightFormat) -> String {
    match (model.stored_label(), weights) {
        (Some(label), WeightFormat::AsStored) => label.to_owned(),
        (_, format) => format.to_string(),
    }
}

/// Bytes of all tensors in a format.
fn size_of(model: &ModelSpec, weights: WeightFormat, deployment: &Deployment) -> Bytes {
    match (&model.stored, weights) {
        (Some(stored), WeightFormat::AsStored) => stored.size().unwrap_or(Bytes::ZERO),
        _ => file_size(model, weights, deployment.kind()).unwrap_or(Bytes::ZERO),
    }
}

/// What the tensors have elements for: those of a file, which may hold more than the model's own.
fn parameters(model: &ModelSpec, weights: WeightFormat) -> u64 {
    match (&model.stored, weights) {
        (Some(stored), WeightFormat::AsStored) if stored.is_gguf() => {
            stored.tensors.iter().map(|tensor| tensor.elements).fold(0, u64::saturating_add)
        }
        _ => model.parameters(),
    }
}

/// To two digits.
fn bits_per_weight(size: Bytes, parameters: u64) -> f64 {
    if parameters == 0 {
        return 0.0;
    }
    let bits = size.as_f64() * 8.0 / Bytes::new(parameters).as_f64();
    (bits * 100.0).round() / 100.0
}

/// What a format comes to, with layers and experts in main memory as `budget` has them there.
fn answered(deployment: &Deployment) -> Result<(Verdict, QuantResult), RecommendError> {
    match solve(deployment)?.filter(|placement| !placement.is_on_cards()) {
        Some(placement) => placed(deployment, &placement),
        None => whole(deployment),
    }
}

fn whole(deployment: &Deployment) -> Result<(Verdict, QuantResult), RecommendError> {
    let solver = Solver::new(deployment)?;
    let summary = solver.summary()?;
    let tiers = solver.recommend()?.tiers;
    let system = deployment.workload.system_tokens;
    let most = summary.largest.max_cache_tokens;
    let tight = tiers.aggressive.max_cache_tokens;
    let is_tight = most == 0 && tight > 0;
    let fullest = if is_tight { tiers.aggressive } else { tiers.balanced };
    let result = QuantResult {
        context: if most == 0 { 0 } else { system.saturating_add(most) },
        limited_by: summary.largest.limited_by,
        tight_context: is_tight.then(|| system.saturating_add(tight)),
        peak: summary.fit.peak,
        decode_tokens_per_second: speed_doc(fullest.decode),
        placement: None,
        main_memory: None,
    };
    Ok((summary.fit.verdict, result))
}

fn placed(
    deployment: &Deployment,
    placement: &Placement,
) -> Result<(Verdict, QuantResult), RecommendError> {
    let settled = placement.of(deployment);
    let solver = Solver::new(&settled)?;
    let summary = solver.summary()?;
    let most = summary.largest.max_cache_tokens;
    let is_placed = summary.fit.verdict != Verdict::DoesNotFit;
    let result = QuantResult {
        context: if most == 0 { 0 } else { settled.workload.system_tokens.saturating_add(most) },
        limited_by: summary.largest.limited_by,
        tight_context: None,
        peak: summary.fit.peak,
        decode_tokens_per_second: speed_doc(placement.speed),
        placement: is_placed.then(|| placement.flags()),
        main_memory: if is_placed { solver.main_memory(most)? } else { None },
    };
    Ok((summary.fit.verdict, result))
}
