//! What `SGLang` takes and does.

use super::compressed;
use super::defaults::{ByCard, Reserved};
use super::weights::SglangTensors;
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::rules::{
    Asked, Choices, Defaults, Ladders, OwnFlags, PoolWords, RuntimeRules,
};
use crate::estimate::serving::placement;
use crate::estimate::weights::{TensorRule, torch};
use crate::estimate::{Buffers, EstimateError, Pool, Retention, Scenario, vision};
use crate::spec::{
    Architecture, AskedShare, Attention, Drafter, GpuSpec, Headroom, Logits, ModelSpec, OwnFormat,
    Part, Runtime, RuntimeOptions, SglangVersion, Split, TokenServing,
};
use crate::units::Bytes;

/// The format of caches: a checkpoint's own, 8 bits where tokens are chosen on Blackwell of data centres
/// (`_dsa_kv_cache_dtype_default`) and where keys are compressed (`_deepseek_v4_kv_cache_dtype`), else the model's 16 bits.
fn own_cache(model: &ModelSpec, gpu: &GpuSpec) -> KvFormat {
    let listed = match &model.own_format {
        Some(OwnFormat::Listed(checkpoint)) if checkpoint.kv.is_some() => checkpoint.kv,
        _ => model.named_cache,
    };
    let extras = &model.shape.extras;
    let chooses = extras.indexer.is_some() && gpu.compute_capability.major >= 10;
    let is_short = chooses || extras.compressed.is_some();
    listed.unwrap_or(if is_short { KvFormat::Fp8 } else { KvFormat::Bf16 })
}

/// The format of caches in `SGLang`'s words (`server_args.py`, `--kv-cache-dtype`).
fn cache_flag(kv: KvFormat) -> String {
    match kv {
        KvFormat::Fp8 => "--kv-cache-dtype fp8_e4m3".to_owned(),
        other => format!("--kv-cache-dtype {other}"),
    }
}

/// The rules of `SGLang`.
pub struct Rules;

impl RuntimeRules for Rules {
    fn attention(&self) -> Choices<Attention> {
        Choices { allowed: &[Attention::Flash], expected: "`flash`" }
    }

    /// A longer request than the pool holds is refused when it comes.
    fn plans_given_context(&self) -> bool {
        true
    }

    fn takes_kv(&self, kv: KvFormat) -> bool {
        matches!(kv, KvFormat::F32 | KvFormat::F16 | KvFormat::Bf16 | KvFormat::Fp8)
    }

    fn expected_kv(&self) -> &'static str {
        "`bf16`, `f16`, `f32` or `fp8`"
    }

    fn defaults(&self, model: &ModelSpec, gpu: &GpuSpec) -> Defaults {
        Defaults {
            weights: match torch::stored_or(model, WeightFormat::Bf16) {
                // `--dtype auto` halves what is stored in f32 (`_get_and_verify_dtype`).
                WeightFormat::F32 => WeightFormat::Bf16,
                format => format,
            },
            kv: own_cache(model, gpu),
            attention: Attention::Flash,
            prefill_chunk: ByCard::of(gpu, SglangVersion::NEWEST, 1).chunk,
            logits: Logits::Last,
            grown_cache: false,
            split: Split::Tensor,
            pinned_prompt: 0,
        }
    }

    fn options(&self, asked: &Asked<'_>, gpu: &GpuSpec) -> Result<RuntimeOptions, String> {
        let version: SglangVersion = asked.version()?;
        let tower = vision::loaded(asked.model, Runtime::Sglang, asked.images);
        let own_requests =
            asked.model.shape.extras.compressed.as_ref().map(|_| compressed::REQUESTS);
        let default = || Reserved::of(asked, gpu, version, tower).fraction();
        Ok(RuntimeOptions::Sglang(TokenServing {
            version,
            fraction: asked.share.and_then(AskedShare::given).unwrap_or_else(default),
            solves_fraction: asked.share == Some(AskedShare::Auto),
            ranks: asked.ranks,
            max_requests: asked.max_seqs.or(own_requests),
            eager: asked.eager,
            context: Some(asked.max_model_len),
            others: asked.others,
            most_pages: None,
            most_tokens: asked.max_total_tokens,
            server: asked.server,
        }))
    }

    fn pool_words(&self) -> PoolWords {
        PoolWords {
            share: "--mem-fraction-static",
            longest: "context_length",
            block: "pages",
            has_two_ends: true,
        }
    }

    fn own_flags(&self) -> OwnFlags {
        OwnFlags { chunk: "--chunked-prefill-size", kv: cache_flag }
    }

    fn prefill_chunk(&self, options: &RuntimeOptions, gpu: &GpuSpec, _context: u64) -> Option<u64> {
        let serving = options.token_serving()?;
        Some(ByCard::of(gpu, serving.version, serving.tensor_ranks()).chunk)
    }

    /// `SGLang` leaves free what its share of the card is short of; nothing more is asked of it.
    fn headroom(&self) -> Headroom {
        Headroom::Size(Bytes::ZERO)
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
        let shape = &scenario.model.shape;
        compressed::check(scenario)?;
        if shape.extras.indexer.as_ref().is_some_and(|indexer| indexer.plain) {
            let reason = "SGLang's pools of sparse attention without latent vectors are not modelled: \
                          a plan without them would be too small";
            return Err(EstimateError::Model { field: "attention", reason: reason.to_owned() });
        }
        Ok(())
    }

    fn check_images(&self, _scenario: &Scenario<'_>) -> Result<(), EstimateError> {
        Ok(())
    }

    fn tensors(&self) -> &dyn TensorRule {
        &SglangTensors
    }

    fn server_flags(&self) -> &'static [&'static str] {
        &[
            "--draft-tokens",
            "--block-size",
            "--max-cudagraph-capture-size",
            "--tensor-parallel-size",
            "--pipeline-parallel-size",
            "--data-parallel-size",
            "--enable-expert-parallel",
            "--mamba-ssm-cache-dtype",
            "--enable-dp-attention",
            "--max-total-tokens",
        ]
    }

    /// Three steps of one token each, or for Llama a tree of eight tokens with the model's own (`_auto_choose_speculative_params`).
    fn tokens_ahead(&self, model: &ModelSpec, drafter: Drafter) -> Option<u64> {
        let has_tree = model.shape.architecture == Architecture::Llama;
        Some(if has_tree && drafter != Drafter::Model { 7 } else { 3 })
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
        if let Some(grid) = spread.runtime.options.token_serving().and_then(|said| said.server.grid)
        {
            return placement::on_grid(spread, grid);
        }
        match spread.split {
            Split::Layer => placement::pipeline(spread, rooms.len() as u64),
            Split::Tensor => placement::tensor_parallel(spread, rooms.len() as u64),
        }
    }
}
