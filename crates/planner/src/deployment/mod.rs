//! The question, once as it is given and once as it is resolved.
//!
//! [`Question`] has a key for everything that can be said, each of which may be missing. [`resolve`] finds the model,
//! the cards and the runtime, puts the runtime's own [defaults](crate::estimate::rules::Defaults) where the question
//! is silent, and refuses what no plan can be made of: the [`Deployment`].

mod automatic;
mod beside;
mod card_names;
mod cards;
mod command_line;
mod config_file;
mod defaults;
mod error;
mod instances;
mod launch;
mod limits;
mod llama_flags;
mod manifest;
mod modelfile;
mod origin;
mod question;
mod resolved;
mod seen;
mod served;
mod server;
mod siblings;
mod speculation;
mod text;
mod vllm_numbers;

use std::sync::Arc;

use crate::dtype::{FileType, KvFormat, KvPair, WeightFormat};
use crate::estimate::rules;
use crate::read::{self, Catalog, Files};
use crate::spec::{
    Headroom, Launch, ModelSpec, Runtime, RuntimeOptions, RuntimeSpec, Split, SplitMode, Workload,
};
use crate::units::Bytes;

pub use cards::{Card, Cards, LocalCard, are_cards, card_on, cards};
pub use command_line::{Recognised, recognise};
pub use config_file::flags_of;
pub use defaults::{runtime_asked, runtime_of};
pub use error::DeploymentError;
pub use launch::main_memory;
pub use limits::{MOST_GPUS, MOST_IMAGES, MOST_SEQUENCES, MOST_TOKENS};
pub use manifest::{Engine, Given, ManifestError, Wanted, manifest};
pub use modelfile::modelfile;
pub use origin::{Form, Origin, OriginKind};
pub use question::{CacheAllocation, CaptureLayers, Question};
pub use seen::{Seen, seen};
pub use served::{Served, Unread, changes_no_memory, is_program, served};
pub use vllm_numbers::vllm_number;

/// How large the conversation cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSize {
    /// So many tokens.
    Fixed(u64),
    /// As large as fits.
    Solve,
}

impl CacheSize {
    /// The size, where it is given.
    pub const fn fixed(self) -> Option<u64> {
        match self {
            Self::Fixed(tokens) => Some(tokens),
            Self::Solve => None,
        }
    }
}

/// A model on cards under a runtime, doing some work: a question with everything in it. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// What was asked, as it was given.
    pub given: Arc<Question>,
    /// What is planned in the place of what was asked, because the program does that, and what it refuses to run.
    pub replaced: Vec<String>,
    /// The model.
    pub model: Arc<ModelSpec>,
    /// The model's file, where it is one.
    pub file: Option<Arc<str>>,
    /// Where the model is from, where its name does not say.
    pub origin: Option<Arc<Origin>>,
    /// The GPUs, in the order in which the model is spread over them.
    pub cards: Cards,
    /// Main memory, where layers and tensors may be.
    pub host: Arc<Card>,
    /// The size of main memory, where it is known.
    pub ram: Option<Bytes>,
    /// The runtime: its options and its constants.
    pub runtime: Arc<RuntimeSpec>,
    /// The format of the weights.
    pub weights: WeightFormat,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// The work.
    pub workload: Workload,
    /// How large the conversation cache is.
    pub cache: CacheSize,
    /// How the model is spread over several GPUs.
    pub split: Split,
    /// What is to stay free of every card.
    pub headroom: Headroom,
    /// Tokens a second that generation must be able to reach.
    pub min_decode_speed: Option<f64>,
    /// The next smaller and the next larger model of the family, for advice.
    pub siblings: Arc<[Arc<ModelSpec>]>,
}

/// What a question names, found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The model.
    pub model: Arc<ModelSpec>,
    /// The model's file, where it is one.
    pub file: Option<Arc<str>>,
    /// The runtime's constants.
    pub runtime: Arc<RuntimeSpec>,
    /// The GPUs.
    pub cards: Cards,
    /// Models of the same family in other sizes.
    pub siblings: Arc<[Arc<ModelSpec>]>,
}

/// Resolves a question: finds what it names, by profile or by file, and fills in what it leaves out. `local` is the
/// card of this machine, where `--gpu auto` asks for it.
///
/// ```
/// use vramplan_planner::deployment::{Question, resolve};
/// use vramplan_planner::read::{Catalog, MemoryFiles};
///
/// let question: Question = toml::from_str("gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'vllm'").unwrap();
/// let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
/// assert_eq!(found.workload.prefill_chunk, 2048);
/// ```
///
/// # Errors
/// Where something is missing, not found, out of range, or refused by the runtime.
pub fn resolve(
    question: &Question,
    catalog: &Catalog,
    files: &dyn Files,
    local: Option<&LocalCard>,
) -> Result<Deployment, DeploymentError> {
    let model = question.model.as_deref().ok_or_else(error::no_model)?;
    let runtime = defaults::runtime_asked(question, model, catalog, files);
    let cards = cards::cards(question, runtime, catalog, local)?;
    resolve_on(question, catalog, files, cards)
}

/// The same on these cards, whatever the question says of them.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_on(
    question: &Question,
    catalog: &Catalog,
    files: &dyn Files,
    cards: Cards,
) -> Result<Deployment, DeploymentError> {
    let name = question.model.as_deref().ok_or_else(error::no_model)?;
    let model = || Ok(Arc::new(read::model(files, name, catalog)?));
    with_model(question, (catalog, files), cards, model)
}

/// [`resolve`] about a model that was read before: where a plan is asked for again and again.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_model(
    question: &Question,
    model: &Arc<ModelSpec>,
    catalog: &Catalog,
    files: &dyn Files,
) -> Result<Deployment, DeploymentError> {
    let name = question.model.as_deref().ok_or_else(error::no_model)?;
    let runtime = defaults::runtime_asked(question, name, catalog, files);
    let cards = cards::cards(question, runtime, catalog, None)?;
    with_model(question, (catalog, files), cards, || Ok(Arc::clone(model)))
}

fn with_model(
    question: &Question,
    (catalog, files): (&Catalog, &dyn Files),
    cards: Cards,
    model: impl FnOnce() -> Result<Arc<ModelSpec>, DeploymentError>,
) -> Result<Deployment, DeploymentError> {
    let name = question.model.as_deref().ok_or_else(error::no_model)?;
    let runtime = defaults::runtime_asked(question, name, catalog, files);
    let runtime = Arc::new(catalog.runtime(runtime)?);
    let model = model()?;
    let file = files.is_file(name.as_ref()).then(|| Arc::from(name));
    let siblings = siblings::siblings(&model, catalog);
    let found = Found { model, file, runtime, cards, siblings };
    Deployment::new(question.clone(), found)?.beside(question, catalog, files)
}

/// MXFP4 by the name that it has in files: their experts are in it, and what is not is in 8 bits.
fn in_files(kind: Runtime, weights: WeightFormat) -> WeightFormat {
    match weights {
        WeightFormat::Mxfp4 if rules(kind).places_tensors() => {
            WeightFormat::Gguf(FileType::Mxfp4Moe)
        }
        weights => weights,
    }
}

impl Deployment {
    /// Whether what predicts tokens ahead is not known, so that no plan has it.
    pub fn lacks_its_draft(&self) -> bool {
        self.given.draft.as_deref().is_some_and(beside::is_unknown)
    }

    /// The deployment of a question whose model, cards and runtime were found.
    ///
    /// # Errors
    /// Where a value is out of range, or an option is not the runtime's.
    pub fn new(question: Question, found: Found) -> Result<Self, DeploymentError> {
        let Found { mut model, file, mut runtime, cards, siblings } = found;
        let kind = runtime.kind();
        let defaults = rules(kind).defaults(&model, &cards.first().gpu);
        if let Some(bytes) = server::state_bytes(&question)? {
            Arc::make_mut(&mut model).shape.extras.state_bytes = Some(bytes);
        }
        let expands = rules(kind).expands(&model, &cards.first().gpu);
        let dtype = question.dtype.filter(|_| !model.is_quantized());
        // A name that ends in a format asks for it as `--weights` does; one whose repository has rules of its own has those.
        let named = model.named_format.filter(|_| defaults.weights != WeightFormat::AsStored);
        let is_new =
            |remark: &String| question.weights.is_none() && !model.remarks.contains(remark);
        if let Some(remark) = expands.filter(is_new) {
            Arc::make_mut(&mut model).remarks.push(remark);
        }
        runs_on(kind, &cards)?;
        let asked = question.split.or(split_of(question.split_mode));
        let split = asked.unwrap_or(defaults.split);
        let options = limits::options(&question, (&model, kind), &cards, split)?;
        if runtime.options != options {
            Arc::make_mut(&mut runtime).options = options;
        }
        let launch = launch::launch(&question, kind)?;
        if runtime.launch != launch {
            Arc::make_mut(&mut runtime).launch = launch;
        }
        let weights = question.weights.or(dtype).or(named).unwrap_or(defaults.weights);
        let weights = in_files(kind, weights);
        let wide = rules(kind).leaves_wide(&model, weights, &options);
        let of_cards = launch::remark(&question, &cards);
        let remarks = [rules(kind).remark(&options), of_cards, wide];
        for remark in remarks.into_iter().flatten() {
            if !model.remarks.contains(&remark) {
                Arc::make_mut(&mut model).remarks.push(remark);
            }
        }
        automatic::check(&question, &options, &cards, &model)?;
        let mut replaced = automatic::replaced(&question, &options, &cards, &model);
        let refused = cards.iter().find_map(|card| rules(kind).refuses(weights, &card.gpu));
        replaced.extend(refused);
        let given = Arc::new(question.clone());
        let question = automatic::with_own_context(question, &options, &cards, &model);
        let host = Arc::new(launch::main_memory(&question, &cards)?);
        let workload = limits::workload(&question, &model, &defaults, (&options, &cards))?;
        let deployment = Self {
            weights,
            kv: question.kv.map_or(defaults.kv, |kv| kv.keys),
            ram: question.ram,
            host,
            cache: limits::cache(&question, kind, workload.system_tokens)?,
            headroom: question.headroom.unwrap_or_else(|| rules(kind).headroom()),
            min_decode_speed: limits::min_decode_speed(&question, &cards)?,
            given,
            replaced,
            model,
            file,
            origin: None,
            cards,
            runtime,
            workload,
            split,
            siblings,
        };
        Ok(deployment.settled())
    }

    /// Which runtime.
    pub fn kind(&self) -> Runtime {
        self.runtime.kind()
    }

    /// The runtime's options.
    pub fn options(&self) -> RuntimeOptions {
        self.runtime.options
    }

    /// Sets the runtime's options.
    pub fn set_options(&mut self, options: RuntimeOptions) {
        Arc::make_mut(&mut self.runtime).options = options;
    }

    /// Sets what llama.cpp is told.
    pub fn set_launch(&mut self, launch: Launch) {
        Arc::make_mut(&mut self.runtime).launch = launch;
    }

    /// The formats of keys and values.
    pub fn cache_formats(&self) -> KvPair {
        KvPair { keys: self.kv, values: self.runtime.launch.values }
    }

    /// The same with weights and caches in these formats.
    pub fn with_formats(&self, weights: WeightFormat, kv: KvPair) -> Self {
        let mut changed = Self { weights, kv: kv.keys, ..self.clone() };
        if changed.runtime.launch.values != kv.values {
            Arc::make_mut(&mut changed.runtime).launch.values = kv.values;
        }
        changed
    }

    /// The same on so many of its first card.
    ///
    /// # Errors
    /// Where the runtime is not told so many.
    pub fn on_equal_cards(&self, gpus: u64) -> Result<Self, DeploymentError> {
        let first = self.cards.first();
        let others = usize::try_from(gpus.clamp(1, MOST_GPUS) - 1).unwrap_or_default();
        let cards = Cards::new(first.clone(), vec![first.clone(); others]);
        let found = Found {
            model: Arc::clone(&self.model),
            file: self.file.clone(),
            runtime: Arc::clone(&self.runtime),
            cards,
            siblings: Arc::clone(&self.siblings),
        };
        let question = Question { gpus: Some(gpus), ..(*self.given).clone() };
        let mut changed = Self::new(question, found)?;
        changed.origin.clone_from(&self.origin);
        changed.given = Arc::clone(&self.given);
        let beside = self.runtime.launch.beside.clone();
        if beside.is_some() {
            Arc::make_mut(&mut changed.runtime).launch.beside = beside;
        }
        Ok(changed)
    }

    /// The same with a conversation cache of so many tokens.
    pub fn with_cache(&self, tokens: u64) -> Self {
        Self { cache: CacheSize::Fixed(tokens), ..self.clone() }
    }
}

/// Refuses cards that a runtime does not run on.
fn runs_on(runtime: Runtime, cards: &Cards) -> Result<(), DeploymentError> {
    match cards.iter().find(|card| !rules(runtime).runs_on(card.gpu.maker)) {
        Some(card) => Err(DeploymentError::refused(
            format!(
                "the `{runtime}` runtime is not planned on GPUs of {}: `{}`",
                card.gpu.maker.name(),
                card.gpu.name
            ),
            "use `--runtime llama.cpp`",
        )),
        None => Ok(()),
    }
}

/// `--split-mode` as a split; of one GPU it says nothing.
const fn split_of(mode: Option<SplitMode>) -> Option<Split> {
    match mode {
        Some(SplitMode::Layer) => Some(Split::Layer),
        Some(SplitMode::Row) => Some(Split::Tensor),
        Some(SplitMode::None) | None => None,
    }
}
