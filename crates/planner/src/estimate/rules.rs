//! What a runtime's room has to say: the one seam between the shared ground and the runtimes.

use std::str::FromStr;

use super::placement::{PlacementError, Room, Spread};
use super::weights::TensorRule;
use super::{Buffers, EstimateError, Pool, Retention, Scenario};
use crate::dtype::{KvFormat, WeightFormat};
use crate::spec::{
    AskedShare, Attention, Drafter, GpuSpec, Headroom, Layer, Logits, MOST_SEQUENCES, Maker, Media,
    ModelSpec, Part, RuntimeOptions, Server, Split, Workload,
};
use crate::units::Bytes;

/// What a runtime is asked for where nothing is said: what the runtime itself does then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// Format of the weights.
    pub weights: WeightFormat,
    /// Format of keys and values.
    pub kv: KvFormat,
    /// How attention is computed.
    pub attention: Attention,
    /// Tokens of a prefill step.
    pub prefill_chunk: u64,
    /// Positions that get logits.
    pub logits: Logits,
    /// Whether caches grow by concatenation.
    pub grown_cache: bool,
    /// How a model is spread over several GPUs.
    pub split: Split,
    /// Tokens of a pinned system prompt, where the context has room for twice that.
    pub pinned_prompt: u64,
}

impl Defaults {
    /// Tokens of the pinned system prompt in a context of so many.
    pub const fn system_tokens(&self, context: u64) -> u64 {
        if context / 2 >= self.pinned_prompt { self.pinned_prompt } else { 0 }
    }
}

/// Formats that advice may offer, smallest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladders {
    /// What weights may be held as.
    pub weights: Vec<WeightFormat>,
    /// What keys and values may be held as.
    pub kv: Vec<KvFormat>,
    /// What to use in place of a materialised score matrix.
    pub without_scores: Option<Attention>,
}

/// What a question says of a runtime's own options, where it says anything, and what defaults of such options follow from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// Tokens of a prefill step.
    pub prefill_chunk: Option<u64>,
    /// Images of a prompt; 0 for the language model alone.
    pub images: Option<u64>,
    /// GPUs.
    pub gpus: u64,
    /// What other processes hold of each.
    pub others: Bytes,
    /// Its version.
    pub version: Option<&'a str>,
    /// Sequences that it may process together.
    pub max_seqs: Option<u64>,
    /// Its share of a card.
    pub share: Option<AskedShare>,
    /// GPUs that every layer is split over.
    pub ranks: u64,
    /// Whether nothing is to be compiled or captured.
    pub eager: bool,
    /// Whether `PyTorch`'s allocator is to map pages to segments that grow.
    pub expandable_segments: bool,
    /// The longest sequence that a server is told to serve.
    pub max_model_len: u64,
    /// Whether it is to take the longest of those that its pool holds.
    pub fits_length: bool,
    /// Tokens that a pool is to have at most.
    pub max_total_tokens: Option<u64>,
    /// What else a server is told.
    pub server: Server,
    /// What prompts may have beside text.
    pub media: Media,
}

impl Asked<'_> {
    /// The version asked for; the newest where none is.
    ///
    /// # Errors
    /// With a message where there is no such version.
    pub fn version<V: FromStr<Err = String> + Default>(&self) -> Result<V, String> {
        self.version.map_or_else(|| Ok(V::default()), str::parse)
    }
}

/// What a run follows from that a program starts by itself.
#[derive(Clone, Copy, Debug)]
pub struct AutomaticAsked<'a> {
    /// The program's options.
    pub options: &'a RuntimeOptions,
    /// The model.
    pub model: &'a ModelSpec,
    /// The size of its file.
    pub file: Bytes,
    /// Tokens of all sequences' contexts together.
    pub context: u64,
    /// How attention is computed.
    pub attention: Attention,
    /// The cards, and what is free of each.
    pub cards: &'a [(&'a GpuSpec, Bytes)],
}

/// What a program settles by itself before it starts a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Automatic {
    /// Tokens of a batch and of a micro-batch, where none are given.
    pub batch: u64,
    /// The one card that it takes, where it takes one of several.
    pub card: Option<usize>,
}

/// Values that an option may have, and how a message lists them.
#[derive(Clone, Copy, Debug)]
pub struct Choices<T: 'static> {
    /// The values.
    pub allowed: &'static [T],
    /// "`flash` or `eager`".
    pub expected: &'static str,
}

/// What a runtime calls what its pool follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolWords {
    /// The flag of its share of a card.
    pub share: &'static str,
    /// What the longest sequence is, in its messages.
    pub longest: &'static str,
    /// What it calls a part of the pool that is given out as one.
    pub block: &'static str,
    /// Whether it dies later where its share is too large, and does not look whether that is free when it starts.
    pub has_two_ends: bool,
}

/// An engine's own names of what every plan has, all of which the command takes, too.
#[derive(Clone, Copy, Debug)]
pub struct OwnFlags {
    /// Tokens of a prefill step.
    pub chunk: &'static str,
    /// The flag of the format of keys and values, with this one.
    pub kv: fn(KvFormat) -> String,
}

/// Something that an engine does not run although it can be planned, and what it runs instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for: "models of the family `gemma3`".
    pub what: String,
    /// What would be run: "`--batch 1`".
    pub expected: String,
}

/// What servers may be told, as flags of the command.
pub const SERVER_FLAGS: [&str; 24] = [
    "--limit-mm-per-prompt",
    "--language-model-only",
    "--skip-mm-profiling",
    "--max-pixels",
    "--max-loras",
    "--max-lora-rank",
    "--draft-tokens",
    "--cpu-offload-gb",
    "--kv-offloading-size",
    "--swap-space",
    "--kv-cache-memory-bytes",
    "--block-size",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    "--max-cudagraph-capture-size",
    "--optimization-level",
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--data-parallel-size",
    "--enable-expert-parallel",
    "--decode-context-parallel-size",
    "--mamba-ssm-cache-dtype",
    "--enable-dp-attention",
    "--max-total-tokens",
];

/// A runtime: one folder of this module implements it for each.
pub trait RuntimeRules: Sync {
    /// Ways to compute attention.
    fn attention(&self) -> Choices<Attention>;

    /// Whether caches may be in this format.
    fn takes_kv(&self, kv: KvFormat) -> bool;

    /// How a message lists the formats of caches.
    fn expected_kv(&self) -> &'static str;

    /// What it does where nothing is said.
    fn defaults(&self, model: &ModelSpec, gpu: &GpuSpec) -> Defaults;

    /// What it does with a model's own weights that this GPU cannot compute with, where its default is another format
    /// therefore.
    fn expands(&self, model: &ModelSpec, gpu: &GpuSpec) -> Option<String> {
        let _ = (model, gpu);
        None
    }

    /// Why it refuses weights of this format on this GPU, which is planned all the same.
    fn refuses(&self, weights: WeightFormat, gpu: &GpuSpec) -> Option<String> {
        let _ = (weights, gpu);
        None
    }

    /// What of a model it leaves in 16 bits that others quantize in this format.
    fn leaves_wide(
        &self,
        _model: &ModelSpec,
        _format: WeightFormat,
        _options: &RuntimeOptions,
    ) -> Option<String> {
        None
    }

    /// Its options as they are asked for. What another runtime has was refused before.
    ///
    /// # Errors
    /// With a message where it has no such version.
    fn options(&self, asked: &Asked<'_>, gpu: &GpuSpec) -> Result<RuntimeOptions, String>;

    /// Whether segments of `PyTorch`'s allocator that grow can be planned.
    fn takes_expandable_segments(&self) -> bool {
        false
    }

    /// The options with segments of `PyTorch`'s allocator that grow, where that is worth advice: they do not
    /// and can be planned so.
    fn with_expandable_segments(&self, options: &RuntimeOptions) -> Option<RuntimeOptions> {
        let _ = options;
        None
    }

    /// What it calls its share of the card and its pool's parts, where it has such.
    fn pool_words(&self) -> PoolWords {
        PoolWords {
            share: "--gpu-memory-utilization",
            longest: "max_model_len",
            block: "blocks",
            has_two_ends: false,
        }
    }

    /// What it calls what advice changes: vramplan's own flags where an engine has none.
    fn own_flags(&self) -> OwnFlags {
        OwnFlags { chunk: "--prefill-chunk", kv: |kv| format!("--kv {kv}") }
    }

    /// Tokens of a prefill step where none are given and its options say more than [`Defaults`] know.
    fn prefill_chunk(&self, options: &RuntimeOptions, gpu: &GpuSpec, context: u64) -> Option<u64> {
        let _ = (options, gpu, context);
        None
    }

    /// What is to stay free of a card.
    fn headroom(&self) -> Headroom {
        Headroom::Default
    }

    /// What advice may offer.
    fn ladders(&self) -> Ladders;

    /// Refuses what no formula covers beside attention and cache formats: versions, families, layers.
    ///
    /// # Errors
    /// With the option at fault and why.
    fn check(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError>;

    /// Whether the engine runs a model, in some format.
    fn runs(&self, _model: &ModelSpec) -> bool {
        true
    }

    /// Whether it runs on GPUs of this maker.
    fn runs_on(&self, maker: Maker) -> bool {
        maker.is_nvidia()
    }

    /// The most sequences that it processes together.
    fn most_sequences(&self, options: &RuntimeOptions) -> u64 {
        let told = options.serving().map(|serving| serving.max_seqs);
        let told = told.or(options.token_serving().and_then(|serving| serving.max_requests));
        told.unwrap_or(MOST_SEQUENCES)
    }

    /// Refuses images in prompts where the encoder is not modelled.
    ///
    /// # Errors
    /// As [`RuntimeRules::check`].
    fn check_images(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError>;

    /// Whether it runs GGUF files of every architecture, known here or not.
    fn runs_every_file(&self) -> bool {
        false
    }

    /// What each layer keeps there: by the model's configuration, or by what its GGUF file says, which knows fewer
    /// windows.
    fn layers<'a>(&self, model: &'a ModelSpec) -> &'a [Layer] {
        &model.layers
    }

    /// How it holds tensors.
    fn tensors(&self) -> &dyn TensorRule;

    /// Whether it loads a vision tower with the model where nothing is said about images.
    fn loads_tower(&self) -> bool;

    /// What its allocator does with memory that a moment no longer needs.
    fn retention(&self) -> Retention;

    /// Lists everything that a run holds, and says what of it the pool is, where it has one.
    ///
    /// # Errors
    /// Where the scenario cannot be planned.
    fn push(
        &self,
        buffers: &mut Buffers,
        scenario: &Scenario<'_>,
    ) -> Result<Option<Pool>, EstimateError>;

    /// What each of two or more GPUs gets of a model, one part for each of `rooms`.
    ///
    /// # Errors
    /// Where it cannot spread a model so.
    fn place(&self, spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError>;

    /// What of a question the engine behind this runtime does not run, although it can be planned: vramplan's own
    /// plans an engine of its design for any family.
    fn refusal(&self, model: &ModelSpec, workload: &Workload, kv: KvFormat) -> Option<Refusal> {
        let _ = (model, workload, kv);
        None
    }

    /// Whether a conversation cache can be evicted by attention mass: other runtimes shift or stop.
    fn evicts(&self) -> bool {
        false
    }

    /// Whether its cache can grow by concatenation, rather than be allocated at full size.
    fn grows_cache(&self) -> bool {
        false
    }

    /// Whether activations can be captured.
    fn captures(&self) -> bool {
        false
    }

    /// Layers of a capture that are counted with the last layer's own buffers: hidden states, attention weights.
    fn captured_beside(&self) -> [u64; 2] {
        [0, 0]
    }

    /// Tokens by which its cache grows: where one more of them may fit although one token more does not.
    fn cache_step(&self) -> Option<u64> {
        None
    }

    /// The flags of [`SERVER_FLAGS`] that it has, if it is a server that is told what [`Server`] lists.
    fn server_flags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it is such a server.
    fn is_server(&self) -> bool {
        !self.server_flags().is_empty()
    }

    /// Tokens that are predicted ahead by this where nothing is said of their number, if it starts then.
    fn tokens_ahead(&self, _model: &ModelSpec, _drafter: Drafter) -> Option<u64> {
        None
    }

    /// What the tokens of a block of its pool are a multiple of, where they may be chosen.
    fn block_step(&self) -> u64 {
        1
    }

    /// The attention that a release runs by itself, where it is not that of [`Self::defaults`].
    fn own_attention(&self, _options: &RuntimeOptions, _model: &ModelSpec) -> Option<Attention> {
        None
    }

    /// The context that it takes where none is given, on cards that have so much memory together, where that is neither the
    /// model's nor what fits.
    fn own_context(
        &self,
        _options: &RuntimeOptions,
        _model: &ModelSpec,
        _total: Bytes,
    ) -> Option<u64> {
        None
    }

    /// Whether it runs one sequence of this model at a time, whatever it is told.
    fn runs_one_sequence(&self, _model: &ModelSpec) -> bool {
        false
    }

    /// Whether slots that are asked for share one cache unless that is refused; otherwise each has its own.
    fn shares_slots(&self) -> bool {
        true
    }

    /// What it settles by itself once the model, the context and the cards are known.
    fn automatic(&self, _asked: &AutomaticAsked<'_>) -> Option<Automatic> {
        None
    }

    /// The release that is planned where none is named, of a program that has newer ones which were not read.
    fn newest_read(&self) -> Option<String> {
        None
    }

    /// What has to be said of these options before anything else.
    fn remark(&self, _options: &RuntimeOptions) -> Option<String> {
        None
    }

    /// Whether it decides itself what goes to main memory where everything does not fit, with no flags for experts.
    fn places_itself(&self) -> bool {
        false
    }

    /// Whether an encoder that a model has is loaded beside it where nothing is said of that.
    fn loads_encoder(&self) -> bool {
        false
    }

    /// Whether a context that is given is planned whole, rather than the most of it that fits: the engine allocates it, or
    /// runs out of memory on the way to it.
    fn plans_given_context(&self) -> bool {
        false
    }

    /// Whether layers, tensors and caches can be placed one by one, in main memory too.
    fn places_tensors(&self) -> bool {
        false
    }

    /// Tokens of the newest part of a cache that it cannot do without: vramplan's chunk is written there.
    fn needs_window_of_chunk(&self) -> bool {
        false
    }
}
