//! What vramplan's engine takes and does.

use super::capabilities;
use super::weights::EngineTensors;
use crate::dtype::{FileType, KvFormat, WeightFormat};
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::rules::{Asked, Choices, Defaults, Ladders, Refusal, RuntimeRules};
use crate::estimate::weights::{TensorRule, gguf};
use crate::estimate::{Buffers, EstimateError, Pool, Retention, Scenario};
use crate::spec::{
    Attention, GpuSpec, Layer, Logits, ModelSpec, Part, RuntimeOptions, Split, Workload,
};

/// The rules of vramplan's engine.
pub struct Rules;

impl RuntimeRules for Rules {
    fn attention(&self) -> Choices<Attention> {
        Choices {
            allowed: &[Attention::Fused, Attention::Flash],
            expected: "`fused` (scores for eviction) or `flash` (no eviction)",
        }
    }

    fn takes_kv(&self, kv: KvFormat) -> bool {
        matches!(kv, KvFormat::Int8 | KvFormat::F16)
    }

    fn expected_kv(&self) -> &'static str {
        "`int8` or `f16`"
    }

    fn defaults(&self, model: &ModelSpec, _gpu: &GpuSpec) -> Defaults {
        Defaults {
            weights: gguf::stored_or(model, WeightFormat::Gguf(FileType::Q4KM)),
            kv: capabilities::KV,
            attention: capabilities::ATTENTION,
            prefill_chunk: 512,
            logits: Logits::Last,
            grown_cache: false,
            split: Split::Layer,
            pinned_prompt: 6000,
        }
    }

    fn options(&self, _asked: &Asked<'_>, _gpu: &GpuSpec) -> Result<RuntimeOptions, String> {
        Ok(RuntimeOptions::Vramplan)
    }

    fn ladders(&self) -> Ladders {
        Ladders { weights: gguf::ladder(), kv: vec![capabilities::KV], without_scores: None }
    }

    fn check(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        if scenario.model.shape.ssm.is_none() {
            return Ok(());
        }
        let reason = "vramplan's engine has no state-space layers: use `--runtime llama.cpp` or \
                      `--runtime vllm`";
        Err(EstimateError::Model { field: "ssm", reason: reason.to_owned() })
    }

    fn check_images(&self, _scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        let reason = "vramplan's engine reads text only, see `--images 0`".to_owned();
        Err(EstimateError::Model { field: "images", reason })
    }

    fn layers<'a>(&self, model: &'a ModelSpec) -> &'a [Layer] {
        &model.gguf_layers
    }

    fn tensors(&self) -> &dyn TensorRule {
        &EngineTensors
    }

    fn loads_tower(&self) -> bool {
        false
    }

    fn retention(&self) -> Retention {
        Retention::UpFront
    }

    fn push(
        &self,
        buffers: &mut Buffers,
        scenario: &Scenario<'_>,
    ) -> Result<Option<Pool>, EstimateError> {
        super::push(buffers, scenario).map(|()| None)
    }

    fn place(&self, spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
        let hint = "plan for one GPU, or use `--runtime llama.cpp`, `transformers` or `vllm`";
        Err(spread.unsupported(rooms, "", hint))
    }

    fn runs(&self, model: &ModelSpec) -> bool {
        capabilities::refuses_model(model).is_none()
    }

    fn refusal(&self, model: &ModelSpec, workload: &Workload, kv: KvFormat) -> Option<Refusal> {
        capabilities::refuses_model(model).or_else(|| capabilities::refuses_work(workload, kv))
    }

    fn evicts(&self) -> bool {
        true
    }

    fn captures(&self) -> bool {
        true
    }

    fn needs_window_of_chunk(&self) -> bool {
        true
    }
}
