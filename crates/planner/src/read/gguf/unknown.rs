//! The shape of a model whose architecture is no family here: what its keys and tensors show of it. Weights come
//! from the file and caches from the library's rules; the shape serves the bounds of the compute buffer.

use super::GgufTensor;
use super::model::{Header, MAX_LISTED};
use super::roles::Name;
use crate::read::SourceError;
use crate::spec::{Architecture, ModelShape, Moe, PerLayer, QkNorm, ShortConvolution};
use crate::units::at_most;

/// What the file shows; with what some architectures' layers differ by, where that makes a whole.
pub(super) fn shape(header: &Header<'_>) -> Result<ModelShape, SourceError> {
    let plain = plain_shape(header)?;
    let special = special_shape(header, plain.clone()).ok();
    Ok(special.filter(|shape| shape.validate().is_ok()).unwrap_or(plain))
}

/// What the graphs of some architectures need beside.
fn special_shape(header: &Header<'_>, mut shape: ModelShape) -> Result<ModelShape, SourceError> {
    match header.prefix {
        "llama4" => {
            shape.per_layer = Some(PerLayer {
                experts: layers_with(header, "ffn_gate_inp"),
                ..PerLayer::default()
            });
        }
        "lfm2" | "lfm2moe" => {
            let kernel = header.number("shortconv.l_cache")?.unwrap_or(0);
            shape.extras.short_convolution = Some(ShortConvolution { kernel, bias: false });
        }
        "falcon-h1" => shape.ssm = Some(header.state_space()?),
        "nemotron_h" | "nemotron_h_moe" => {
            shape.ssm = Some(header.state_space()?);
            shape.extras.latent_experts =
                header.weight("ffn_latent_down").and_then(|down| down.dims.get(1).copied());
            let experts = layers_with(header, "ffn_gate_inp");
            let ffn_size = header.layers("feed_forward_length")?;
            shape.per_layer = Some(PerLayer { ffn_size, experts, ..PerLayer::default() });
        }
        _ => {}
    }
    Ok(shape)
}

/// The layers that have a matrix of this stem.
fn layers_with(header: &Header<'_>, stem: &str) -> Vec<bool> {
    let names = header.file.tensors.iter().map(|tensor| Name::of(&tensor.name));
    let mut layers = vec![false; at_most(header.n_layers, MAX_LISTED)];
    for name in names.filter(|name| name.stem == stem && name.kind == "weight") {
        let at = name.layer.and_then(|layer| usize::try_from(layer).ok());
        if let Some(has) = at.and_then(|at| layers.get_mut(at)) {
            *has = true;
        }
    }
    layers
}

/// What every architecture's file shows.
fn plain_shape(header: &Header<'_>) -> Result<ModelShape, SourceError> {
    let hidden_size = header.required("embedding_length")?;
    let most = |key: &str| Ok::<u64, SourceError>(most_of(&header.each(key, 0)?));
    let n_heads = most("attention.head_count")?.max(1);
    let stated = match header.value("attention.head_count_kv") {
        Some(_) => most("attention.head_count_kv")?.max(1),
        None => n_heads,
    };
    let kv_heads = if n_heads.is_multiple_of(stated) { stated } else { n_heads };
    let key_length = header.number("attention.key_length")?.filter(|&n| n > 0);
    let head_dim = key_length.unwrap_or(hidden_size / n_heads).max(1);
    let moe = moe(header)?;
    let widest = header.weight("ffn_down").map(GgufTensor::row);
    let stated_ffn = Some(most("feed_forward_length")?).filter(|&n| n > 0);
    let ffn_size =
        stated_ffn.or(widest).or(moe.map(|moe| moe.expert_ffn_size)).unwrap_or(hidden_size);
    Ok(ModelShape {
        architecture: Architecture::Other,
        n_layers: header.n_layers,
        hidden_size,
        n_heads,
        kv_heads,
        head_dim,
        ffn_size,
        vocab_size: vocab_size(header)?,
        context_len: header.number("context_length")?.filter(|&n| n > 0).unwrap_or(1 << 20),
        // llama.cpp reads BitNet's embeddings as its head where they are, and loads no copy.
        tied_embeddings: !header.has_weight("output") && header.prefix != "bitnet",
        qkv_bias: header.has_bias("attn_q") || header.has_bias("attn_qkv"),
        attn_output_bias: header.has_bias("attn_output"),
        ffn_bias: header.has_bias("ffn_up") || header.has_bias("ffn_down"),
        qk_norm: qk_norm(header, head_dim),
        norms_per_layer: header.norms_per_layer().max(1),
        norm_bias: header.has_bias("attn_norm"),
        gated_ffn: header.is_gated(ffn_size),
        fused_projections: header.has_weight("attn_qkv") && !header.has_weight("attn_q"),
        attention_sinks: header.has_weight("attn_sinks"),
        attention_output_gate: false,
        attention_softcap: header.is_set("attn_logit_softcapping", false),
        logit_softcap: header.is_set("final_logit_softcapping", false),
        window: None,
        moe,
        mla: None,
        recurrent: None,
        ssm: None,
        keys_are_values: false,
        per_layer: None,
        vision: None,
        parts: Vec::new(),
        extras: crate::spec::Extras::default(),
    })
}

/// Norms of queries and keys: over a head, or over all of them where they are as wide as that.
fn qk_norm(header: &Header<'_>, head_dim: u64) -> QkNorm {
    match header.weight("attn_q_norm") {
        None => QkNorm::None,
        Some(norm) if norm.row() > head_dim => QkNorm::Full,
        Some(_) => QkNorm::PerHead,
    }
}

fn most_of(numbers: &[u64]) -> u64 {
    numbers.iter().max().copied().unwrap_or(0)
}

fn moe(header: &Header<'_>) -> Result<Option<Moe>, SourceError> {
    let n_experts = header.number("expert_count")?.unwrap_or(0);
    let used = most_of(&header.each("expert_used_count", 0)?);
    let down = header.weight("ffn_down_exps");
    let Some(down) = down.filter(|_| n_experts > 0 && (1..=n_experts).contains(&used)) else {
        return Ok(None);
    };
    let dense = header.leading_dense_layers()?;
    Ok(Some(Moe {
        n_experts,
        n_experts_used: used,
        expert_ffn_size: down.row(),
        shared_ffn_size: header.weight("ffn_down_shexp").map_or(0, GgufTensor::row),
        shared_gate: header.has_weight("ffn_gate_inp_shexp"),
        leading_dense_layers: dense.min(header.n_layers.saturating_sub(1)),
        router_bias: header.has_bias("ffn_gate_inp") || header.has_bias("exp_probs_b"),
        expert_bias: header.has_bias("ffn_up_exps"),
        router: Some(header.router()?),
    }))
}

/// Rows of the head or of the embedding, else what the file states.
fn vocab_size(header: &Header<'_>) -> Result<u64, SourceError> {
    let rows = |stem: &str| header.weight(stem).and_then(|tensor| tensor.dims.get(1).copied());
    match rows("output").or_else(|| rows("token_embd")) {
        Some(rows) => Ok(rows),
        None => header.required("vocab_size"),
    }
}
