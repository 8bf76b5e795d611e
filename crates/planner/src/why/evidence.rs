//! What a log says, whichever engine wrote it.

use super::Printed;
pub use super::failure::{Failure, FailureKind, Killed, Killer, TorchError};
use crate::deployment::Question;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// The program that wrote a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Engine {
    /// `nvidia-smi`.
    #[serde(rename = "nvidia-smi")]
    NvidiaSmi,
    /// The kernel, or systemd.
    #[serde(rename = "linux")]
    Linux,
    /// Ray, under whatever runs on it.
    #[serde(rename = "ray")]
    Ray,
    /// Any program on `PyTorch`: transformers, accelerate, bitsandbytes.
    #[serde(rename = "pytorch")]
    PyTorch,
    /// MLX and what is built on it.
    #[serde(rename = "mlx")]
    Mlx,
    /// llama.cpp.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// `LMDeploy`.
    #[serde(rename = "lmdeploy")]
    LmDeploy,
    /// `ExLlama`, 2 and 3, and `TabbyAPI`.
    #[serde(rename = "exllama")]
    ExLlama,
    /// `TensorRT-LLM`.
    #[serde(rename = "tensorrt-llm")]
    TensorRtLlm,
    /// vLLM.
    #[serde(rename = "vllm")]
    Vllm,
    /// Text Generation Inference, which brings kernels of vLLM along.
    #[serde(rename = "tgi")]
    Tgi,
    /// `SGLang`.
    #[serde(rename = "sglang")]
    Sglang,
    /// `KoboldCpp`, around llama.cpp.
    #[serde(rename = "koboldcpp")]
    KoboldCpp,
    /// LM Studio, around llama.cpp.
    #[serde(rename = "lm-studio")]
    LmStudio,
    /// Ollama, around llama.cpp.
    #[serde(rename = "ollama")]
    Ollama,
}

impl Engine {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NvidiaSmi => "nvidia-smi",
            Self::Linux => "linux",
            Self::PyTorch => "pytorch",
            Self::Ray => "ray",
            Self::Mlx => "mlx",
            Self::LlamaCpp => "llama.cpp",
            Self::LmDeploy => "lmdeploy",
            Self::ExLlama => "exllama",
            Self::TensorRtLlm => "tensorrt-llm",
            Self::Vllm => "vllm",
            Self::Tgi => "tgi",
            Self::Sglang => "sglang",
            Self::KoboldCpp => "koboldcpp",
            Self::LmStudio => "lm-studio",
            Self::Ollama => "ollama",
        }
    }

    /// The runtime that plans it, by its name; whether this version of the planner has it is the parser's to say.
    pub const fn runtime(self) -> Option<&'static str> {
        match self {
            Self::NvidiaSmi
            | Self::Linux
            | Self::Ray
            | Self::Mlx
            | Self::LmDeploy
            | Self::ExLlama
            | Self::TensorRtLlm
            | Self::Tgi => None,
            Self::PyTorch => Some("transformers"),
            Self::LlamaCpp | Self::KoboldCpp | Self::LmStudio => Some("llama.cpp"),
            Self::Ollama => Some("ollama"),
            Self::Vllm => Some("vllm"),
            Self::Sglang => Some("sglang"),
        }
    }
}

/// What runs models with `PyTorch` and has settings of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// diffusers, in a script.
    Diffusers,
    /// `ComfyUI`.
    ComfyUi,
}

/// Where memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the card of this number.
    Card(u64),
    /// On a card, or on all of them: the log does not say which.
    Cards,
    /// In main memory.
    Host,
}

/// What memory is for, in the engines' own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TermKind {
    /// Weights.
    Weights,
    /// Keys and values.
    Cache,
    /// States of recurrent layers.
    State,
    /// What a pass computes: llama.cpp's compute buffer.
    Compute,
    /// Logits and embeddings that llama.cpp hands out.
    Output,
    /// An encoder of images.
    Encoder,
    /// The peak of activations that vLLM's profile run saw.
    Activations,
    /// What a process holds outside of `PyTorch`'s allocator.
    NonTorch,
    /// Weights, and what a process holds outside of `PyTorch`'s allocator: what vLLM has consumed from 0.27 on.
    Consumed,
    /// CUDA graphs.
    Graphs,
    /// Tensors of `PyTorch`.
    Allocated,
    /// What `PyTorch` keeps and does not use.
    Unallocated,
    /// Pools of CUDA graphs within what is allocated.
    PrivatePools,
}

impl TermKind {
    /// The name in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Cache => "keys and values",
            Self::State => "recurrent states",
            Self::Compute => "compute buffer",
            Self::Output => "output buffer",
            Self::Encoder => "image encoder",
            Self::Activations => "activations",
            Self::NonTorch => "outside of PyTorch",
            Self::Consumed => "weights and outside of PyTorch",
            Self::Graphs => "CUDA graphs",
            Self::Allocated => "PyTorch's tensors",
            Self::Unallocated => "kept by PyTorch, unused",
            Self::PrivatePools => "pools of CUDA graphs",
        }
    }
}

/// A size that a log states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// What for.
    pub kind: TermKind,
    /// Where.
    pub place: Place,
    /// How much, as it is printed.
    pub size: Printed,
    /// Whether the engine only expects it; otherwise it was allocated or measured.
    pub estimated: bool,
    /// In which line.
    pub line: u64,
}

/// A card as a log names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardSeen {
    /// Its number.
    pub index: u64,
    /// The driver's name for it.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it has.
    pub total: Option<Bytes>,
    /// What was free when the run began.
    pub free: Option<Bytes>,
    /// What was in use, where only that is told.
    pub used: Option<Bytes>,
    /// Whether the engine says that it uses it.
    pub in_use: bool,
}

/// A process that holds memory of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: Option<u64>,
    /// Its name.
    pub name: Option<String>,
    /// How much.
    pub size: Bytes,
    /// Of which card.
    pub card: Option<u64>,
    /// In which line.
    pub line: u64,
}

/// A run of an engine, from its beginning to its end or the next one's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episode {
    /// Where nothing was left for the cache, which ends a start.
    pub no_room: Option<Failure>,
    /// Sizes.
    pub terms: Vec<Term>,
    /// Sizes that Ollama states as it deals out layers: allocated where its own engine loads the model, expected where
    /// llama.cpp does, which then prints what it allocates.
    pub(super) layout: Vec<Term>,
    /// Whether Ollama itself decides how many layers are on cards.
    pub(super) layers_are_free: bool,
    /// That layers were put into main memory, which ends no run.
    pub(super) on_host: Option<Failure>,
    /// Failures.
    pub failures: Vec<Failure>,
    /// What is known of the settings.
    pub question: Question,
    /// Contexts that were begun.
    pub contexts: u64,
    /// Whether weights were begun to be loaded.
    pub loads: bool,
    /// Whether the breakdown that was last printed is one of a fit, before anything is allocated.
    pub trial: bool,
    /// Where Vulkan says that a buffer is larger than it gives at all.
    pub over_limit: Option<u64>,
    /// Whether CUDA graphs are being captured.
    pub captures: bool,
    /// Whether Python told of an error.
    pub raised: bool,
    /// What a line says that the engine failed by, which is no want of memory; and which line.
    pub stopped: Option<String>,
    /// The line of it.
    pub stopped_in: Option<u64>,
    /// A line that speaks of memory that ran out, in words that no grammar knows: its number, and what it says, safe to print.
    pub hinted: Option<(u64, String)>,
    /// Where vLLM begins to allocate the tensors of its cache.
    pub pools: Option<u64>,
    /// Whether the lines are those of llama.cpp of before mid-2025, where their form tells.
    pub is_old: Option<bool>,
    /// What Metal has given, and the most that it recommends.
    pub working_set: Option<(Printed, Printed)>,
    /// Whether it came to serve.
    pub serves: Option<u64>,
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Lines that were read.
    pub lines: u64,
    /// Lines of which only the beginning was looked at.
    pub cut_lines: u64,
    /// Whether there was more than is read.
    pub cut: bool,
    /// The program, and the line that tells it.
    pub engine: Option<(Engine, u64)>,
    /// Its version as it prints it.
    pub version: Option<String>,
    /// The driver's version, as it is printed.
    pub driver: Option<String>,
    /// Names of the model, safe to print, the surest first.
    pub models: Vec<String>,
    /// Names of the models that it was tuned from, as its file has them.
    pub bases: Vec<String>,
    /// The format of its weights as it is printed.
    pub format: Option<String>,
    /// The size of the model's file, as llama.cpp prints it.
    pub file_size: Option<Printed>,
    /// Layers and width of the model, by which a profile is checked.
    pub shape: (Option<u64>, Option<u64>),
    /// Cards.
    pub cards: Vec<CardSeen>,
    /// Processes that hold memory of them.
    pub holders: Vec<Holder>,
    /// What around the engine takes settings of its own.
    pub around: Option<Around>,
    /// Whether lines are those of a script, which loads or trains a model itself.
    pub is_script: bool,
    /// The share of the card that `SGLang`'s weights and cache may take.
    pub static_share: Option<String>,
    /// Numbers of the run that belong to no term: tokens of the cache, free memory.
    pub counts: Counts,
    /// The run that counts: the last that failed, else the last.
    pub run: Episode,
    /// Runs before it that failed.
    pub earlier: u64,
    /// A later run that did not fail begins in this line.
    pub recovered: Option<u64>,
    /// The run that is read, and the last one before it that failed.
    pub(super) failed: Option<Episode>,
}

/// Numbers that are no sizes of buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens that the cache holds, as the engine counts them.
    pub cache_tokens: Option<u64>,
    /// What an engine says is left for the cache; less than nothing where that is set.
    pub cache_left: Option<(Printed, bool)>,
    /// What `SGLang` found free before it loaded.
    pub free_before: Option<Printed>,
    /// What it found free after it.
    pub free_after: Option<Printed>,
    /// What llama.cpp's fitting expects the run to take, and what is free.
    pub projected: Option<(Printed, Printed)>,
}

/// Most entries of each kind that are kept.
const MOST: usize = 4096;

/// Most failures, cards and names.
const MOST_FEW: usize = 128;

impl Evidence {
    /// The log is of this engine: a more particular one than was known counts.
    pub fn is(&mut self, engine: Engine, line: u64) {
        match self.engine {
            Some((known, _)) if known >= engine => {}
            _ => self.engine = Some((engine, line)),
        }
    }

    /// Adds a size; one that is stated again is one.
    pub fn term(&mut self, term: Term) {
        if self.run.terms.len() < MOST {
            self.run.terms.push(term);
        }
    }

    /// Adds a failure.
    pub fn fail(&mut self, failure: Failure) {
        if self.run.failures.len() < MOST_FEW {
            self.run.failures.push(failure);
        }
    }

    /// Adds that the cache was full, which is told again and again.
    pub fn cache_full(&mut self, failure: Failure) {
        let is = |known: &Failure| matches!(known.kind, FailureKind::CacheFull { .. });
        if !self.run.failures.iter().any(is) {
            self.fail(failure);
        }
    }

    /// A name of the model; the first that is given is the surest.
    pub fn name(&mut self, name: &str) {
        // The end of a long path is what tells the model.
        let name = crate::text::printable_message(name.trim());
        if !name.is_empty() && self.models.len() < MOST_FEW && !self.models.contains(&name) {
            self.models.push(name);
        }
    }

    /// The card of a number, which may be a new one.
    pub fn card(&mut self, index: u64) -> Option<&mut CardSeen> {
        if let Some(at) = self.cards.iter().position(|card| card.index == index) {
            return self.cards.get_mut(at);
        }
        if self.cards.len() >= MOST_FEW {
            return None;
        }
        self.cards.push(CardSeen { index, ..CardSeen::default() });
        self.cards.last_mut()
    }

    /// Adds a process that holds memory.
    pub fn holder(&mut self, holder: Holder) {
        if self.holders.len() < MOST_FEW {
            self.holders.push(holder);
        }
    }

    /// Weights are loaded from here on: a run begins where one before it failed.
    pub fn begin(&mut self, line: u64) {
        if self.run.failures.iter().all(|failure| failure.went_on) {
            self.run.serves = None;
            return;
        }
        let question = self.run.question.clone();
        let failed = std::mem::replace(&mut self.run, Episode { question, ..Episode::default() });
        self.earlier = self.earlier.saturating_add(1);
        self.failed = Some(failed);
        self.recovered = Some(line);
        self.counts = Counts::default();
    }

    /// The log has ended: where its last run did not fail, one before it that did is told.
    pub fn finish(&mut self) {
        self.settle();
        self.run.take_layout();
        let on_host = self.run.on_host.take();
        if let Some(failure) = on_host.filter(|_| self.run.failures.is_empty()) {
            self.fail(failure);
        }
    }
}

impl Evidence {
    /// Whether nothing is known but `PyTorch`'s message: whether a script or a server wrote it is not told.
    pub fn is_message_alone(&self) -> bool {
        let is_torch = self.engine.is_some_and(|(engine, _)| engine == Engine::PyTorch);
        is_torch && self.around.is_none() && self.models.is_empty() && !self.is_script
    }

    /// The run to tell of, where the log has ended: the last that failed, else the last.
    fn settle(&mut self) {
        // It stops there, also where the log was cut before it says so.
        let no_room = self.run.no_room.take().filter(|_| self.run.serves.is_none());
        if let Some(failure) = no_room.filter(|_| self.run.failures.is_empty()) {
            self.fail(failure);
        }
        let failed = self.run.failures.iter().any(|failure| !failure.went_on);
        match self.failed.take() {
            Some(last) if !failed => {
                let went_well = self.run.serves.is_some();
                self.run = last;
                self.earlier = self.earlier.saturating_sub(1);
                self.recovered = self.recovered.filter(|_| went_well);
            }
            _ => self.recovered = None,
        }
    }
}

impl Episode {
    /// What Ollama stated counts as allocated, unless llama.cpp loaded the model.
    fn take_layout(&mut self) {
        let estimated = self.loads;
        let layout = std::mem::take(&mut self.layout);
        self.terms.extend(layout.into_iter().map(|term| Term { estimated, ..term }));
        self.terms.sort_by_key(|term| term.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_particular_engine_counts() {
        let mut evidence = Evidence::default();
        for engine in [Engine::LlamaCpp, Engine::Ollama, Engine::PyTorch, Engine::LlamaCpp] {
            evidence.is(engine, 1);
        }
        assert_eq!(evidence.engine, Some((Engine::Ollama, 1)));
    }
}
