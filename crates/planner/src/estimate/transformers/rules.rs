//! What transformers takes and does.

use super::placement;
use super::weights::TransformersTensors;
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::kv_cache::check_caches;
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::rules::{Asked, Choices, Defaults, Ladders, RuntimeRules};
use crate::estimate::weights::{TensorRule, torch};
use crate::estimate::{Buffers, EstimateError, Pool, Retention, Scenario};
use crate::spec::{
    Attention, ComputeCapability, GpuSpec, Logits, Maker, ModelSpec, Part, RuntimeOptions, Split,
    TransformersStack, TransformersVersion,
};

/// What checkpoints call 8-bit floats in blocks (`quant_method`).
pub const FP8: &str = "fp8";

/// Why DeepSeek-V4 is not planned.
const COMPRESSED: &str = "transformers scores every compressed key for every head of its indexer, and what that holds in a \
    pass is not known; `--runtime vllm` is planned";

/// The rules of transformers.
pub struct Rules;

impl RuntimeRules for Rules {
    fn attention(&self) -> Choices<Attention> {
        Choices {
            allowed: &[Attention::Sdpa, Attention::Flash, Attention::Eager],
            expected: "`sdpa`, `flash` or `eager`",
        }
    }

    fn plans_given_context(&self) -> bool {
        true
    }

    fn takes_kv(&self, kv: KvFormat) -> bool {
        use KvFormat as K;
        matches!(kv, K::F32 | K::F16 | K::Bf16 | K::Fp8 | K::Hqq { .. } | K::Quanto { .. })
    }

    fn expected_kv(&self) -> &'static str {
        "`bf16`, `f16`, `f32`, `fp8`, `hqq8`, `hqq4`, `quanto4` or the like"
    }

    fn defaults(&self, model: &ModelSpec, gpu: &GpuSpec) -> Defaults {
        let is_expanded = self.expands(model, gpu).is_some();
        let weights = torch::stored_or(model, WeightFormat::Bf16);
        Defaults {
            weights: if is_expanded { WeightFormat::Bf16 } else { weights },
            kv: KvFormat::Bf16,
            attention: Attention::Sdpa,
            prefill_chunk: 512,
            logits: Logits::Last,
            grown_cache: true,
            split: Split::Layer,
            pinned_prompt: 0,
        }
    }

    /// `FineGrainedFP8HfQuantizer.validate_environment` in `quantizer_finegrained_fp8.py`.
    fn expands(&self, model: &ModelSpec, gpu: &GpuSpec) -> Option<String> {
        let ComputeCapability { major, minor } = gpu.compute_capability;
        let is_fp8 = torch::own_label(model) == Some(FP8);
        if !is_fp8 || !gpu.maker.is_nvidia() || gpu.is_main_memory() || (major, minor) >= (8, 9) {
            return None;
        }
        Some(format!(
            "the {} cannot compute with the checkpoint's 8-bit floats: transformers expands them to bf16, and so they are \
             planned",
            gpu.name
        ))
    }

    /// bitsandbytes quantizes modules, and from 5.0 on the experts of a layer are none.
    fn leaves_wide(
        &self,
        model: &ModelSpec,
        format: WeightFormat,
        options: &RuntimeOptions,
    ) -> Option<String> {
        let is_by_module = matches!(
            format,
            WeightFormat::Nf4 { .. } | WeightFormat::Fp4 { .. } | WeightFormat::Int8
        );
        let is_one = options.stack().transformers >= TransformersVersion::Current;
        (is_by_module && is_one && model.shape.moe.is_some()).then(|| {
            "its experts stay in 16 bits: transformers 5 has those of a layer in one tensor, which bitsandbytes does not \
             quantize; `--runtime-version 4.57` plans a release that does"
                .to_owned()
        })
    }

    fn options(&self, asked: &Asked<'_>, _gpu: &GpuSpec) -> Result<RuntimeOptions, String> {
        let stack: TransformersStack = asked.version()?;
        let expandable_segments = asked.expandable_segments;
        Ok(RuntimeOptions::Transformers(TransformersStack { expandable_segments, ..stack }))
    }

    fn takes_expandable_segments(&self) -> bool {
        true
    }

    fn with_expandable_segments(&self, options: &RuntimeOptions) -> Option<RuntimeOptions> {
        let stack = options.stack();
        let grown = TransformersStack { expandable_segments: true, ..stack };
        (stack != grown).then_some(RuntimeOptions::Transformers(grown))
    }

    /// `ROCm` has the same allocator.
    fn runs_on(&self, maker: Maker) -> bool {
        matches!(maker, Maker::Nvidia | Maker::Amd)
    }

    fn ladders(&self) -> Ladders {
        Ladders {
            weights: vec![
                WeightFormat::Nf4 { double_quant: true },
                WeightFormat::Nf4 { double_quant: false },
                WeightFormat::Int8,
                WeightFormat::Bf16,
            ],
            kv: vec![
                KvFormat::Hqq { bits: 4, group: 64 },
                KvFormat::Hqq { bits: 8, group: 64 },
                KvFormat::Bf16,
            ],
            without_scores: Some(Attention::Sdpa),
        }
    }

    /// State-space layers, and families that older versions do not have.
    fn check(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        check_caches(&scenario.model.shape, COMPRESSED)?;
        if scenario.model.shape.ssm.is_some() {
            let reason = "transformers' scan of state-space layers takes what its kernels decide, or gigabytes \
                          without them: use `--runtime llama.cpp` or `--runtime vllm`";
            return Err(EstimateError::Model { field: "ssm", reason: reason.to_owned() });
        }
        let version = scenario.runtime.options.stack().transformers;
        let family = scenario.model.shape.architecture;
        if version.has(family) {
            return Ok(());
        }
        let reason = format!(
            "transformers {version} has no `{family}`: drop `--runtime-version`, or name a later one"
        );
        Err(EstimateError::Model { field: "architecture", reason })
    }

    fn check_images(&self, _scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        Ok(())
    }

    fn tensors(&self) -> &dyn TensorRule {
        &TransformersTensors
    }

    fn loads_tower(&self) -> bool {
        true
    }

    fn retention(&self) -> Retention {
        Retention::HighWater
    }

    fn push(
        &self,
        buffers: &mut Buffers,
        scenario: &Scenario<'_>,
    ) -> Result<Option<Pool>, EstimateError> {
        super::push(buffers, scenario).map(|()| None)
    }

    /// By code on top of it.
    fn evicts(&self) -> bool {
        true
    }

    fn grows_cache(&self) -> bool {
        true
    }

    fn captures(&self) -> bool {
        true
    }

    /// In the last layer, where most is held, its input is counted with the layer's hidden states, its output does not
    /// exist yet, and its attention weights are counted with the scores.
    fn captured_beside(&self) -> [u64; 2] {
        [2, 1]
    }

    fn place(&self, spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
        match spread.split {
            Split::Layer => placement::balanced(spread, rooms),
            Split::Tensor => Err(spread.unsupported(
                rooms,
                " by tensors",
                "use `--split layer`, which is `device_map=\"auto\"`, or `--runtime vllm`",
            )),
        }
    }
}
