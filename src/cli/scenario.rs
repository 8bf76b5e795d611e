//! From flags to a request: defaults, profiles, and the checks that need both.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, bail};

use super::args::{CacheAllocation, CaptureLayers, PlanArgs};
use super::gpus;
use super::problem::Problem;
use vramplan_disk::Disk;
use vramplan_planner::dtype::{FileType, GgmlType, KvFormat, WeightFormat};
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{self, Catalog, Kind, profile};
use vramplan_planner::recommend::{Card, Request};
use vramplan_planner::spec::{
    Capture, GpuSpec, Headroom, Logits, ModelSpec, Runtime, RuntimeSpec, Serving, Split, Workload,
};
use vramplan_planner::text::{excerpt, one_line, printable_path};
use vramplan_planner::units::Bytes;

/// The workload of the worked example: what is planned unless told otherwise.
const SYSTEM_TOKENS: u64 = 6000;
const PREFILL_CHUNK: u64 = 512;
const CAPTURE_TOKENS: u64 = 100;

/// Everything that a request borrows from.
pub struct Resolved {
    /// The GPU; the local one where `auto` was asked for.
    pub gpu: GpuSpec,
    /// The model.
    pub model: ModelSpec,
    /// The model's file, where it is one.
    pub file: Option<String>,
    /// The runtime's constants.
    pub runtime: RuntimeSpec,
    /// Models of the same family in other sizes, for advice.
    pub siblings: Vec<ModelSpec>,
    /// The format of the weights.
    pub weights: WeightFormat,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// The work.
    pub workload: Workload,
    /// What the card offers.
    pub capacity: Capacity,
    /// Further GPUs that the model is spread over.
    pub others: Vec<Card>,
    /// How it is spread.
    pub split: Split,
    /// Whether the size of the cache was given.
    pub fixed_cache: bool,
    /// Tokens a second that generation must be able to reach.
    pub min_decode_speed: Option<f64>,
}

impl Resolved {
    /// The request that the planner answers.
    pub fn request(&self) -> Request<'_> {
        Request {
            model: &self.model,
            gpu: &self.gpu,
            runtime: &self.runtime,
            weights: self.weights,
            kv: self.kv,
            workload: self.workload.clone(),
            capacity: self.capacity,
            others: &self.others,
            split: self.split,
            fixed_cache: self.fixed_cache,
            min_decode_speed: self.min_decode_speed,
            siblings: &self.siblings,
        }
    }
}

/// Reads a scenario file: the flags of `budget`, as TOML.
pub fn read(path: &Path) -> anyhow::Result<PlanArgs> {
    let text = profile::text_of(&Disk, path)?;
    Ok(toml::from_str(&text).map_err(|error| no_scenario(path, &text, &error))?)
}

/// Says why a file is no scenario, and shows where.
fn no_scenario(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().map(|span| format!("TOML parse error at {}", excerpt(text, &span)));
    let (path, message) = (printable_path(path), one_line(error.message()));
    Problem::with_lines(format!("`{path}` is no scenario: {}{message}", place.unwrap_or_default()))
        .hint("its keys are the flags of `vramplan budget`, with `_` for `-`")
}

/// Resolves flags.
pub fn resolve(args: &PlanArgs, catalog: &Catalog) -> anyhow::Result<Resolved> {
    if args.model.is_none() {
        return Err(missing("--model", "a name such as `qwen2.5-14b`, or a file").into());
    }
    let Some(gpu) = &args.gpu else {
        return Err(missing("--gpu", "a name such as `L4`, or `auto`").into());
    };
    let names: Vec<&str> = gpu.split(',').map(str::trim).collect();
    let runtime = args.runtime.unwrap_or(Runtime::Vramplan);
    let cards = gpus::cards(args, &names, runtime, catalog)?;
    resolve_on(args, catalog, cards)
}

/// Resolves flags on these cards, the first of which is there.
pub fn resolve_on(
    args: &PlanArgs,
    catalog: &Catalog,
    mut cards: Vec<Card>,
) -> anyhow::Result<Resolved> {
    let Some(model) = &args.model else {
        return Err(missing("--model", "a name such as `qwen2.5-14b`, or a file").into());
    };
    let mut runtime = catalog.runtime(args.runtime.unwrap_or(Runtime::Vramplan))?;
    runtime.stack = version(args, runtime.runtime, Runtime::Transformers)?;
    let Card { gpu, capacity } = cards.remove(0);
    let model = read::model(&Disk, model, catalog)?;
    let workload = workload(args, &model, &gpu, runtime.runtime, cards.len() + 1)?;
    Ok(Resolved {
        file: args.model.clone().filter(|model| Path::new(model).is_file()),
        siblings: siblings(&model, catalog),
        weights: args.weights.unwrap_or_else(|| default_weights(&model, runtime.runtime)),
        kv: args.kv.unwrap_or_else(|| default_kv(runtime.runtime)),
        fixed_cache: args.cache_tokens.is_some(),
        min_decode_speed: min_decode_speed(args)?,
        split: gpus::split(args, runtime.runtime),
        others: cards,
        gpu,
        model,
        runtime,
        workload,
        capacity,
    })
}

/// Puts what was measured of a runtime on this card in the place of what was assumed.
pub(super) fn apply_calibration(
    gpu: &mut GpuSpec,
    runtime: Runtime,
    catalog: &Catalog,
) -> anyhow::Result<()> {
    let found = catalog.calibration(&gpu.name, runtime)?;
    if let Some(found) = found
        && let Some(context) = found.context()
    {
        gpu.context = Some(context);
        gpu.calibrated = found.parts();
    }
    Ok(())
}

/// What the card offers to the run.
pub(super) fn capacity(
    args: &PlanArgs,
    gpu: &GpuSpec,
    runtime: Runtime,
    other_use: Bytes,
) -> anyhow::Result<Capacity> {
    let headroom = args.headroom.unwrap_or_else(|| default_headroom(runtime));
    let capacity = Capacity::new(gpu.total.value, gpu.reserved.value, other_use, headroom)?;
    if capacity.less_headroom(1)?.is_zero() {
        bail!(Problem::new(format!(
            "nothing of `{}` is left: {} total, {} reserved, {} in other use, {} headroom",
            gpu.name, capacity.total, capacity.reserved, capacity.other_use, capacity.headroom
        )));
    }
    Ok(capacity)
}

fn missing(flag: &'static str, expected: &'static str) -> Problem {
    Problem::new(format!("`{flag}` is missing: expected {expected}"))
        .hint("try `vramplan budget --gpu L4 --model qwen2.5-14b`, or see `vramplan profiles list`")
}

/// The GPU, and what other processes hold of it: as given, or on the local card as measured.
pub(super) fn find_gpu(
    name: &str,
    other_use: Option<Bytes>,
    catalog: &Catalog,
) -> anyhow::Result<(GpuSpec, Bytes)> {
    if !name.eq_ignore_ascii_case("auto") {
        return Ok((catalog.gpu(name)?, other_use.unwrap_or(Bytes::ZERO)));
    }
    let card = crate::local::local_card()?;
    let gpu = card.spec(catalog)?;
    Ok((gpu, other_use.unwrap_or(card.used)))
}

pub(super) fn min_decode_speed(args: &PlanArgs) -> anyhow::Result<Option<f64>> {
    match args.min_decode_speed {
        Some(speed) if !speed.is_finite() || speed <= 0.0 => {
            bail!(
                "`--min-decode-speed {speed}` is out of range: expected more than 0 tokens a second"
            )
        }
        speed => Ok(speed),
    }
}

/// A file's own format, else the format that is most usual under the runtime.
pub(super) fn default_weights(model: &ModelSpec, runtime: Runtime) -> WeightFormat {
    match (&model.stored, runtime) {
        (Some(stored), Runtime::Transformers | Runtime::Vllm) if !stored.is_gguf() => {
            WeightFormat::AsStored
        }
        (Some(stored), Runtime::Vramplan | Runtime::LlamaCpp) if stored.is_gguf() => {
            WeightFormat::AsStored
        }
        (_, Runtime::Transformers) => WeightFormat::Nf4 { double_quant: false },
        (_, Runtime::Vllm) => WeightFormat::AwqInt4 { group: 128 },
        _ => WeightFormat::Gguf(FileType::Q4KM),
    }
}

/// Each runtime's 8-bit cache; vLLM's own default, which is 16 bits.
pub(super) const fn default_kv(runtime: Runtime) -> KvFormat {
    match runtime {
        Runtime::Vramplan => KvFormat::Int8,
        Runtime::Transformers => KvFormat::Hqq { bits: 8, group: 64 },
        Runtime::LlamaCpp => KvFormat::Ggml(GgmlType::Q8_0),
        Runtime::Vllm => KvFormat::Bf16,
    }
}

/// vLLM leaves free what its share of the card is short of; nothing more is asked of it.
const fn default_headroom(runtime: Runtime) -> Headroom {
    match runtime {
        Runtime::Vllm => Headroom::Size(Bytes::ZERO),
        _ => Headroom::Default,
    }
}

/// What vLLM is told; flags that other runtimes do not have are refused.
fn serving(
    args: &PlanArgs,
    gpu: &GpuSpec,
    runtime: Runtime,
    gpus: usize,
) -> anyhow::Result<Option<Serving>> {
    if runtime != Runtime::Vllm {
        let given = [
            ("--max-seqs", args.max_seqs.is_some()),
            ("--gpu-memory-utilization", args.gpu_memory_utilization.is_some()),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            let message = format!("the `{runtime}` runtime has no `{flag}`");
            bail!(Problem::new(message).hint(format!("drop `{flag}`, or use `--runtime vllm`")));
        }
        return Ok(None);
    }
    let default = Serving::on(gpu);
    let max_seqs = args.max_seqs.unwrap_or(default.max_seqs);
    if !(1..=MOST_SEQUENCES).contains(&max_seqs) {
        bail!("`--max-seqs {max_seqs}` is out of range: expected 1 to {MOST_SEQUENCES}");
    }
    let utilization = args.gpu_memory_utilization.unwrap_or(default.utilization);
    let ranks = if gpus::split(args, runtime) == Split::Tensor { gpus as u64 } else { 1 };
    let version = version(args, runtime, Runtime::Vllm)?;
    Ok(Some(Serving { max_seqs, utilization, ranks, version, ..default }))
}

/// More sequences than any scheduler is given.
const MOST_SEQUENCES: u64 = 1 << 20;

pub(super) fn workload(
    args: &PlanArgs,
    model: &ModelSpec,
    gpu: &GpuSpec,
    runtime: Runtime,
    gpus: usize,
) -> anyhow::Result<Workload> {
    let positive = |flag: &str, value: Option<u64>, default: u64| match value {
        Some(0) => bail!("`{flag} 0` is out of range: expected 1 or more"),
        Some(value) if value > MOST_TOKENS => {
            bail!("`{flag} {value}` is out of range: expected at most {MOST_TOKENS}")
        }
        value => Ok(value.unwrap_or(default)),
    };
    let grown = args
        .cache
        .map_or(runtime == Runtime::Transformers, |cache| cache == CacheAllocation::Grown);
    if grown && runtime != Runtime::Transformers {
        bail!(
            Problem::new(format!("the `{runtime}` runtime allocates its cache at full size"))
                .hint("drop `--cache grown`, or use `--runtime transformers`")
        );
    }
    let context = positive("--context", args.context, model.shape.context_len)?;
    let chunk = if runtime == Runtime::Vllm { Serving::default_chunk(gpu) } else { PREFILL_CHUNK };
    let system_tokens = args.system_tokens.unwrap_or(SYSTEM_TOKENS);
    if system_tokens > MOST_TOKENS {
        bail!("`--system-tokens {system_tokens}` is out of range: expected at most {MOST_TOKENS}");
    }
    Ok(Workload {
        system_tokens,
        cache_tokens: positive("--cache-tokens", args.cache_tokens, 1)?,
        recent_window: args.recent_window,
        prefill_chunk: positive("--prefill-chunk", args.prefill_chunk, chunk)?,
        batch: positive("--batch", args.batch, 1)?,
        context,
        attention: args.attention.unwrap_or_else(|| runtime.default_attention()),
        capture: capture(args, model, runtime, gpus)?,
        images: images(args)?,
        logits: args.logits.unwrap_or_else(|| default_logits(runtime)),
        grown_cache: grown,
        llama_cpp: version(args, runtime, Runtime::LlamaCpp)?,
        serving: serving(args, gpu, runtime, gpus)?,
    })
}

/// More images than any prompt has.
const MOST_IMAGES: u64 = 1 << 16;

fn images(args: &PlanArgs) -> anyhow::Result<Option<u64>> {
    match args.images {
        Some(images) if images > MOST_IMAGES => {
            bail!("`--images {images}` is out of range: expected at most {MOST_IMAGES}")
        }
        images => Ok(images),
    }
}

/// llama.cpp makes room for the logits of a whole micro-batch; only servers since mid-2026 ask for
/// less.
const fn default_logits(runtime: Runtime) -> Logits {
    match runtime {
        Runtime::LlamaCpp => Logits::All,
        _ => Logits::Last,
    }
}

/// The version asked for of one runtime; the newest of another.
fn version<V>(args: &PlanArgs, runtime: Runtime, of: Runtime) -> anyhow::Result<V>
where
    V: FromStr<Err = String> + Default,
{
    match &args.runtime_version {
        Some(version) if runtime == of => {
            version.parse().map_err(|message: String| Problem::new(message).into())
        }
        Some(_) if runtime == Runtime::Vramplan => {
            Err(Problem::new(format!("the version of the `{runtime}` runtime cannot be chosen"))
                .hint("drop `--runtime-version`")
                .into())
        }
        _ => Ok(V::default()),
    }
}

/// More tokens than any model has positions.
const MOST_TOKENS: u64 = 1 << 32;

fn capture(
    args: &PlanArgs,
    model: &ModelSpec,
    runtime: Runtime,
    gpus: usize,
) -> anyhow::Result<Option<Capture>> {
    let Some(layers) = args.capture_layers else {
        if args.capture_tokens.is_some() || args.capture_attention || args.capture_keep {
            let problem = Problem::new("something is to be captured, but no `--capture-layers`");
            return Err(problem.hint("add a number of layers, or `all`").into());
        }
        return Ok(None);
    };
    if gpus > 1 {
        let message = "`--capture-layers` is planned on one GPU only";
        bail!(Problem::new(message).hint("drop `--capture-layers`, or `--gpus`"));
    }
    if !runtime.captures() {
        bail!(
            Problem::new(format!("the `{runtime}` runtime cannot capture activations"))
                .hint("drop `--capture-layers`, or use `--runtime transformers`")
        );
    }
    let all = model.shape.n_layers;
    let layers = match layers {
        CaptureLayers::All => all,
        CaptureLayers::Some(layers) if (1..=all).contains(&layers) => layers,
        CaptureLayers::Some(layers) => {
            bail!("`--capture-layers {layers}` is out of range: `{}` has {all} layers", model.name)
        }
    };
    let tokens = args.capture_tokens.unwrap_or(CAPTURE_TOKENS);
    if tokens == 0 || tokens > MOST_TOKENS {
        bail!("`--capture-tokens {tokens}` is out of range: expected 1 to {MOST_TOKENS}");
    }
    Ok(Some(Capture { layers, tokens, attention: args.capture_attention, keep: args.capture_keep }))
}

/// The next smaller and the next larger model whose names differ in their size only, for advice:
/// `qwen2.5-7b` and `qwen2.5-32b` beside `qwen2.5-14b`.
fn siblings(model: &ModelSpec, catalog: &Catalog) -> Vec<ModelSpec> {
    let Some((stem, size)) = stem_and_size(&model.name) else { return Vec::new() };
    let Ok(names) = catalog.names(Kind::Model) else { return Vec::new() };
    let sized = names.filter_map(|name| Some((name, stem_and_size(name)?)));
    let same: Vec<_> = sized.filter(|(_, (other, _))| *other == stem).collect();
    let size_of = |(_, (_, size)): &&(&str, (&str, f64))| *size;
    let by_size = |a: &&_, b: &&_| size_of(a).total_cmp(&size_of(b));
    let smaller = same.iter().filter(|other| size_of(other) < size).max_by(by_size);
    let larger = same.iter().filter(|other| size_of(other) > size).min_by(by_size);
    let names = smaller.into_iter().chain(larger).map(|(name, _)| name);
    names.filter_map(|name| catalog.model(name).ok()).collect()
}

/// `qwen2.5` and 14 billion of `qwen2.5-14b`; nothing for names that do not end in a plain size.
fn stem_and_size(name: &str) -> Option<(&str, f64)> {
    let (stem, size) = name.rsplit_once('-')?;
    let unit = match size.as_bytes().last()? {
        b'b' => 1e9,
        b'm' => 1e6,
        _ => return None,
    };
    let number: f64 = size.get(..size.len() - 1)?.parse().ok()?;
    Some((stem, number * unit))
}

impl Resolved {
    /// Reads the scenario file, if any, and resolves flags over it.
    pub fn from_args(
        flags: &PlanArgs,
        scenario: Option<&Path>,
        catalog: &Catalog,
    ) -> anyhow::Result<Self> {
        let args = match scenario {
            Some(path) => flags.clone().or(read(path)?),
            None => flags.clone(),
        };
        let resolved = resolve(&args, catalog);
        match scenario {
            Some(path) => resolved.with_context(|| format!("scenario `{}`", printable_path(path))),
            None => resolved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_share_everything_but_their_size() {
        assert_eq!(stem_and_size("qwen2.5-14b"), Some(("qwen2.5", 14e9)));
        assert_eq!(stem_and_size("gemma-3-270m"), Some(("gemma-3", 270e6)));
        assert_eq!(stem_and_size("qwen3-30b-a3b"), None);
        assert_eq!(stem_and_size("phi-4"), None);
        let catalog = Catalog::built_in();
        let model = catalog.model("qwen2.5-14b").unwrap();
        let names: Vec<_> = siblings(&model, &catalog).into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["qwen2.5-7b", "qwen2.5-32b"]);
    }
}
