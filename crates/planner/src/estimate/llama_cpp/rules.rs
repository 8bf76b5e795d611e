//! What llama.cpp takes and does.

use super::placement;
use super::weights::LlamaCppTensors;
use crate::dtype::{FileType, GgmlType, KvFormat, WeightFormat};
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::rules::{Asked, Choices, Defaults, Ladders, RuntimeRules};
use crate::estimate::weights::{TensorRule, gguf};
use crate::estimate::{Buffers, EstimateError, Pool, Retention, Scenario};
use crate::spec::{
    Attention, GpuSpec, Layer, Logits, Maker, ModelSpec, Part, RuntimeOptions, Split,
};

/// Tokens by which llama.cpp rounds its cache up (`GGML_PAD(n_ctx, 256)` in `llama-context.cpp`).
const CELL: u64 = 256;

/// The rules of llama.cpp.
pub struct Rules;

impl RuntimeRules for Rules {
    fn attention(&self) -> Choices<Attention> {
        Choices { allowed: &[Attention::Flash, Attention::Eager], expected: "`flash` or `eager`" }
    }

    /// Builds without `-fa auto` fuse attention only where they are told to.
    fn own_attention(&self, options: &RuntimeOptions, _model: &ModelSpec) -> Option<Attention> {
        (!options.llama_cpp().tries_flash_attention()).then_some(Attention::Eager)
    }

    fn plans_given_context(&self) -> bool {
        true
    }

    fn takes_kv(&self, kv: KvFormat) -> bool {
        matches!(kv, KvFormat::F32 | KvFormat::F16 | KvFormat::Bf16 | KvFormat::Ggml(_))
    }

    fn expected_kv(&self) -> &'static str {
        "`f16`, `q8_0`, `q5_1`, `q4_0` or another GGML format"
    }

    /// `common/common.h`: f16 keys and values, `n_ubatch` 512; a server asks for one row of logits a slot
    /// (`server-context.cpp`, `n_outputs_max`).
    fn defaults(&self, model: &ModelSpec, _gpu: &GpuSpec) -> Defaults {
        Defaults {
            weights: gguf::stored_or(model, WeightFormat::Gguf(FileType::Q4KM)),
            kv: KvFormat::F16,
            attention: Attention::Flash,
            prefill_chunk: 512,
            logits: Logits::Last,
            grown_cache: false,
            split: Split::Layer,
            pinned_prompt: 0,
        }
    }

    fn options(&self, asked: &Asked<'_>, _gpu: &GpuSpec) -> Result<RuntimeOptions, String> {
        asked.version().map(RuntimeOptions::LlamaCpp)
    }

    fn ladders(&self) -> Ladders {
        Ladders {
            weights: gguf::ladder(),
            kv: vec![KvFormat::Ggml(GgmlType::Q4_0), KvFormat::Ggml(GgmlType::Q8_0), KvFormat::F16],
            without_scores: Some(Attention::Flash),
        }
    }

    fn check(&self, _scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        Ok(())
    }

    fn check_images(&self, _scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        let reason =
            "llama.cpp's encoder is a file of its own: use `--mmproj FILE`, or `--mmproj auto`";
        Err(EstimateError::Model { field: "images", reason: reason.to_owned() })
    }

    fn layers<'a>(&self, model: &'a ModelSpec) -> &'a [Layer] {
        &model.gguf_layers
    }

    fn runs_every_file(&self) -> bool {
        true
    }

    fn tensors(&self) -> &dyn TensorRule {
        &LlamaCppTensors
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
        let launch = &spread.runtime.launch;
        // Stages with state-space layers change hands more than once, which only a placement tells.
        let is_mixed = spread.model.shape.ssm.is_some() && rooms.len() > 1;
        let is_partial =
            launch.places() || launch.tensor_split.is_some() || launch.plans_host || is_mixed;
        match spread.split {
            Split::Tensor if launch.places() => Err(spread.unknown(
                rooms,
                "rows are cut and layers, tensors or caches are in main memory",
                "use `--split-mode layer`",
            )),
            Split::Layer if is_partial => placement::parts_of(spread, rooms),
            Split::Layer => Ok(placement::by_layers(spread.model, rooms)),
            Split::Tensor => Ok(placement::by_rows(spread.model, rooms)),
        }
    }

    fn places_tensors(&self) -> bool {
        true
    }

    fn runs_on(&self, _maker: Maker) -> bool {
        true
    }

    fn most_sequences(&self, _options: &RuntimeOptions) -> u64 {
        super::MAX_SEQUENCES
    }

    fn cache_step(&self) -> Option<u64> {
        Some(CELL)
    }
}
