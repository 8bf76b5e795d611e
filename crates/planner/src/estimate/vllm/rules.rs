//! What vLLM takes and does.

use super::capability;
use super::compressed::CompressedCache;
use super::weights::VllmTensors;
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::rules::{
    Asked, Choices, Defaults, Ladders, OwnFlags, RuntimeRules, SERVER_FLAGS,
};
use crate::estimate::serving::placement;
use crate::estimate::weights::{TensorRule, torch};
use crate::estimate::{Buffers, EstimateError, Pool, Retention, Scenario};
use crate::spec::{
    AskedShare, Attention, GpuSpec, Headroom, Logits, Maker, ModelSpec, Optimization, OwnFormat,
    Part, RuntimeOptions, Server, Serving, Split, VllmVersion,
};
use crate::units::Bytes;

/// The format of caches that a checkpoint asks for (`resolve_kv_cache_dtype_string`), or that its kernels alone read
/// (`models/deepseek_v4/attention.py`, `_resolve_dsv4_kv_cache_dtype`).
const fn own_cache(model: &ModelSpec) -> Option<KvFormat> {
    match &model.own_format {
        _ if model.shape.extras.compressed.is_some() => Some(KvFormat::Fp8),
        Some(OwnFormat::Listed(checkpoint)) if checkpoint.kv.is_some() => checkpoint.kv,
        _ => model.named_cache,
    }
}

/// The format of caches in vLLM's words (`config/cache.py`, `CacheDType`).
fn cache_flag(kv: KvFormat) -> String {
    match kv {
        KvFormat::Bf16 => "--kv-cache-dtype bfloat16".to_owned(),
        other => format!("--kv-cache-dtype {other}"),
    }
}

/// What the first engine takes of main memory by itself (`config.py`, `CacheConfig.swap_space`).
const SWAP: Bytes = Bytes::new(4 << 30);

/// What a release makes of what it is told.
fn server(asked: Server, version: VllmVersion) -> Result<Server, String> {
    let swap = match asked.swap {
        Some(_) if version.refuses_swap_space() => {
            return Err(format!(
                "vLLM {version} has no `--swap-space`: drop it, or use `--kv-offloading-size`"
            ));
        }
        swap if version.swaps() => Some(swap.unwrap_or(SWAP)),
        _ => None,
    };
    Ok(Server { swap, ..asked })
}

/// The rules of vLLM.
pub struct Rules;

impl RuntimeRules for Rules {
    fn attention(&self) -> Choices<Attention> {
        Choices { allowed: &[Attention::Flash], expected: "`flash`" }
    }

    fn takes_kv(&self, kv: KvFormat) -> bool {
        matches!(
            kv,
            KvFormat::F32
                | KvFormat::F16
                | KvFormat::Bf16
                | KvFormat::Fp8
                | KvFormat::Nvfp4
                | KvFormat::PerTokenHead(_)
        )
    }

    fn expected_kv(&self) -> &'static str {
        "`bf16`, `f16`, `f32`, `fp8`, `nvfp4` or one per token and head such as `int8_per_token_head`"
    }

    fn defaults(&self, model: &ModelSpec, gpu: &GpuSpec) -> Defaults {
        Defaults {
            weights: match torch::stored_or(model, WeightFormat::Bf16) {
                // `--dtype auto` halves what is stored in f32.
                WeightFormat::F32 => WeightFormat::Bf16,
                format => format,
            },
            kv: own_cache(model).unwrap_or(KvFormat::Bf16),
            attention: Attention::Flash,
            prefill_chunk: Serving::default_chunk(
                gpu,
                VllmVersion::NEWEST,
                model.shape.context_len,
            ),
            logits: Logits::Last,
            grown_cache: false,
            split: Split::Tensor,
            pinned_prompt: 0,
        }
    }

    fn options(&self, asked: &Asked<'_>, gpu: &GpuSpec) -> Result<RuntimeOptions, String> {
        let default = Serving::on(gpu, asked.version()?);
        if asked.fits_length && !default.version.fits_its_length() {
            return Err(format!(
                "vLLM {} has no `--max-model-len auto`, which came with 0.14: say a length",
                default.version
            ));
        }
        let server = server(asked.server, default.version)?;
        Ok(RuntimeOptions::Vllm(Serving {
            max_seqs: asked.max_seqs.unwrap_or(default.max_seqs),
            utilization: asked.share.and_then(AskedShare::given).unwrap_or(default.utilization),
            solves_share: asked.share == Some(AskedShare::Auto),
            ranks: asked.ranks,
            eager: asked.eager || server.optimization == Optimization::None,
            expandable_segments: asked.expandable_segments,
            max_model_len: Some(asked.max_model_len),
            fits_length: asked.fits_length,
            server,
            media: asked.media,
            ..default
        }))
    }

    fn own_flags(&self) -> OwnFlags {
        OwnFlags { chunk: "--max-num-batched-tokens", kv: cache_flag }
    }

    fn refuses(&self, weights: WeightFormat, gpu: &GpuSpec) -> Option<String> {
        capability::refuses(weights, gpu)
    }

    fn takes_expandable_segments(&self) -> bool {
        true
    }

    fn prefill_chunk(&self, options: &RuntimeOptions, gpu: &GpuSpec, context: u64) -> Option<u64> {
        let version = options.serving()?.version;
        Some(Serving::default_chunk(gpu, version, context))
    }

    /// vLLM leaves free what its share of the card is short of; nothing more is asked of it.
    fn headroom(&self) -> Headroom {
        Headroom::Size(Bytes::ZERO)
    }

    /// `ROCm` has the same allocator.
    fn runs_on(&self, maker: Maker) -> bool {
        matches!(maker, Maker::Nvidia | Maker::Amd)
    }

    fn ladders(&self) -> Ladders {
        Ladders {
            weights: vec![
                WeightFormat::AwqInt4 { group: 128 },
                WeightFormat::Fp8,
                WeightFormat::Bf16,
            ],
            kv: vec![KvFormat::Fp8, KvFormat::Bf16],
            without_scores: None,
        }
    }

    fn check(&self, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        let serving = scenario.runtime.options.serving().unwrap_or_default();
        match CompressedCache::of(&scenario.model.shape) {
            Some(cache) => cache.check(serving, scenario.kv),
            None => Ok(()),
        }
    }

    fn check_images(&self, _scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        Ok(())
    }

    fn tensors(&self) -> &dyn TensorRule {
        &VllmTensors
    }

    /// All but what is SGLang's alone.
    fn server_flags(&self) -> &'static [&'static str] {
        SERVER_FLAGS.split_last_chunk::<2>().map_or(&[], |(own, _)| own)
    }

    fn block_step(&self) -> u64 {
        16
    }

    fn loads_tower(&self) -> bool {
        true
    }

    fn retention(&self) -> Retention {
        Retention::UpFront
    }

    fn push(
        &self,
        buffers: &mut Buffers,
        scenario: &Scenario<'_>,
    ) -> Result<Option<Pool>, EstimateError> {
        super::push(buffers, scenario).map(Some)
    }

    fn place(&self, spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
        if let Some(grid) = spread.runtime.options.serving().and_then(|said| said.server.grid) {
            return placement::on_grid(spread, grid);
        }
        match spread.split {
            Split::Layer => placement::pipeline(spread, rooms.len() as u64),
            Split::Tensor => placement::tensor_parallel(spread, rooms.len() as u64),
        }
    }
}
