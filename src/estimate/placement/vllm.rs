//! vLLM: tensor parallelism splits every layer evenly, pipeline parallelism the layers.

use super::PlacementError;
use crate::spec::{ModelSpec, Part, Split};

/// `--tensor-parallel-size`: what is split has to come out even (`distributed/utils.py`, `divide`); key
/// and value heads may be fewer than ranks, of which they then are on several
/// (`model_executor/layers/linear.py`, `QKVParallelLinear`).
pub fn tensor_parallel(model: &ModelSpec, ranks: u64) -> Result<Vec<Part>, PlacementError> {
    let shape = &model.shape;
    let (n_heads, kv_heads) = (shape.n_heads, shape.kv_heads);
    let heads_divide = n_heads.is_multiple_of(ranks);
    let cached =
        shape.mla.is_some() || kv_heads.is_multiple_of(ranks) || ranks.is_multiple_of(kv_heads);
    if heads_divide && cached {
        return Ok((0..ranks).map(|index| Part::rank(model, index, ranks)).collect());
    }
    let what = if heads_divide {
        format!("{kv_heads} key and value heads of `{}`", model.name)
    } else {
        format!("{n_heads} query heads of `{}`", model.name)
    };
    let divides = |ranks: &u64| n_heads.is_multiple_of(*ranks) && kv_heads.is_multiple_of(*ranks);
    let fewer = (1..ranks).rev().find(divides).unwrap_or(1);
    let hint = format!("use `--gpus {fewer}`, or `--split layer`");
    Err(PlacementError::Indivisible { what, gpus: ranks, hint })
}

/// `--pipeline-parallel-size`: as many layers for each, those left over one each for the last but one
/// and those before it (`distributed/utils.py`, `get_pp_indices`). A tied embedding is on the first and
/// on the last.
pub fn pipeline(model: &ModelSpec, ranks: u64) -> Result<Vec<Part>, PlacementError> {
    let n_layers = model.shape.n_layers;
    if ranks > n_layers {
        let what = format!("{n_layers} layers of `{}`", model.name);
        let hint = format!("use `--gpus {n_layers}` or fewer");
        return Err(PlacementError::Indivisible { what, gpus: ranks, hint });
    }
    let (each, left) = (n_layers / ranks, n_layers % ranks);
    let mut start = 0;
    let part = |index: u64| {
        let has_one_more = index + 1 < ranks && index + 1 + left >= ranks;
        let end = start + each + u64::from(has_one_more);
        let layers = start..end;
        start = end;
        let is_last = index + 1 == ranks;
        Part {
            split: Split::Layer,
            index,
            of: ranks,
            layers,
            has_embedding: index == 0,
            has_norm: is_last,
            has_head: is_last,
            share: None,
        }
    };
    Ok((0..ranks).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::llama_8b;

    #[test]
    fn layers_that_are_left_over_go_before_the_last_rank() {
        let counts = |n_layers: u64, ranks| -> Vec<u64> {
            let mut shape = llama_8b().shape;
            shape.n_layers = n_layers;
            let model = ModelSpec::new("layers", shape, "test").unwrap();
            let parts = pipeline(&model, ranks).unwrap();
            assert_eq!(parts.last().unwrap().layers.end, n_layers);
            parts.into_iter().map(|part| part.layers.end - part.layers.start).collect()
        };
        assert_eq!(counts(61, 2), [31, 30]);
        assert_eq!(counts(61, 4), [15, 15, 16, 15]);
        assert_eq!(counts(22, 4), [5, 6, 6, 5]);
        assert_eq!(counts(5, 3), [2, 2, 1]);
    }

    #[test]
    fn heads_have_to_come_out_even() {
        let error = tensor_parallel(&llama_8b(), 3).unwrap_err();
        assert!(error.to_string().starts_with("32 query heads of"), "{error}");
        assert!(error.to_string().ends_with("cannot be split over 3 GPUs"), "{error}");
        assert_eq!(tensor_parallel(&llama_8b(), 16).unwrap().len(), 16);
    }
}
