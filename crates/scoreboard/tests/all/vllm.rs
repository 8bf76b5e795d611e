//! vLLM's pool of blocks and the weights of its ranks, against what vLLM itself makes of the same models
//! (`evidence/vllm`), row by row and to the byte.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use vramplan_planner::estimate::BufferId;

use crate::support::Case;
use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::placement::{Room, Spread, parts};
use vramplan_planner::estimate::vllm::graphs::captured;
use vramplan_planner::estimate::vllm::paged::{Paging, has_checkpoints, kernel_block_tokens};
use vramplan_planner::estimate::vllm::pool::Request;
use vramplan_planner::estimate::vllm::states::kept_states;
use vramplan_planner::estimate::weights_of_part;
use vramplan_planner::estimate::{Buffer, Life, Moment};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Architecture, Bounds, GpuSpec, ModelShape, ModelSpec, Part, Runtime, Serving, Split,
    VllmVersion,
};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};

const KV: [&str; 2] = vramplan_scoreboard::vllm_engine::KV;
const WEIGHTS: [&str; 2] = vramplan_scoreboard::vllm_engine::WEIGHTS;
const STARTS: &str = include_str!("../../../../evidence/vllm/starts.csv");
const SAMPLER: &str = include_str!("../../../../evidence/vllm/sampler.csv");

/// The context that engines were asked with, and what they were asked for the longest of.
const CONTEXT: u64 = 8192;
const LITTLE: u64 = (1 << 30) + 12_345;
const LONG: u64 = 1 << 20;

fn catalog() -> Catalog {
    Catalog::built_in()
}

fn version(row: &Row) -> VllmVersion {
    row.get("vllm").unwrap()
}

/// The rows of all releases.
fn all(files: [&'static str; 2]) -> impl Iterator<Item = Row> {
    files.into_iter().flat_map(rows)
}

/// One request of a row's engine.
fn request(row: &Row, model: &ModelSpec, paging: Paging, gpu: &GpuSpec) -> Request {
    let has_checkpoints = has_checkpoints(&model.shape, gpu);
    let serving = Serving { ranks: row.number("ranks"), ..Serving::on(gpu, version(row)) };
    let (chunk, stages) = (row.number("chunk"), row.number("stages"));
    let kept = kept_states(&model.shape, serving);
    Request { paging, serving, chunk, states: kept, stages, has_checkpoints }
}

/// What the GPU of a row has of the model.
fn part(row: &Row, model: &ModelSpec, gpu: &GpuSpec, format: WeightFormat) -> Part {
    let (stages, stage) = (row.number("stages"), row.get::<usize>("stage").unwrap());
    if stages == 1 {
        return Part::rank(model, 0, row.number("ranks"));
    }
    let runtime = catalog().runtime(Runtime::Vllm).unwrap();
    let split = Split::Layer;
    let spread = Spread { model, format, runtime: &runtime, split, images: Some(0) };
    let rooms = vec![Room { gpu, usable: gpu.visible() }; usize::try_from(stages).unwrap()];
    parts(&spread, &rooms).unwrap().swap_remove(stage)
}

/// Blocks of the pool and what they take: the least that any stage has room for.
#[test]
fn pools_are_cut_as_vllm_cuts_them() {
    let (catalog, mut wrong, mut compared) = (catalog(), Vec::new(), 0);
    for row in all(KV) {
        let (model, gpu) =
            (catalog.model(row.text("model")).unwrap(), catalog.gpu(row.text("card")).unwrap());
        let kv: KvFormat = row.get("kv").unwrap();
        let layers = part(&row, &model, &gpu, WeightFormat::Bf16).layers;
        let tokens = kernel_block_tokens(&model, kv, &gpu, version(&row));
        let paging = Paging::of_run(&model, &layers, kv, row.number("ranks"), tokens).unwrap();
        let blocks = paging.blocks(Bytes::new(row.number("available")));
        let blocks =
            if row.number("stages") > 1 { row.number("blocks").min(blocks) } else { blocks };
        let ours = [
            paging.groups(),
            paging.group_layers,
            paging.least_block_tokens(),
            blocks,
            paging.block.times(blocks).unwrap().get(),
            request(&row, &model, paging, &gpu).printed(blocks, CONTEXT).unwrap(),
        ];
        let columns = ["groups", "group_layers", "block_tokens", "blocks", "bytes", "tokens"];
        let theirs = columns.map(|name| row.number(name));
        if ours != theirs {
            wrong.push(format!("{}\n  we say {ours:?}", row.line()));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 160, "{compared}");
}

/// The longest context that vLLM names where it refuses a longer one.
#[test]
fn the_longest_context_is_what_vllm_says() {
    let (catalog, mut wrong, mut compared) = (catalog(), Vec::new(), 0);
    for row in rows(KV[1]).filter(|row| row.number("stages") == 1) {
        let model = catalog.model(row.text("model")).unwrap();
        let gpu = catalog.gpu(row.text("card")).unwrap();
        let kv: KvFormat = row.get("kv").unwrap();
        let layers = part(&row, &model, &gpu, WeightFormat::Bf16).layers;
        let tokens = kernel_block_tokens(&model, kv, &gpu, version(&row));
        let paging = Paging::of_run(&model, &layers, kv, row.number("ranks"), tokens).unwrap();
        let has = Bounds::exactly(Bytes::new(LITTLE));
        let start = request(&row, &model, paging, &gpu).start(LONG, has).unwrap();
        if start.longest != row.number("longest") {
            wrong.push(format!("{}\n  we say {}", row.line(), start.longest));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 100, "{compared}");
}

#[test]
fn a_server_is_set_up_as_vllm_sets_it_up() {
    let catalog = catalog();
    for row in all(KV) {
        let gpu = catalog.gpu(row.text("card")).unwrap();
        let serving = Serving::on(&gpu, version(&row));
        assert_eq!(serving.max_seqs, row.number("max_seqs"), "{}", row.line());
        let chunk = Serving::default_chunk(&gpu, serving.version, CONTEXT);
        assert_eq!(chunk, row.number("chunk"), "{}", row.line());
        let family = catalog.model(row.text("model")).unwrap().shape.architecture;
        let ours = captured(family, chunk, serving, &gpu);
        assert_eq!(ours, row.number("captured"), "{}", row.line());
    }
}

/// By how many bytes vLLM's model may be larger than what we say that stays loaded.
fn may_be_more(format: &str, shape: &ModelShape, layers: u64) -> RangeInclusive<i128> {
    match format {
        // 56 B of f32 scales, two for every part of a fused layer, of which loading leaves what our 16 B
        // stand for; and 18 B for the cache, which it drops.
        "fp8" => {
            let scales = 58 * i128::from(layers);
            scales..=scales
        }
        // A scale of every layer is a buffer there, not a parameter.
        _ if shape.architecture == Architecture::Gemma4 => {
            let layers = 2 * i128::from(layers);
            -layers..=-layers
        }
        _ => 0..=0,
    }
}

/// Parameters, and what latent attention makes of them once more.
#[test]
fn ranks_hold_what_vllm_makes() {
    let (catalog, mut wrong, mut models) = (catalog(), Vec::new(), BTreeSet::new());
    let gpu = catalog.gpu("h100").unwrap();
    let runtime = catalog.runtime(Runtime::Vllm).unwrap();
    // Kernels pad the experts in MXFP4 once they are loaded, which the meta device does not show.
    for row in all(WEIGHTS).filter(|row| row.text("weights") != "mxfp4") {
        let model = catalog.model(row.text("model")).unwrap();
        let format: WeightFormat = row.get("weights").unwrap();
        let part = part(&row, &model, &gpu, format);
        let ours = weights_of_part(&model, format, &runtime, &part).unwrap().device.get();
        let theirs = row.number("bytes") + row.number("absorbed");
        let more = i128::from(theirs) - i128::from(ours);
        if !may_be_more(row.text("weights"), &model.shape, part.layers.end - part.layers.start)
            .contains(&more)
        {
            wrong.push(format!("{}\n  we say {ours}, vLLM has {more:+}", row.line()));
        }
        models.insert(row.text("model").to_owned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(models.len() >= 25, "{models:?}");
}

/// Tables of sines and cosines.
#[test]
fn positions_have_tables_as_long_as_vllm_makes_them() {
    let mut compared = 0;
    for row in all(WEIGHTS).filter(|row| row.number("ranks") * row.number("stages") == 1) {
        let case = Case::new("h100", row.text("model"), Runtime::Vllm);
        let shape = &case.model.shape;
        // Transformers' own layers, which have no table.
        if row.number("tables") == 0 && version(&row) == VllmVersion::NEWEST {
            continue;
        }
        // Gemma 3 stretches its long context, which these configurations do not.
        if shape.architecture == Architecture::Gemma3 && shape.context_len > 32_768 {
            continue;
        }
        // Asked of the language model alone: where it sees videos, positions are in sections and their table is four times
        // as long (a log of Qwen3-VL-8B under 0.19: 16.78 GiB).
        let longer = if shape.vision.is_some_and(|tower| tower.is_qwen()) { 4 } else { 1 };
        let case = case.weights(row.text("weights")).cache(16);
        let listed = case.buffers();
        let tables = listed.iter().filter(|buffer| buffer.id == BufferId::RotaryTables);
        let ours = Bytes::sum(tables.map(|buffer| buffer.size.expected)).unwrap();
        assert_eq!(ours, Bytes::new(row.number("tables") * longer), "{}", row.line());
        compared += 1;
    }
    assert!(compared >= 25, "{compared}");
}

/// The warm-up of the sampler: what is listed for its moment, but the hidden states of all tokens and of
/// those sampled, which are given there.
#[test]
fn sampling_takes_what_vllm_takes() {
    let mut compared = 0;
    for row in rows(SAMPLER) {
        let sampled = row.number("sampled");
        let mut case = Case::new(row.text("card"), row.text("model"), Runtime::Vllm);
        case = case.weights("bf16").cache(16);
        case.serving(|serving| {
            serving.max_seqs = sampled;
            serving.version = version(&row);
        });
        case.workload.prefill_chunk = sampled.max(2048);
        let listed = case.buffers();
        let at_output = |b: &&Buffer| matches!(b.life, Life::During(_, Moment::Output));
        let listed = listed.iter().filter(at_output).map(|buffer| buffer.size.expected);
        let given = (case.workload.prefill_chunk + sampled) * row.number("hidden") * 2;
        let ours = Bytes::sum(listed).unwrap().get() - given;
        let theirs = row.number("peak");
        // A few values of every sequence, tables of constants, and the padding of the vocabulary.
        let little = 1 << 20;
        assert!(ours <= theirs && theirs - ours < little, "{ours} {}", row.line());
        compared += 1;
    }
    assert!(compared >= 29, "{compared}");
}

/// What vLLM takes before it cuts its pool, on a virtual card: all that we list but what the driver and libraries take by
/// themselves, which no virtual card shows. Compiled models are not compared: a cold cache of compiled code takes more.
#[test]
fn starts_leave_what_we_say() {
    let mut compared = 0;
    for row in rows(STARTS).filter(|row| row.text("mode") == "eager") {
        let mut case = Case::new(row.text("card"), row.text("model"), Runtime::Vllm);
        case = case.weights(row.text("weights")).cache(16);
        case.serving(|serving| {
            serving.version = version(&row);
            (serving.max_seqs, serving.eager) = (row.number("max_seqs"), true);
        });
        case.workload.prefill_chunk = row.number("chunk");
        let ours = case.answer().plan.pool.unwrap().fixed.expected;
        let listed = case.buffers();
        let libraries = listed.iter().filter(|buffer| buffer.id == BufferId::Libraries);
        let unseen = Bytes::sum(libraries.map(|buffer| buffer.size.expected)).unwrap();
        let ours = i128::from(ours.minus_or_zero(unseen).get());
        let theirs = i128::from(row.number("consumed") + row.number("transient"));
        let off = (ours - theirs).unsigned_abs();
        // Segments that are not full are not counted: up to 46 MiB of matrices of a few MiB.
        assert!(off < 64 << 20, "{off} of {theirs}: {}", row.line());
        assert!(off * 200 < u128::from(row.number("available")), "{off}: {}", row.line());
        compared += 1;
    }
    assert!(compared >= 4, "{compared}");
}

/// What `process_weights_after_loading` leaves more than was built (`evidence/vllm/README.md`).
#[test]
fn hopper_takes_zero_points_in_16_bits() {
    let catalog = catalog();
    let model = catalog.model("llama-3.1-8b").unwrap();
    let runtime = catalog.runtime(Runtime::Vllm).unwrap();
    let rank = Part::rank(&model, 0, 2);
    let format = "awq-int4".parse().unwrap();
    let stored = weights_of_part(&model, format, &runtime, &rank).unwrap().zero_points;
    assert_eq!(stored.times(3).unwrap().get(), 2_905_088_000 - 2_864_193_536);
}
