//! vLLM and SGLang: tensor parallelism splits every layer evenly, pipeline parallelism the layers.

use crate::estimate::placement::{PlacementError, Spread};
use crate::spec::{Grid, LayerShape, ModelShape, Part, Split};

/// `--tensor-parallel-size`: what is split has to come out even (`distributed/utils.py`, `divide`), in
/// every layer and in the vision tower; key and value heads may be fewer than ranks, of which they then
/// are on several (`model_executor/layers/linear.py`, `QKVParallelLinear`).
pub fn tensor_parallel(spread: &Spread<'_>, ranks: u64) -> Result<Vec<Part>, PlacementError> {
    let model = spread.model;
    let Some(what) = indivisible(spread, ranks) else {
        return Ok((0..ranks).map(|index| Part::rank(model, index, ranks)).collect());
    };
    let divides = |ranks: &u64| {
        indivisible(spread, *ranks).is_none() && model.shape.kv_heads.is_multiple_of(*ranks)
    };
    let fewer = (1..ranks).rev().find(divides).unwrap_or(1);
    let hint = format!("use `--gpus {fewer}`, or `--split layer`");
    let what = format!("{what} of `{}`", model.name);
    Err(PlacementError::Indivisible { what, gpus: ranks, hint })
}

/// What does not come out even over so many ranks.
fn indivisible(spread: &Spread<'_>, ranks: u64) -> Option<String> {
    let shape = &spread.model.shape;
    let last = if shape.per_layer.is_some() { shape.n_layers } else { 1 };
    let heads = (0..last).find_map(|index| uneven_heads(shape, shape.layer(index), ranks));
    let tower = spread.tower().filter(|vision| !vision.n_heads.is_multiple_of(ranks));
    let tower = tower.map(|vision| format!("{} heads of the vision tower", vision.n_heads));
    heads.or_else(|| uneven_states(spread, ranks)).or(tower)
}

fn uneven_heads(shape: &ModelShape, layer: LayerShape, ranks: u64) -> Option<String> {
    let LayerShape { n_heads, kv_heads, .. } = layer;
    if !n_heads.is_multiple_of(ranks) {
        return Some(format!("{n_heads} query heads"));
    }
    let cached =
        shape.mla.is_some() || kv_heads.is_multiple_of(ranks) || ranks.is_multiple_of(kv_heads);
    (!cached).then(|| format!("{kv_heads} key and value heads"))
}

/// State-space layers (`mamba_mixer2.py`, `MambaMixer2.__init__`): heads come out even, and groups do or
/// are one, which quantized models may not repeat.
fn uneven_states(spread: &Spread<'_>, ranks: u64) -> Option<String> {
    let ssm = spread.model.shape.ssm?;
    if !ssm.n_heads.is_multiple_of(ranks) {
        return Some(format!("{} state-space heads", ssm.n_heads));
    }
    let groups_divide = ssm.n_groups.is_multiple_of(ranks);
    let refused = !groups_divide && (ssm.n_groups > 1 || spread.is_quantized());
    let quantized = if spread.is_quantized() { "quantized " } else { "" };
    refused.then(|| format!("{} {quantized}state-space groups", ssm.n_groups))
}

/// `--pipeline-parallel-size`: as many layers for each, those left over one each for the last but one
/// and those before it (`distributed/utils.py`, `get_pp_indices`). A tied embedding is on the first and
/// on the last.
///
/// Every stage builds the vision tower, and where images go into the first layers once more
/// (`qwen3_vl.py`), those are on the first.
pub fn pipeline(spread: &Spread<'_>, ranks: u64) -> Result<Vec<Part>, PlacementError> {
    let model = spread.model;
    let n_layers = model.shape.n_layers;
    if ranks > n_layers {
        let what = format!("{n_layers} layers of `{}`", model.name);
        let hint = format!("use `--gpus {n_layers}` or fewer");
        return Err(PlacementError::Indivisible { what, gpus: ranks, hint });
    }
    let (each, left) = (n_layers / ranks, n_layers % ranks);
    let image_layers = spread.tower().map_or(0, |vision| vision.deepstack);
    if each < image_layers {
        let what =
            format!("the first {image_layers} layers of `{}`, which read images,", model.name);
        let hint = format!("use `--gpus {}` or fewer, or `--images 0`", n_layers / image_layers);
        return Err(PlacementError::Indivisible { what, gpus: ranks, hint });
    }
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
            has_vision: true,
            share: None,
            grid: None,
            placed: None,
            is_host: false,
        }
    };
    Ok((0..ranks).map(part).collect())
}

/// Tensor, pipeline and data parallelism at once: GPUs are counted by copies, then by stages, then by ranks
/// (`distributed/parallel_state.py`, `initialize_model_parallel`).
pub fn on_grid(spread: &Spread<'_>, grid: Grid) -> Result<Vec<Part>, PlacementError> {
    // Refuses what does not come out even.
    tensor_parallel(spread, grid.tensor)?;
    let stages = match grid.stages {
        0 | 1 => vec![Part::whole(spread.model)],
        stages => pipeline(spread, stages)?,
    };
    let mut parts = Vec::new();
    for _ in 0..grid.copies {
        for stage in &stages {
            for _ in 0..grid.tensor {
                let index = parts.len() as u64;
                // Stages build what no layer has as they do without ranks.
                let is_one_stage = grid.tensor > 1 && grid.stages <= 1;
                let split = if is_one_stage { Split::Tensor } else { Split::Layer };
                let of = grid.gpus();
                parts.push(Part { split, index, of, grid: Some(grid), ..stage.clone() });
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::WeightFormat;
    use crate::spec::samples::{llama_8b, runtime};
    use crate::spec::{ModelSpec, PerLayer, Runtime, RuntimeSpec, Ssm};

    fn spread<'a>(model: &'a ModelSpec, spec: &'a RuntimeSpec, format: WeightFormat) -> Spread<'a> {
        Spread { model, format, runtime: spec, split: Split::Tensor, images: None }
    }

    #[test]
    fn layers_that_are_left_over_go_before_the_last_rank() {
        let spec = runtime(Runtime::Vllm);
        let counts = |n_layers: u64, ranks| -> Vec<u64> {
            let mut shape = llama_8b().shape;
            shape.n_layers = n_layers;
            let model = ModelSpec::new("layers", shape, "test").unwrap();
            let parts = pipeline(&spread(&model, &spec, WeightFormat::Bf16), ranks).unwrap();
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
        let (model, spec) = (llama_8b(), runtime(Runtime::Vllm));
        let spread = spread(&model, &spec, WeightFormat::Bf16);
        let error = tensor_parallel(&spread, 3).unwrap_err();
        assert!(error.to_string().starts_with("32 query heads of"), "{error}");
        assert!(error.to_string().ends_with("cannot be split over 3 GPUs"), "{error}");
        assert_eq!(tensor_parallel(&spread, 16).unwrap().len(), 16);
    }

    #[test]
    fn every_layers_heads_have_to() {
        let (mut shape, spec) = (llama_8b().shape, runtime(Runtime::Vllm));
        (shape.n_heads, shape.kv_heads) = (36, 4);
        let mut kv_heads = vec![4; 32];
        kv_heads[7] = 3;
        shape.per_layer = Some(PerLayer { kv_heads, ..PerLayer::default() });
        let model = ModelSpec::new("layers", shape, "test").unwrap();
        let spread = spread(&model, &spec, WeightFormat::Bf16);
        let error = tensor_parallel(&spread, 2).unwrap_err();
        assert!(error.to_string().starts_with("3 key and value heads of `layers`"), "{error}");
    }

    #[test]
    fn quantized_state_space_layers_repeat_no_groups() {
        let (mut shape, spec) = (llama_8b().shape, runtime(Runtime::Vllm));
        let ssm = Ssm {
            inner_size: 3072,
            state_size: 128,
            n_groups: 1,
            n_heads: 48,
            conv_kernel: 4,
            conv_bias: true,
            without_norm: false,
        };
        let kv_heads = (0..32).map(|index| if index == 5 { 8 } else { 0 }).collect();
        shape.ssm = Some(ssm);
        shape.per_layer = Some(PerLayer { kv_heads, ..PerLayer::default() });
        let model = ModelSpec::new("hybrid", shape, "test").unwrap();
        let of = |format, ranks| tensor_parallel(&spread(&model, &spec, format), ranks);
        assert_eq!(of(WeightFormat::Bf16, 2).unwrap().len(), 2);
        let error = of(WeightFormat::Fp8, 2).unwrap_err();
        assert!(error.to_string().starts_with("1 quantized state-space groups"), "{error}");
        assert!(error.hint().unwrap().contains("--split layer"));
    }
}
