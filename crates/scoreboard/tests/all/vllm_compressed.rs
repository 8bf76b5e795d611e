//! DeepSeek-V4 under vLLM: pools and ranks beside what vLLM itself makes of the published models and of drawn ones
//! (`evidence/vllm/compressed.py`), row by row.

use vramplan_planner::estimate::placement::{Room, Spread, parts};
use vramplan_planner::estimate::vllm::compressed::CompressedCache;
use vramplan_planner::estimate::vllm::drafting::{Drafted, window_layer};
use vramplan_planner::estimate::vllm::paged::{Paging, kernel_block_tokens};
use vramplan_planner::estimate::vllm::pool::Request;
use vramplan_planner::estimate::vllm::states::States;
use vramplan_planner::estimate::weights_of_part;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Bounds, GpuSpec, Grid, ModelSpec, Part, Runtime, RuntimeOptions, Server, Serving, Split,
    VllmVersion,
};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};

const ASKED: &str = include_str!("../../../../evidence/vllm/compressed-0.33.0.csv");
const HELD_BACK: &str = include_str!("../../../../evidence/vllm/holdout-compressed-0.33.0.csv");

const SPARSE: &str = include_str!("../../../../evidence/vllm/sparse-0.33.0.csv");

/// What engines were asked for the longest context of.
const LITTLE: u64 = (1 << 30) + 12_345;
const LONG: u64 = 1 << 20;

/// The model of a row: DeepSeek-V4-Flash with its numbers.
fn model(row: &Row) -> ModelSpec {
    let flash = Catalog::built_in().model("deepseek-v4-flash").unwrap();
    let mut shape = flash.shape.clone();
    let ratios: Vec<u64> =
        row.text("ratios").split('-').map(|ratio| ratio.parse().unwrap()).collect();
    shape.n_layers = ratios.len() as u64;
    shape.hidden_size = row.number("hidden_size");
    shape.n_heads = row.number("n_heads");
    let moe = shape.moe.as_mut().unwrap();
    moe.n_experts = row.number("experts");
    moe.n_experts_used = row.number("experts_used");
    moe.expert_ffn_size = row.number("expert_ffn");
    moe.shared_ffn_size = moe.expert_ffn_size;
    shape.ffn_size = moe.expert_ffn_size;
    let compressed = shape.extras.compressed.as_mut().unwrap();
    compressed.q_lora_rank = row.number("q_rank");
    compressed.o_lora_rank = row.number("o_rank");
    compressed.o_groups = row.number("o_groups");
    compressed.hashed_layers = row.number("hashed");
    compressed.ratios = ratios;
    let own_format = flash.own_format.clone();
    ModelSpec { own_format, ..ModelSpec::new("drawn", shape, "test").unwrap() }
}

/// What the first GPU of a row's stage has of the model.
fn part(row: &Row, model: &ModelSpec, gpu: &GpuSpec) -> Part {
    let stages = row.number("stages");
    if stages == 1 && !is_whole(row) {
        return Part::rank(model, 0, row.number("ranks"));
    }
    let mut runtime = Catalog::built_in().runtime(Runtime::Vllm).unwrap();
    let (ranks, format) = (row.number("ranks"), "as-stored".parse().unwrap());
    let grid = Grid { tensor: ranks, stages, copies: 1, whole_experts: is_whole(row) };
    let server = Server { grid: Some(grid), ..Server::default() };
    let serving = Serving { ranks, server, ..Serving::on(gpu, VllmVersion::NEWEST) };
    runtime.options = RuntimeOptions::Vllm(serving);
    let (images, split) = (Some(0), Split::Tensor);
    let spread = Spread { model, format, runtime: &runtime, split, images };
    let rooms = vec![Room { gpu, usable: gpu.visible() }; usize::try_from(grid.gpus()).unwrap()];
    let index = usize::try_from(row.number("stage") * ranks).unwrap();
    parts(&spread, &rooms).unwrap().swap_remove(index)
}

/// Whether ranks have whole experts.
fn is_whole(row: &Row) -> bool {
    row.text("whole_experts") == "True"
}

fn request(row: &Row, model: &ModelSpec, gpu: &GpuSpec) -> Request {
    let version: VllmVersion = row.get("vllm").unwrap();
    let run = part(row, model, gpu).layers;
    let drafted = u64::from(row.number("ahead") > 0);
    let cache = CompressedCache::of(&model.shape).unwrap();
    let paging = cache.paging(&run, drafted, version).unwrap();
    let serving = Serving { ranks: row.number("ranks"), ..Serving::on(gpu, version) };
    let (chunk, stages) = (row.number("chunk"), row.number("stages"));
    Request { paging, serving, chunk, stages, states: States::Last, has_checkpoints: false }
}

/// Groups, the longest of them, blocks, their bytes, the tokens printed and the longest context.
fn compare(text: &str) -> usize {
    let (catalog, mut wrong, mut compared) = (Catalog::built_in(), Vec::new(), 0);
    for row in rows(text) {
        let gpu = catalog.gpu(row.text("card")).unwrap();
        let model = model(&row);
        let request = request(&row, &model, &gpu);
        let paging = request.paging;
        let blocks = paging.blocks(Bytes::new(row.number("available")));
        // The smallest stage decides for all.
        let is_whole = row.number("stages") == 1;
        let blocks = if is_whole { blocks } else { blocks.min(row.number("blocks")) };
        let has = Bounds::exactly(Bytes::new(LITTLE));
        let longest = request.start(LONG, has).unwrap().longest;
        let ours = [
            paging.groups(),
            paging.group_layers,
            blocks,
            paging.block.times(blocks).unwrap().get(),
            request.printed(blocks, row.number("context")).unwrap(),
            if is_whole { longest } else { row.number("longest") },
        ];
        let groups: Vec<u64> = row
            .text("groups")
            .split('+')
            .map(|group| group.split_once('x').unwrap().0.parse().unwrap())
            .collect();
        let theirs = ["blocks", "bytes", "tokens", "longest"].map(|name| row.number(name));
        let theirs = [&[groups.len() as u64, *groups.iter().max().unwrap()][..], &theirs].concat();
        if ours[..] != theirs {
            wrong.push(format!("{}\n  we say {ours:?}", row.line()));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared}\n{}", wrong.len(), wrong.join("\n"));
    compared
}

#[test]
fn pools_of_compressed_keys_are_cut_as_vllm_cuts_them() {
    let compared = compare(ASKED);
    assert!(compared >= 150, "{compared}");
}

#[test]
fn pools_held_back_are_cut_so_too() {
    let compared = compare(HELD_BACK);
    assert!(compared >= 50, "{compared}");
}

/// Parameters of a rank.
fn compare_weights(text: &str) -> usize {
    let (catalog, mut wrong, mut compared) = (Catalog::built_in(), Vec::new(), 0);
    let runtime = catalog.runtime(Runtime::Vllm).unwrap();
    // Kernels pad what a rank has of an expert where that is less than a block of its format.
    let is_whole_block = |row: &Row| row.number("expert_ffn") / row.number("ranks") >= 128;
    for row in rows(text).filter(is_whole_block) {
        let gpu = catalog.gpu(row.text("card")).unwrap();
        let model = model(&row);
        let part = part(&row, &model, &gpu);
        let format = "as-stored".parse().unwrap();
        let ours = weights_of_part(&model, format, &runtime, &part).unwrap().device.get();
        let draft = match row.number("ahead") {
            0 => 0,
            _ => window_layer(&model, format, &runtime, &part).unwrap().get(),
        };
        for (column, ours) in [("weights", ours), ("draft_weights", draft)] {
            let more = i128::from(row.number(column)) - i128::from(ours);
            if more != 0 {
                wrong.push(format!(
                    "{}\n  we say {ours} for {column}, vLLM has {more:+}",
                    row.line()
                ));
            }
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared}\n{}", wrong.len(), wrong.join("\n"));
    compared
}

#[test]
fn ranks_of_compressed_models_hold_what_vllm_makes() {
    let compared = compare_weights(ASKED) + compare_weights(HELD_BACK);
    assert!(compared >= 250, "{compared}");
}

/// Latent vectors and the keys of an indexer beside them (`evidence/vllm/sparse.py`).
#[test]
fn keys_of_indexers_are_in_the_pool() {
    let catalog = Catalog::built_in();
    let mut compared = 0;
    for row in rows(SPARSE) {
        let gpu = catalog.gpu(row.text("card")).unwrap();
        let model = catalog.model(row.text("model")).unwrap();
        let (kv, run) = (row.get("kv").unwrap(), 0..model.shape.n_layers);
        let tokens = kernel_block_tokens(&model, kv, &gpu, row.get("vllm").unwrap());
        let paging = Paging::of_run(&model, &run, kv, row.number("ranks"), tokens).unwrap();
        let paging = paging.packed_for((&model, &gpu), &run, kv, Drafted::default()).unwrap();
        let blocks = paging.blocks(Bytes::new(row.number("available")));
        let ours = [paging.block_tokens, blocks, paging.block.times(blocks).unwrap().get()];
        let theirs = ["block_tokens", "blocks", "bytes"].map(|name| row.number(name));
        assert_eq!(ours, theirs, "{}", row.line());
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}

/// One request of DeepSeek-V4-Flash under a release that a log is of.
fn logged(gpu: &str, version: &str, chunk: u64) -> Request {
    let catalog = Catalog::built_in();
    let (gpu, model) = (catalog.gpu(gpu).unwrap(), catalog.model("deepseek-v4-flash").unwrap());
    let version: VllmVersion = version.parse().unwrap();
    let cache = CompressedCache::of(&model.shape).unwrap();
    let paging = cache.paging(&(0..model.shape.n_layers), 0, version).unwrap();
    let serving = Serving::on(&gpu, version);
    let states = States::Last;
    Request { paging, serving, chunk, stages: 1, states, has_checkpoints: false }
}

/// vllm-project/vllm issue 44376: two GH200, 0.22, steps of 16,384 tokens. "To serve at least one request with the model's max
/// seq len (30000), (6.66 GiB KV cache is needed, which is larger than the available KV cache memory (5.44 GiB). Based on the
/// available memory, the estimated maximum model length is 13528."
#[test]
fn a_logged_refusal_has_its_numbers() {
    let request = logged("gh200", "0.22", 16_384);
    let has = |gib: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few GiB")]
        let bytes = Bytes::new((gib * f64::from(1 << 30)) as u64);
        request.start(30_000, Bounds::exactly(bytes)).unwrap()
    };
    let needed = has(5.44).needs.as_mib() / 1024.0;
    assert_eq!(format!("{needed:.2}"), "6.66");
    let longest = has(5.435).longest..=has(5.445).longest;
    assert!(longest.contains(&13_528), "{longest:?}");
}
