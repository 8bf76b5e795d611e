//! Settings of LM Studio: `LLMLoadModelConfig` of `@lmstudio/sdk`.

use super::{EmitError, cache_formats, chunk, is_flash, slot};
use crate::render::document::Document;
use crate::spec::Count;

/// `LLMLoadModelConfig` of `@lmstudio/sdk`: layers and experts are shares of the model's.
pub(super) fn settings(document: &Document) -> Result<String, EmitError> {
    let asked = &document.deployment.resolved;
    if let Some(given) = asked.override_tensor.first() {
        return Err(EmitError::Unsupported {
            target: "LM Studio",
            what: "placement",
            value: format!("-ot {given}"),
            expected: "whole layers, or the experts of some",
        });
    }
    let layers = document.deployment.model.layers;
    let share = |count: Option<Count>, otherwise: f64, of: u64| match count {
        Some(Count::Some(count)) if of > 0 => share_of(count, of),
        Some(Count::All) => 1.0,
        _ => otherwise,
    };
    let [keys, values] = cache_formats(document);
    let settings = serde_json::json!({
        "contextLength": slot(document)?,
        "evalBatchSize": chunk(document),
        "flashAttention": is_flash(document),
        "llamaKCacheQuantizationType": keys,
        "llamaVCacheQuantizationType": values,
        "offloadKVCacheToGpu": !asked.no_kv_offload,
        "gpu": {
            "ratio": share(asked.ngl, 1.0, layers + 1),
            "numCpuExpertLayersRatio": share(asked.n_cpu_moe, 0.0, layers),
        },
    });
    Ok(serde_json::to_string_pretty(&settings).unwrap_or_default() + "\n")
}

/// A share to four digits.
#[allow(clippy::cast_precision_loss, reason = "a few hundred layers")]
fn share_of(count: u64, of: u64) -> f64 {
    (count.min(of) as f64 / of as f64 * 10_000.0).round() / 10_000.0
}
