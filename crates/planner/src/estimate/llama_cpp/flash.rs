//! Whether the CUDA backend has a kernel of fused attention for a model's heads and a cache's format
//! (`ggml_cuda_get_best_fattn_kernel` in `fattn.cu`). Where it has none, llama.cpp computes scores (`-fa auto`).

use crate::dtype::{GgmlType, KvFormat};
use crate::spec::ModelSpec;

/// Heads of one kind of layer.
#[derive(Clone, Copy)]
struct Heads {
    key: u64,
    value: u64,
    /// Query heads to one of keys.
    group: u64,
}

/// Whether attention over such a cache is fused on the GPU, in every layer.
pub(super) fn is_fused(model: &ModelSpec, kv: KvFormat) -> bool {
    // Grok's graph cannot do with it (`llama_init_from_model`).
    let is_allowed = model.file_caches.as_ref().is_none_or(|file| file.architecture != "grok");
    is_allowed && has_format(kv) && heads(model).all(has_kernel)
}

/// Whether the kernels read a cache of this format.
const fn has_format(kv: KvFormat) -> bool {
    match kv {
        KvFormat::F32 | KvFormat::F16 | KvFormat::Bf16 => true,
        KvFormat::Ggml(ty) => matches!(
            ty,
            GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q5_0 | GgmlType::Q5_1 | GgmlType::Q8_0
        ),
        _ => false,
    }
}

const fn has_kernel(heads: Heads) -> bool {
    let Heads { key, value, group } = heads;
    match key {
        40 | 64 | 72 | 80 | 96 | 112 | 128 | 256 => value == key,
        192 => value == 128 && group.is_multiple_of(8),
        320 => value == 256 && group.is_multiple_of(32),
        512 => value == key && group >= 2,
        576 => value == 512 && group >= 2,
        _ => false,
    }
}

/// The heads of every layer that attends.
fn heads(model: &ModelSpec) -> impl Iterator<Item = Heads> + '_ {
    let shape = &model.shape;
    (0..shape.n_layers).filter_map(move |index| {
        let layer = shape.layer(index);
        let group = layer.n_heads / layer.kv_heads.max(1);
        if let Some(file) = &model.file_caches {
            let kept = file.layers.get(usize::try_from(index).ok()?)?;
            let (key, values) = (kept.key_head, kept.value_head);
            return match (kept.keys, kept.values) {
                (0, _) => None,
                // One vector for all heads, which begins with the values.
                (_, 0) => Some(Heads { key, value: values, group: layer.n_heads }),
                (keys, _) => {
                    let kv_heads = keys.checked_div(key).unwrap_or(1).max(1);
                    Some(Heads { key, value: values, group: layer.n_heads / kv_heads })
                }
            };
        }
        match shape.mla {
            Some(mla) if mla.expanded => {
                let key = mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim);
                Some(Heads { key, value: mla.v_head_dim, group: 1 })
            }
            Some(mla) => {
                let key = mla.kv_lora_rank.saturating_add(mla.qk_rope_head_dim);
                Some(Heads { key, value: mla.kv_lora_rank, group: layer.n_heads })
            }
            None if layer.kv_heads == 0 || shape.is_recurrent(index) => None,
            None => Some(Heads { key: layer.head_dim, value: layer.head_dim, group }),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::llama_8b;

    #[test]
    fn heads_that_no_kernel_was_built_for_are_not_fused() {
        let mut model = llama_8b();
        assert!(is_fused(&model, KvFormat::F16));
        assert!(is_fused(&model, KvFormat::Ggml(GgmlType::Q8_0)));
        assert!(!is_fused(&model, KvFormat::Ggml(GgmlType::Iq4Nl)));
        // OpenLLaMA 3B.
        model.shape.head_dim = 100;
        assert!(!is_fused(&model, KvFormat::F16));
        model.shape.head_dim = 512;
        assert!(is_fused(&model, KvFormat::F16));
        model.shape.n_heads = model.shape.kv_heads;
        assert!(!is_fused(&model, KvFormat::F16));
    }
}
