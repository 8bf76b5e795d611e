//! `--emit`: the plan as settings of the program that runs it. Only what the plan fixes is set.
//!
//! Names and values were checked against llama.cpp's `common/arg.cpp`; transformers 5's
//! `cache_utils.py` and `quantization_config.py`; Ollama's `api/types.go` (`Runner`: `num_ctx`,
//! `num_batch`, `num_gpu`), `docs/modelfile.md` and `envconfig/config.go` (the variables, of which
//! `OLLAMA_FLASH_ATTENTION` is read by `strconv.ParseBool`); vLLM's `engine/arg_utils.py`
//! (`EngineArgs.add_cli_args`) and `config/cache.py` (`CacheDType`); `SGLang` 0.5.23's `srt/arg_groups/fields/`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::FromStr;

use super::document::{Document, shown};
use crate::deployment::Question;
use crate::dtype::KvFormat;
use crate::estimate::llama_cpp::padded_context;
use crate::spec::{Attention, ComputeCapability, Count, Gibibytes, LoraSlots, Runtime, Split};
use crate::text::{printable, printable_lines, printable_message, shell_word};
use crate::units::{Bytes, Overflow};

/// A program to write settings for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Flags of `llama-server`.
    LlamaCpp,
    /// Flags of `vllm serve`.
    Vllm,
    /// Flags of `python -m sglang.launch_server`.
    Sglang,
    /// A Python dictionary.
    Transformers,
    /// A Modelfile.
    Ollama,
    /// Settings of LM Studio, as its SDK takes them.
    LmStudio,
    /// Environment variables for a program of one's own.
    Env,
}

impl Target {
    /// Every target with its name.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("llama.cpp", Self::LlamaCpp),
        ("vllm", Self::Vllm),
        ("sglang", Self::Sglang),
        ("transformers", Self::Transformers),
        ("ollama", Self::Ollama),
        ("lm-studio", Self::LmStudio),
        ("env", Self::Env),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, target)| *target == self).map_or("?", |(name, _)| name)
    }

    /// The runtime whose plans it takes; nothing for those of any.
    pub fn runtime(self) -> Option<Runtime> {
        let takes = [
            (Self::LlamaCpp, Runtime::LlamaCpp),
            (Self::Ollama, Runtime::LlamaCpp),
            (Self::LmStudio, Runtime::LlamaCpp),
            (Self::Vllm, Runtime::Vllm),
            (Self::Sglang, Runtime::Sglang),
            (Self::Transformers, Runtime::Transformers),
        ];
        takes.into_iter().find(|(target, _)| *target == self).map(|(_, runtime)| runtime)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_', '.', ' '], "");
        let wanted = match plain(text).as_str() {
            "llamaserver" => "llamacpp".to_owned(),
            wanted => wanted.to_owned(),
        };
        let found = Self::NAMES.iter().find(|(name, _)| plain(name) == wanted);
        found.map(|(_, target)| *target).ok_or_else(|| {
            let known: Vec<_> = Self::NAMES.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("`{}` is not a target: expected one of {}", printable(text), known.join(", "))
        })
    }
}

/// Why a plan cannot be written as a program's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// Another runtime's plan.
    #[error("`--emit {target}` cannot take a plan of the `{runtime}` runtime")]
    Runtime {
        /// The target.
        target: &'static str,
        /// The plan's runtime.
        runtime: String,
        /// The runtime that it takes.
        expected: Runtime,
    },
    /// A setting that the program does not have.
    #[error("{target} has no {what} `{value}`: expected {expected}")]
    Unsupported {
        /// The program.
        target: &'static str,
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What it has.
        expected: &'static str,
    },
    /// A name that cannot stand in a setting: it would end the line, or command a terminal.
    #[error("`{}` cannot be written into settings: expected a name without control characters", printable_message(.name))]
    Unprintable {
        /// The name as given.
        name: String,
    },
    /// A number too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl EmitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Runtime { expected, .. } => Some(format!(
                "plan with `--runtime {expected}`; `--emit env` takes the plan of any runtime"
            )),
            Self::Unsupported { what: "placement", .. } => {
                Some("plan with `--ngl auto --n-cpu-moe 0`, or emit for `llama.cpp`".to_owned())
            }
            Self::Unsupported { .. } => Some("plan with another `--kv`".to_owned()),
            Self::Unprintable { .. } => Some("rename the file".to_owned()),
            Self::Overflow(_) => None,
        }
    }
}

/// The settings of a plan on a GPU of this compute capability, for a model from `file` if any.
pub fn emit(
    document: &Document,
    target: Target,
    file: Option<&str>,
    gpu: ComputeCapability,
) -> Result<String, EmitError> {
    let planned = document.deployment.resolved.runtime;
    if let Some(expected) = target.runtime().filter(|expected| Some(*expected) != planned) {
        let runtime = document.deployment.runtime();
        return Err(EmitError::Runtime { target: target.name(), runtime, expected });
    }
    if let Some(name) =
        file.filter(|file| printable_lines(file) != *file || file.contains(['\n', '\t']))
    {
        return Err(EmitError::Unprintable { name: name.to_owned() });
    }
    match target {
        Target::LlamaCpp => llama_cpp(document, file),
        Target::Vllm => Ok(vllm(document)),
        Target::Sglang => Ok(sglang(document)),
        Target::Transformers => Ok(transformers(document, gpu)),
        Target::Ollama => ollama(document, file),
        Target::LmStudio => lm_studio(document),
        Target::Env => env(document),
    }
}

/// Tokens of the system prompt and of the conversation.
fn cached(document: &Document) -> [u64; 2] {
    let asked = &document.deployment;
    [asked.number(|asked| asked.system_tokens), asked.number(|asked| asked.cache_tokens)]
}

fn chunk(document: &Document) -> u64 {
    document.deployment.number(|asked| asked.prefill_chunk)
}

fn batch(document: &Document) -> u64 {
    document.deployment.number(|asked| asked.batch)
}

fn is_flash(document: &Document) -> bool {
    document.deployment.resolved.attention == Some(Attention::Flash)
}

/// Positions of one sequence, as llama.cpp pads them.
fn slot(document: &Document) -> Result<u64, Overflow> {
    let [system, cached] = cached(document);
    padded_context(system.checked_add(cached).ok_or(Overflow)?)
}

/// `llama-server`'s default logical batch.
const LLAMA_BATCH: u64 = 2048;

/// A whole command; a model that is known by name is a variable, which names its file.
fn llama_cpp(document: &Document, file: Option<&str>) -> Result<String, EmitError> {
    let asked = &document.deployment;
    let (chunk, batch) = (chunk(document), sequences(document));
    let is_unified = asked.resolved.kv_unified;
    let slots = if is_unified { 1 } else { batch };
    let context = slot(document)?.checked_mul(slots).ok_or(Overflow)?;
    let mut flags = Vec::new();
    let comment = if let Some(file) = file {
        flags.push(format!("-m {}", quoted(file)?));
        String::new()
    } else {
        flags.push("-m \"$MODEL\"".to_owned());
        let (model, weights) = (printable(&asked.model.name), printable(&asked.weights()));
        format!("# MODEL: the GGUF file of {model} in {weights}\n")
    };
    flags.push(format!("-c {context} -np {batch}"));
    if batch > 1 {
        flags.push(if is_unified { "--kv-unified" } else { "--no-kv-unified" }.to_owned());
    }
    let logical = asked.resolved.batch_size.unwrap_or(LLAMA_BATCH.max(chunk));
    if logical != LLAMA_BATCH {
        flags.push(format!("-b {logical}"));
    }
    let flash = if is_flash(document) { "on" } else { "off" };
    let [keys, values] = cache_formats(document);
    flags.push(format!(
        "-ub {chunk} -ngl {} -fa {flash} -ctk {keys} -ctv {values}",
        gpu_layers(document)
    ));
    flags.extend(llama_cpp_placement(document)?);
    flags.extend(llama_cpp_split(document));
    flags.extend(llama_cpp_beside(document)?);
    Ok(format!("{comment}llama-server {}\n", flags.join(" ")))
}

/// Sequences processed together, whether they share a cache or not.
fn sequences(document: &Document) -> u64 {
    let asked = &document.deployment.resolved;
    asked.parallel.or(asked.batch).unwrap_or(1)
}

/// The formats of keys and of values.
fn cache_formats(document: &Document) -> [String; 2] {
    let Some(pair) = document.deployment.resolved.kv else { return [String::new(), String::new()] };
    [pair.keys.to_string(), pair.values.unwrap_or(pair.keys).to_string()]
}

/// `-ngl`: more than any model has, where all layers are on GPUs.
fn gpu_layers(document: &Document) -> u64 {
    match document.deployment.resolved.ngl {
        Some(Count::Some(layers)) => layers,
        Some(Count::All | Count::Auto) | None => 999,
    }
}

/// What is in main memory besides whole layers, overrides first: the first that matches counts.
fn llama_cpp_placement(document: &Document) -> Result<Vec<String>, EmitError> {
    let asked = &document.deployment.resolved;
    let mut flags = Vec::new();
    for given in &asked.override_tensor {
        flags.push(format!("-ot {}", quoted(&given.to_string())?));
    }
    match asked.n_cpu_moe {
        Some(Count::All) => flags.push("--cpu-moe".to_owned()),
        Some(Count::Some(layers)) if layers > 0 => flags.push(format!("--n-cpu-moe {layers}")),
        _ => {}
    }
    for (flag, is_given) in [
        ("--no-kv-offload", asked.no_kv_offload),
        ("--no-op-offload", asked.no_op_offload),
        ("--swa-full", asked.swa_full),
    ] {
        flags.extend(is_given.then(|| flag.to_owned()));
    }
    Ok(flags)
}

/// What is loaded beside the model; what is known by name only is a variable, which names its file.
fn llama_cpp_beside(document: &Document) -> Result<Vec<String>, EmitError> {
    let asked = &document.deployment.resolved;
    let is_file = |name: &str| name.to_ascii_lowercase().ends_with(".gguf");
    let named = |name: &str, variable: &str| -> Result<String, EmitError> {
        if is_file(name) { Ok(quoted(name)?.into_owned()) } else { Ok(format!("\"${variable}\"")) }
    };
    let mut flags = Vec::new();
    if let Some(file) = &asked.mmproj {
        flags.push(format!("--mmproj {}", named(file, "MMPROJ")?));
    }
    for file in &asked.lora {
        flags.push(format!("--lora {}", quoted(file)?));
    }
    if let Some(model) = &asked.draft {
        flags.push(format!("-md {}", named(model, "DRAFT")?));
    }
    if let Some(ahead) = asked.mtp {
        flags.push(format!("--spec-type draft-mtp --spec-draft-n-max {ahead}"));
    }
    Ok(flags)
}

/// How layers are dealt out, as many for each GPU as planned: the output head is one more. Rows are cut
/// by total memory unless told otherwise.
fn llama_cpp_split(document: &Document) -> Option<String> {
    match document.deployment.resolved.split? {
        Split::Tensor => Some("-sm row".to_owned()),
        Split::Layer => {
            if let Some(split) = &document.deployment.resolved.tensor_split {
                return Some(format!("-sm layer -ts {split}"));
            }
            let parts =
                document.devices.iter().filter(|device| !device.host).map(|device| &device.part);
            let counts = parts.map(|part| (part.layers + u64::from(part.output_head)).to_string());
            Some(format!("-sm layer -ts {}", counts.collect::<Vec<_>>().join(",")))
        }
    }
}

/// A word for a shell.
fn quoted(word: &str) -> Result<Cow<'_, str>, EmitError> {
    shell_word(word).ok_or_else(|| EmitError::Unprintable { name: word.to_owned() })
}

fn ollama(document: &Document, file: Option<&str>) -> Result<String, EmitError> {
    let asked = &document.deployment;
    refuse_tensors(document, "Ollama")?;
    let kv = asked.kv();
    if !["f16", "q8_0", "q4_0"].contains(&kv.as_str()) {
        return Err(EmitError::Unsupported {
            target: "Ollama",
            what: "cache format",
            value: kv,
            expected: "`f16`, `q8_0` or `q4_0`",
        });
    }
    let from = if let Some(file) = file {
        format!("FROM {file}")
    } else {
        let (model, weights) = (printable(&asked.model.name), printable(&asked.weights()));
        format!("# FROM the GGUF file of {model} in {weights}")
    };
    let flash = u8::from(is_flash(document));
    let spread = match asked.resolved.split {
        Some(_) => "#   OLLAMA_SCHED_SPREAD=1\n",
        None => "",
    };
    Ok(format!(
        "{from}\n\
         PARAMETER num_ctx {}\n\
         PARAMETER num_batch {}\n\
         PARAMETER num_gpu {}\n\
         # In the environment of `ollama serve`:\n\
         #   OLLAMA_FLASH_ATTENTION={flash}\n\
         #   OLLAMA_KV_CACHE_TYPE={}\n\
         #   OLLAMA_NUM_PARALLEL={}\n\
         {spread}",
        slot(document)?,
        chunk(document),
        gpu_layers(document),
        kv,
        sequences(document),
    ))
}

/// Refuses a placement of single tensors, which a program has no setting for.
fn refuse_tensors(document: &Document, target: &'static str) -> Result<(), EmitError> {
    let flags = llama_cpp_placement(document)?;
    match flags.into_iter().find(|flag| flag != "--swa-full") {
        Some(value) => Err(EmitError::Unsupported {
            target,
            what: "placement",
            value,
            expected: "whole layers on GPUs or in main memory",
        }),
        None => Ok(()),
    }
}

/// `LLMLoadModelConfig` of `@lmstudio/sdk`: layers and experts are shares of the model's.
fn lm_studio(document: &Document) -> Result<String, EmitError> {
    let asked = &document.deployment.resolved;
    if let Some(given) = asked.override_tensor.first() {
        return Err(EmitError::Unsupported {
            target: "LM Studio",
            what: "placement",
            value: format!("-ot {given}"),
            expected: "whole layers, or the experts of some",
        });
    }
    let layers = document.deployment.model.layers;
    let share = |count: Option<Count>, otherwise: f64, of: u64| match count {
        Some(Count::Some(count)) if of > 0 => share_of(count, of),
        Some(Count::All) => 1.0,
        _ => otherwise,
    };
    let [keys, values] = cache_formats(document);
    let settings = serde_json::json!({
        "contextLength": slot(document)?,
        "evalBatchSize": chunk(document),
        "flashAttention": is_flash(document),
        "llamaKCacheQuantizationType": keys,
        "llamaVCacheQuantizationType": values,
        "offloadKVCacheToGpu": !asked.no_kv_offload,
        "gpu": {
            "ratio": share(asked.ngl, 1.0, layers + 1),
            "numCpuExpertLayersRatio": share(asked.n_cpu_moe, 0.0, layers),
        },
    });
    Ok(serde_json::to_string_pretty(&settings).unwrap_or_default() + "\n")
}

/// A share to four digits.
#[allow(clippy::cast_precision_loss, reason = "a few hundred layers")]
fn share_of(count: u64, of: u64) -> f64 {
    (count.min(of) as f64 / of as f64 * 10_000.0).round() / 10_000.0
}

/// `auto` is the model's own type for weights and cache, but f16 for one in f32 (`EngineArgs.dtype`).
fn vllm(document: &Document) -> String {
    let asked = &document.deployment.resolved;
    let kv = match asked.kv.map(|kv| kv.keys) {
        Some(kv @ (KvFormat::Fp8 | KvFormat::Nvfp4 | KvFormat::PerTokenHead(_))) => kv.to_string(),
        _ => "auto".to_owned(),
    };
    let dtype = if weights(document) == "f32" { "--dtype float32 " } else { "" };
    let [system, cached] = cached(document);
    let length = system.saturating_add(cached);
    let gpus = document.devices.len();
    let is_mixed = asked.tensor_parallel_size.is_some()
        || asked.pipeline_parallel_size.is_some()
        || asked.data_parallel_size.is_some();
    let parallel = match asked.split {
        _ if is_mixed => String::new(),
        Some(Split::Tensor) => format!(" --tensor-parallel-size {gpus}"),
        Some(Split::Layer) => format!(" --pipeline-parallel-size {gpus}"),
        None => String::new(),
    };
    let images = asked
        .images
        .map(|images| format!(" --limit-mm-per-prompt '{{\"image\": {images}, \"video\": 0}}'"));
    let eager = if asked.enforce_eager { " --enforce-eager" } else { "" };
    format!(
        "--max-model-len {length} --max-num-seqs {} --max-num-batched-tokens {} \
         {dtype}--kv-cache-dtype {kv} --gpu-memory-utilization {}{parallel}{eager}{}{}\n",
        asked.max_seqs.unwrap_or_else(|| batch(document)),
        chunk(document),
        shown(asked.gpu_memory_utilization.as_ref()),
        images.unwrap_or_default(),
        vllm_server(asked),
    )
}

/// `auto` is the model's own type for weights and cache (`srt/server_args.py`).
fn sglang(document: &Document) -> String {
    let asked = &document.deployment.resolved;
    let kv = if asked.kv.map(|kv| kv.keys) == Some(KvFormat::Fp8) { "fp8_e4m3" } else { "auto" };
    let dtype = if weights(document) == "f32" { "--dtype float32 " } else { "" };
    let [system, cached] = cached(document);
    let length = system.saturating_add(cached);
    let gpus = document.devices.len();
    let parallel = match asked.split {
        Some(Split::Tensor) => format!(" --tp-size {gpus}"),
        Some(Split::Layer) => format!(" --pp-size {gpus}"),
        None => String::new(),
    };
    let requests = asked.max_seqs.map(|seqs| format!(" --max-running-requests {seqs}"));
    let eager = if asked.enforce_eager { " --disable-cuda-graph" } else { "" };
    format!(
        "--context-length {length}{} --chunked-prefill-size {} {dtype}--kv-cache-dtype {kv} \
         --mem-fraction-static {}{parallel}{eager}\n",
        requests.unwrap_or_default(),
        chunk(document),
        shown(asked.mem_fraction_static.as_ref()),
    )
}

/// What a server is told besides, as `vllm serve` takes it.
fn vllm_server(asked: &Question) -> String {
    let mut flags = String::new();
    let gib = |size: Gibibytes| {
        // To the byte: sizes in GiB are fractions of two.
        #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
        let bytes = size.0.get() as f64;
        (bytes / f64::from(1u32 << 30)).to_string()
    };
    let numbers = [
        ("--tensor-parallel-size", asked.tensor_parallel_size),
        ("--pipeline-parallel-size", asked.pipeline_parallel_size),
        ("--data-parallel-size", asked.data_parallel_size),
        ("--decode-context-parallel-size", asked.decode_context_parallel_size),
        ("--block-size", asked.block_size),
        ("--max-cudagraph-capture-size", asked.max_cudagraph_capture_size),
        ("--optimization-level", asked.optimization_level),
        ("--kv-cache-memory-bytes", asked.kv_cache_memory_bytes.map(Bytes::get)),
    ];
    for (flag, value) in numbers {
        if let Some(value) = value {
            let _ = write!(flags, " {flag} {value}");
        }
    }
    let sizes = [
        ("--cpu-offload-gb", asked.cpu_offload_gb),
        ("--kv-offloading-size", asked.kv_offloading_size),
        ("--swap-space", asked.swap_space),
    ];
    for (flag, value) in sizes {
        if let Some(value) = value {
            let _ = write!(flags, " {flag} {}", gib(value));
        }
    }
    if asked.enable_expert_parallel {
        flags.push_str(" --enable-expert-parallel");
    }
    if asked.max_loras.is_some() || asked.max_lora_rank.is_some() {
        let slots = asked.max_loras.unwrap_or(LoraSlots::DEFAULT_SLOTS);
        let rank = asked.max_lora_rank.unwrap_or(LoraSlots::DEFAULT_RANK);
        let _ = write!(flags, " --enable-lora --max-loras {slots} --max-lora-rank {rank}");
    }
    if let Some(told) = speculative(asked).map(|told| told.to_string())
        && let Some(word) = shell_word(&told)
    {
        let _ = write!(flags, " --speculative-config {word}");
    }
    flags
}

/// `--speculative-config`.
fn speculative(asked: &Question) -> Option<serde_json::Value> {
    if let Some(ahead) = asked.mtp {
        return Some(serde_json::json!({"method": "mtp", "num_speculative_tokens": ahead}));
    }
    let name = asked.draft.as_deref()?;
    let (method, model) = match name.to_ascii_lowercase().as_str() {
        "eagle" => ("eagle", "PATH-OF-THE-HEAD"),
        "eagle3" => ("eagle3", "PATH-OF-THE-HEAD"),
        _ => ("draft_model", name),
    };
    Some(serde_json::json!({
        "method": method, "model": model, "num_speculative_tokens": asked.draft_tokens,
    }))
}

fn transformers(document: &Document, gpu: ComputeCapability) -> String {
    let asked = &document.deployment;
    let dtype = dtype(document, gpu);
    let attention = match asked.resolved.attention.unwrap_or(Attention::Sdpa) {
        Attention::Flash => "flash_attention_2",
        other => other.name(),
    };
    let map = if asked.resolved.split.is_some() { ", \"device_map\": \"auto\"" } else { "" };
    let mut text = String::new();
    if asked.resolved.expandable_segments {
        text.push_str("# The environment: PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True\n");
    }
    text.push_str("plan = {\n");
    let _ = writeln!(
        text,
        "    # AutoModelForCausalLM.from_pretrained(…)\n    \
         \"from_pretrained\": {{\"dtype\": \"{dtype}\", \"attn_implementation\": \"{attention}\"{map}}},"
    );
    if let Some(config) = bits_and_bytes(&weights(document), dtype) {
        let _ = writeln!(
            text,
            "    # from_pretrained(quantization_config=BitsAndBytesConfig(…))\n    \
             \"quantization_config\": {{{config}}},"
        );
    }
    text.push_str("    # model.generate(…)\n    \"generate\": {\n");
    if let Some(config) = asked.resolved.kv.and_then(|kv| quantized_cache(kv.keys)) {
        let _ = writeln!(
            text,
            "        \"cache_implementation\": \"quantized\",\n        \"cache_config\": {{{config}}},"
        );
    }
    let _ = writeln!(text, "        \"prefill_chunk_size\": {},\n    }},", chunk(document));
    let [system, cached] = cached(document);
    for (key, value) in [
        ("batch", batch(document)),
        ("system_tokens", system),
        ("max_cache_tokens", cached),
        ("recent_window", asked.recent_window),
    ] {
        let _ = writeln!(text, "    \"{key}\": {value},");
    }
    text + "}\n"
}

/// The format of the weights, wherever it is from.
fn weights(document: &Document) -> String {
    let asked = &document.deployment;
    let named = || shown(asked.resolved.weights.as_ref());
    asked.model.stored.clone().unwrap_or_else(named)
}

/// What activations are computed in: as weights or cache are, else in what the card has.
fn dtype(document: &Document, gpu: ComputeCapability) -> &'static str {
    const AMPERE: ComputeCapability = ComputeCapability { major: 8, minor: 0 };
    let named = |format: &str| match format {
        "f32" => Some("float32"),
        "f16" => Some("float16"),
        "bf16" => Some("bfloat16"),
        _ => None,
    };
    let weights = weights(document);
    let half = if gpu >= AMPERE { "bfloat16" } else { "float16" };
    named(&weights).or_else(|| named(&document.deployment.kv())).unwrap_or(half)
}

/// Arguments of `BitsAndBytesConfig`, for the formats that it makes.
fn bits_and_bytes(weights: &str, dtype: &str) -> Option<String> {
    if weights == "int8" {
        return Some("\"load_in_8bit\": True".to_owned());
    }
    let (kind, double) = match weights {
        "nf4" => ("nf4", "False"),
        "nf4-dq" => ("nf4", "True"),
        "fp4" => ("fp4", "False"),
        "fp4-dq" => ("fp4", "True"),
        _ => return None,
    };
    let arguments = [
        "\"load_in_4bit\": True".to_owned(),
        format!("\"bnb_4bit_quant_type\": \"{kind}\""),
        format!("\"bnb_4bit_use_double_quant\": {double}"),
        format!("\"bnb_4bit_compute_dtype\": \"{dtype}\""),
    ];
    let lines = arguments.iter().map(|argument| format!("\n        {argument},"));
    Some(lines.collect::<String>() + "\n    ")
}

/// Arguments of `QuantizedCache`, for the formats that it makes.
fn quantized_cache(kv: KvFormat) -> Option<String> {
    let (backend, bits, group) = match kv {
        KvFormat::Fp8 => return Some("\"backend\": \"fp8\"".to_owned()),
        KvFormat::Hqq { bits, group } => ("hqq", bits, group),
        KvFormat::Quanto { bits, group } => ("quanto", bits, group),
        _ => return None,
    };
    Some(format!(
        "\"backend\": \"{backend}\", \"nbits\": {bits}, \"q_group_size\": {group}, \
         \"residual_length\": 128"
    ))
}

fn env(document: &Document) -> Result<String, EmitError> {
    let asked = &document.deployment;
    let [system, cached] = cached(document);
    let numbers = [
        ("SYSTEM_TOKENS", system),
        ("MAX_CACHE_TOKENS", cached),
        ("RECENT_WINDOW", asked.recent_window),
        ("PREFILL_CHUNK", chunk(document)),
        ("BATCH", batch(document)),
        ("CONTEXT", asked.number(|asked| asked.context)),
    ];
    let names = [
        ("RUNTIME", asked.runtime()),
        ("WEIGHTS", weights(document)),
        ("KV", asked.kv()),
        ("ATTENTION", shown(asked.resolved.attention.as_ref())),
    ];
    let mut text = String::new();
    if let Some(split) = asked.resolved.split {
        let gpus: Vec<_> = document.devices.iter().map(|device| device.gpu.as_str()).collect();
        let _ = writeln!(text, "VRAMPLAN_GPUS={}", quoted(&gpus.join(","))?);
        let _ = writeln!(text, "VRAMPLAN_SPLIT={split}");
    }
    for (name, value) in numbers {
        let _ = writeln!(text, "VRAMPLAN_{name}={value}");
    }
    for (name, value) in names {
        let _ = writeln!(text, "VRAMPLAN_{name}={}", quoted(&value)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_named_as_transformers_does() {
        let hqq =
            "\"backend\": \"hqq\", \"nbits\": 8, \"q_group_size\": 64, \"residual_length\": 128";
        assert_eq!(quantized_cache("hqq8".parse().unwrap()).as_deref(), Some(hqq));
        let quanto = hqq.replace("hqq", "quanto").replace('8', "2").replace("64", "32");
        assert_eq!(
            quantized_cache("quanto2-g32".parse().unwrap()),
            Some(quanto.replace("122", "128"))
        );
        assert_eq!(quantized_cache("bf16".parse().unwrap()), None);
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("models/a-Q4_K_M.gguf").unwrap(), "models/a-Q4_K_M.gguf");
        assert_eq!(quoted("it's").unwrap(), "\"it's\"");
        assert_eq!(quoted("").unwrap(), "''");
        assert!(matches!(quoted("a\0"), Err(EmitError::Unprintable { .. })));
    }
}
