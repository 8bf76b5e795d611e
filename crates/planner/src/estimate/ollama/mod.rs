//! Ollama: llama.cpp's server, started with a context, a batch and cards of Ollama's own choice.
//!
//! What runs is llama.cpp, so that everything about memory is asked of its rules; what Ollama passes to it is by
//! `llm/llama_server.go` and `server/sched.go` of its releases since 0.30.0.

mod automatic;

use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::llama_cpp::Rules as LlamaCpp;
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::rules::{
    Asked, Automatic, AutomaticAsked, Choices, Defaults, Ladders, RuntimeRules,
};
use crate::estimate::weights::TensorRule;
use crate::estimate::{Buffers, EstimateError, Pool, Retention, Scenario};
use crate::spec::{
    Attention, GpuSpec, Layer, Maker, ModelSpec, OllamaVersion, Part, RuntimeOptions,
};
use crate::units::Bytes;

/// Models that it runs for one user at a time (`server/sched.go`, `load`).
const ONE_SEQUENCE: [&str; 11] = [
    "mllama",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "nemotron_h_omni",
];

/// The rules of Ollama.
pub struct Rules;

impl RuntimeRules for Rules {
    fn attention(&self) -> Choices<Attention> {
        LlamaCpp.attention()
    }

    fn own_attention(&self, options: &RuntimeOptions, model: &ModelSpec) -> Option<Attention> {
        let RuntimeOptions::Ollama(release) = options else { return None };
        let name = model.shape.architecture.family().gguf;
        (!release.tries_flash_attention(name)).then_some(Attention::Eager)
    }

    fn own_context(
        &self,
        options: &RuntimeOptions,
        model: &ModelSpec,
        total: Bytes,
    ) -> Option<u64> {
        let RuntimeOptions::Ollama(release) = options else { return None };
        Some(release.own_context(model.shape.architecture.family().gguf, total))
    }

    fn runs_one_sequence(&self, model: &ModelSpec) -> bool {
        ONE_SEQUENCE.contains(&model.shape.architecture.family().gguf)
    }

    fn shares_slots(&self) -> bool {
        false
    }

    fn automatic(&self, asked: &AutomaticAsked<'_>) -> Option<Automatic> {
        let RuntimeOptions::Ollama(release) = asked.options else { return None };
        release.starts_server().then(|| automatic::of(asked))
    }

    fn newest_read(&self) -> Option<String> {
        Some(OllamaVersion::default().to_string())
    }

    fn remark(&self, options: &RuntimeOptions) -> Option<String> {
        let RuntimeOptions::Ollama(release) = options else { return None };
        (!release.starts_server()).then(|| {
            format!(
                "Ollama {release} computes many models by graphs of its own: compute buffers are those of llama.cpp's builds of \
                 its time, with wide bounds; since 0.30.0 it starts llama.cpp's server"
            )
        })
    }

    fn loads_encoder(&self) -> bool {
        true
    }

    fn places_itself(&self) -> bool {
        true
    }

    fn plans_given_context(&self) -> bool {
        LlamaCpp.plans_given_context()
    }

    fn takes_kv(&self, kv: KvFormat) -> bool {
        LlamaCpp.takes_kv(kv)
    }

    fn expected_kv(&self) -> &'static str {
        LlamaCpp.expected_kv()
    }

    fn defaults(&self, model: &ModelSpec, gpu: &GpuSpec) -> Defaults {
        LlamaCpp.defaults(model, gpu)
    }

    fn options(&self, asked: &Asked<'_>, _gpu: &GpuSpec) -> Result<RuntimeOptions, String> {
        asked.version().map(RuntimeOptions::Ollama)
    }

    fn ladders(&self) -> Ladders {
        LlamaCpp.ladders()
    }

    fn check(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        LlamaCpp.check(scenario)
    }

    fn check_images(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        LlamaCpp.check_images(scenario)
    }

    fn layers<'a>(&self, model: &'a ModelSpec) -> &'a [Layer] {
        LlamaCpp.layers(model)
    }

    fn runs_every_file(&self) -> bool {
        LlamaCpp.runs_every_file()
    }

    fn tensors(&self) -> &dyn TensorRule {
        LlamaCpp.tensors()
    }

    fn loads_tower(&self) -> bool {
        LlamaCpp.loads_tower()
    }

    fn retention(&self) -> Retention {
        LlamaCpp.retention()
    }

    fn push(
        &self,
        buffers: &mut Buffers,
        scenario: &Scenario<'_>,
    ) -> Result<Option<Pool>, EstimateError> {
        LlamaCpp.push(buffers, scenario)
    }

    fn place(&self, spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
        LlamaCpp.place(spread, rooms)
    }

    fn places_tensors(&self) -> bool {
        LlamaCpp.places_tensors()
    }

    fn runs_on(&self, maker: Maker) -> bool {
        LlamaCpp.runs_on(maker)
    }

    fn most_sequences(&self, options: &RuntimeOptions) -> u64 {
        LlamaCpp.most_sequences(options)
    }

    fn cache_step(&self) -> Option<u64> {
        LlamaCpp.cache_step()
    }

    fn leaves_wide(
        &self,
        model: &ModelSpec,
        format: WeightFormat,
        options: &RuntimeOptions,
    ) -> Option<String> {
        LlamaCpp.leaves_wide(model, format, options)
    }
}
