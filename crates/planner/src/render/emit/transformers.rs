//! A Python dictionary for transformers (`cache_utils.py`, `quantization_config.py`).

use std::fmt::Write as _;

use super::{batch, cached, chunk, format_of_weights};
use crate::dtype::{KvFormat, WeightFormat};
use crate::render::document::Document;
use crate::spec::{Attention, ComputeCapability};

pub(super) fn settings(document: &Document, gpu: ComputeCapability) -> String {
    let asked = &document.deployment;
    let dtype = dtype(document, gpu);
    let attention = match asked.resolved.attention.unwrap_or(Attention::Sdpa) {
        Attention::Flash => "flash_attention_2",
        other => other.name(),
    };
    let map = if asked.resolved.split.is_some() { ", \"device_map\": \"auto\"" } else { "" };
    let mut text = String::new();
    if asked.resolved.expandable_segments {
        text.push_str("# The environment: PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True\n");
    }
    text.push_str("plan = {\n");
    let _ = writeln!(
        text,
        "    # AutoModelForCausalLM.from_pretrained(…)\n    \
         \"from_pretrained\": {{\"dtype\": \"{dtype}\", \"attn_implementation\": \"{attention}\"{map}}},"
    );
    if let Some(config) =
        format_of_weights(document).and_then(|format| bits_and_bytes(format, dtype))
    {
        let _ = writeln!(
            text,
            "    # from_pretrained(quantization_config=BitsAndBytesConfig(…))\n    \
             \"quantization_config\": {{{config}}},"
        );
    }
    text.push_str("    # model.generate(…)\n    \"generate\": {\n");
    if let Some(config) = asked.resolved.kv.and_then(|kv| quantized_cache(kv.keys)) {
        let _ = writeln!(
            text,
            "        \"cache_implementation\": \"quantized\",\n        \"cache_config\": {{{config}}},"
        );
    }
    let _ = writeln!(text, "        \"prefill_chunk_size\": {},\n    }},", chunk(document));
    let [system, cached] = cached(document);
    for (key, value) in [
        ("batch", batch(document)),
        ("system_tokens", system),
        ("max_cache_tokens", cached),
        ("recent_window", asked.recent_window),
    ] {
        let _ = writeln!(text, "    \"{key}\": {value},");
    }
    text + "}\n"
}

/// What activations are computed in: as weights or cache are, else in what the card has.
fn dtype(document: &Document, gpu: ComputeCapability) -> &'static str {
    const AMPERE: ComputeCapability = ComputeCapability { major: 8, minor: 0 };
    let half = if gpu >= AMPERE { "bfloat16" } else { "float16" };
    let by_weights = match format_of_weights(document) {
        Some(WeightFormat::F32) => Some("float32"),
        Some(WeightFormat::F16) => Some("float16"),
        Some(WeightFormat::Bf16) => Some("bfloat16"),
        _ => None,
    };
    let by_cache = || match document.deployment.resolved.kv.map(|kv| kv.keys) {
        Some(KvFormat::F32) => Some("float32"),
        Some(KvFormat::F16) => Some("float16"),
        Some(KvFormat::Bf16) => Some("bfloat16"),
        _ => None,
    };
    by_weights.or_else(by_cache).unwrap_or(half)
}

/// Arguments of `BitsAndBytesConfig`, for the formats that it makes.
fn bits_and_bytes(weights: WeightFormat, dtype: &str) -> Option<String> {
    let (kind, is_double) = match weights {
        WeightFormat::Int8 => return Some("\"load_in_8bit\": True".to_owned()),
        WeightFormat::Nf4 { double_quant } => ("nf4", double_quant),
        WeightFormat::Fp4 { double_quant } => ("fp4", double_quant),
        _ => return None,
    };
    let double = if is_double { "True" } else { "False" };
    let arguments = [
        "\"load_in_4bit\": True".to_owned(),
        format!("\"bnb_4bit_quant_type\": \"{kind}\""),
        format!("\"bnb_4bit_use_double_quant\": {double}"),
        format!("\"bnb_4bit_compute_dtype\": \"{dtype}\""),
    ];
    let lines = arguments.iter().map(|argument| format!("\n        {argument},"));
    Some(lines.collect::<String>() + "\n    ")
}

/// Arguments of `QuantizedCache`, for the formats that it makes.
fn quantized_cache(kv: KvFormat) -> Option<String> {
    let (backend, bits, group) = match kv {
        KvFormat::Fp8 => return Some("\"backend\": \"fp8\"".to_owned()),
        KvFormat::Hqq { bits, group } => ("hqq", bits, group),
        KvFormat::Quanto { bits, group } => ("quanto", bits, group),
        _ => return None,
    };
    Some(format!(
        "\"backend\": \"{backend}\", \"nbits\": {bits}, \"q_group_size\": {group}, \
         \"residual_length\": 128"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_named_as_transformers_does() {
        let hqq =
            "\"backend\": \"hqq\", \"nbits\": 8, \"q_group_size\": 64, \"residual_length\": 128";
        assert_eq!(quantized_cache("hqq8".parse().unwrap()).as_deref(), Some(hqq));
        let quanto = hqq.replace("hqq", "quanto").replace('8', "2").replace("64", "32");
        assert_eq!(
            quantized_cache("quanto2-g32".parse().unwrap()),
            Some(quanto.replace("122", "128"))
        );
        assert_eq!(quantized_cache("bf16".parse().unwrap()), None);
    }
}
