//! What vLLM's options add to a rank and to the pool, against what vLLM's own classes make of them without a GPU
//! (`evidence/vllm/options.py`): row by row, to the byte.

use std::collections::BTreeSet;

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::placement::{Room, Spread, parts};
use vramplan_planner::estimate::vllm::drafting::{self, Drafted, is_absorbed};
use vramplan_planner::estimate::vllm::graphs::captured;
use vramplan_planner::estimate::vllm::lora;
use vramplan_planner::estimate::vllm::offload::offloaded;
use vramplan_planner::estimate::vllm::paged::{
    Paging, asked_block_tokens, has_checkpoints, kernel_block_tokens,
};
use vramplan_planner::estimate::vllm::pool::Request;
use vramplan_planner::estimate::vllm::states::kept_states;
use vramplan_planner::estimate::weights::Weights;
use vramplan_planner::estimate::weights_of_part;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Bounds, Draft, Drafter, Gibibytes, GpuSpec, Grid, LoraSlots, ModelSpec, Part, PublishedDraft,
    Runtime, RuntimeOptions, RuntimeSpec, Server, Serving, Split,
};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};

const LORA: &str = include_str!("../../../../evidence/vllm/lora-0.33.0.csv");
const DRAFT: &str = include_str!("../../../../evidence/vllm/draft-0.33.0.csv");
const PUBLISHED: &str = include_str!("../../../../evidence/vllm/published-0.33.0.csv");
const PARALLEL: &str = include_str!("../../../../evidence/vllm/parallel-0.33.0.csv");
const OFFLOAD: &str = include_str!("../../../../evidence/vllm/offload-0.33.0.csv");
const CACHE: &str = include_str!("../../../../evidence/vllm/cache-0.33.0.csv");

/// Rows drawn by a seed once the formulas were fixed.
const HOLDOUT_DRAFT: &str = include_str!("../../../../evidence/vllm/holdout-draft-0.33.0.csv");
const HOLDOUT_PARALLEL: &str =
    include_str!("../../../../evidence/vllm/holdout-parallel-0.33.0.csv");
const HOLDOUT_OFFLOAD: &str = include_str!("../../../../evidence/vllm/holdout-offload-0.33.0.csv");

const HOLDOUT_LORA: &str = include_str!("../../../../evidence/vllm/holdout-lora-0.33.0.csv");
const HOLDOUT_CACHE: &str = include_str!("../../../../evidence/vllm/holdout-cache-0.33.0.csv");

/// As in `vllm.rs`.
const CONTEXT: u64 = 8192;
const LITTLE: u64 = (1 << 30) + 12_345;
const LONG: u64 = 1 << 20;

/// A row's model, on the card that was asked about.
struct Asked {
    catalog: Catalog,
    model: ModelSpec,
    gpu: GpuSpec,
    runtime: RuntimeSpec,
    serving: Serving,
    format: WeightFormat,
}

impl Asked {
    fn new(row: &Row, card: &str, server: Server) -> Self {
        let catalog = Catalog::built_in();
        let model = catalog.model(row.text("model")).unwrap();
        let gpu = catalog.gpu(card).unwrap();
        let mut runtime = catalog.runtime(Runtime::Vllm).unwrap();
        let version = row.get("vllm").unwrap();
        let ranks = row.number("ranks");
        let serving = Serving { ranks, server, ..Serving::on(&gpu, version) };
        runtime.options = RuntimeOptions::Vllm(serving);
        let is_packed = row.text("model").starts_with("gpt-oss");
        let format = if is_packed { "mxfp4" } else { "bf16" }.parse().unwrap();
        Self { catalog, model, gpu, runtime, serving, format }
    }

    /// The part of a stage's first rank.
    fn part(&self, stages: u64, stage: u64) -> Part {
        let ranks = self.serving.ranks;
        let grid = self.serving.server.grid.unwrap_or(Grid {
            tensor: ranks,
            stages,
            copies: 1,
            whole_experts: false,
        });
        if grid.gpus() == 1 {
            return Part::whole(&self.model);
        }
        let mut runtime = self.runtime.clone();
        let server = Server { grid: Some(grid), ..self.serving.server };
        runtime.options = RuntimeOptions::Vllm(Serving { server, ..self.serving });
        let (model, format) = (&self.model, self.format);
        let (images, split) = (Some(0), Split::Tensor);
        let spread = Spread { model, format, runtime: &runtime, split, images };
        let room = Room { gpu: &self.gpu, usable: self.gpu.visible() };
        let rooms = vec![room; usize::try_from(grid.gpus()).unwrap()];
        let index = usize::try_from(stage * ranks).unwrap();
        parts(&spread, &rooms).unwrap().swap_remove(index)
    }

    fn weights(&self, part: &Part) -> Weights {
        weights_of_part(&self.model, self.format, &self.runtime, part).unwrap()
    }

    fn paging(&self, kv: KvFormat, part: &Part, drafted: Drafted) -> Paging {
        let Self { model, gpu, serving, .. } = self;
        let tokens = kernel_block_tokens(model, kv, gpu, serving.version);
        let tokens = asked_block_tokens(&model.shape, tokens, serving.server.block_tokens);
        Paging::with_drafts(model, &part.layers, kv, (serving.ranks, tokens), drafted).unwrap()
    }

    /// Groups, layers of the largest, tokens of a block, blocks, their bytes, the tokens printed and the longest context.
    fn pool(&self, row: &Row, paging: Paging, stages: u64) -> [u64; 7] {
        let request = Request {
            paging,
            serving: self.serving,
            chunk: row.number("chunk"),
            stages,
            states: kept_states(&self.model.shape, self.serving),
            has_checkpoints: has_checkpoints(&self.model.shape, &self.gpu),
        };
        let blocks = paging.blocks(Bytes::new(row.number("available")));
        // The smallest stage decides for all.
        let blocks = if stages > 1 { blocks.min(row.number("blocks")) } else { blocks };
        let has = Bounds::exactly(Bytes::new(LITTLE));
        [
            paging.groups(),
            paging.group_layers,
            paging.least_block_tokens(),
            blocks,
            paging.block.times(blocks).unwrap().get(),
            request.printed(blocks, CONTEXT).unwrap(),
            // Stages are asked together, and the smallest is what is said.
            if stages > 1 {
                row.number("longest")
            } else {
                request.start(LONG, has).unwrap().longest
            },
        ]
    }
}

fn pool_of(row: &Row) -> [u64; 7] {
    ["groups", "group_layers", "block_tokens", "blocks", "bytes", "tokens", "longest"]
        .map(|name| row.number(name))
}

/// Rows that differ.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn compare<T: Copy + PartialEq + std::fmt::Debug>(&mut self, row: &Row, ours: T, theirs: T) {
        if ours != theirs {
            self.0.push(format!("{}\n  we say {ours:?} for {theirs:?}", row.line()));
        }
    }

    fn end(self, compared: usize, least: usize) {
        assert!(self.0.is_empty(), "{} of {compared}\n{}", self.0.len(), self.0.join("\n"));
        assert!(compared >= least, "{compared}");
    }
}

/// The rows of one rank that belong together: a module each.
fn of_a_rank(file: &str) -> Vec<Vec<Row>> {
    let mut ranks: Vec<Vec<Row>> = Vec::new();
    let key = |row: &Row| row.texts(["model", "ranks", "stages", "stage", "slots", "rank"]);
    for row in rows(file) {
        match ranks.last_mut() {
            Some(last) if key(&last[0]) == key(&row) => last.push(row),
            _ => ranks.push(vec![row]),
        }
    }
    ranks
}

/// Slots of adapters, by where they are.
fn slots(file: &str, least: usize) {
    let (mut wrong, mut models, mut compared) = (Wrong::default(), BTreeSet::new(), 0);
    for modules in of_a_rank(file) {
        let row = &modules[0];
        let lora = LoraSlots { slots: row.number("slots"), rank: row.number("rank") };
        let asked = Asked::new(row, "h100", Server { lora: Some(lora), ..Server::default() });
        let part = asked.part(row.number("stages"), row.number("stage"));
        let ours = lora::slots(&asked.model, &part, lora, 2).unwrap();
        let sum = |of: fn(&str) -> bool| -> u64 {
            let mine = modules.iter().filter(|row| of(row.text("module")));
            mine.map(|row| row.number("bytes")).sum()
        };
        let is_outside = |name: &str| matches!(name, "embed_tokens" | "logits_processor");
        let theirs = [
            sum(|name| name == "experts"),
            sum(|name| matches!(name, "embed_tokens" | "logits_processor")),
            sum(|name| name == "tables"),
        ];
        let linear = modules
            .iter()
            .filter(|row| !is_outside(row.text("module")))
            .filter(|row| !matches!(row.text("module"), "experts" | "tables"))
            .map(|row| row.number("bytes"))
            .sum::<u64>();
        let tables = lora::tables(lora, 8192, 1024).unwrap();
        let said = [ours.experts, ours.outside, tables].map(Bytes::get);
        wrong.compare(row, (ours.linear.get(), said), (linear, theirs));
        models.insert(row.text("model").to_owned());
        compared += 1;
    }
    assert!(models.len() * 4 >= least.min(80), "{models:?}");
    wrong.end(compared, least);
}

#[test]
fn adapters_have_slots_as_vllm_makes_them() {
    slots(LORA, 100);
}

#[test]
fn slots_drawn_by_a_seed_are_as_vllm_makes_them() {
    slots(HOLDOUT_LORA, 35);
}

/// What predicts tokens: its weights, its cache in the pool, and what a request may need with it.
fn drafts(file: &str, least: usize) {
    let (mut wrong, mut compared) = (Wrong::default(), 0);
    for row in rows(file) {
        let (drafter, name) = match row.text("draft") {
            "mtp" => (Drafter::Layer, None),
            "eagle" => (Drafter::Eagle, None),
            "eagle3" => (Drafter::Eagle3, None),
            name => (Drafter::Model, Some(name)),
        };
        let server = Server { ahead: row.number("ahead"), drafter, ..Server::default() };
        let asked = Asked::new(&row, "h100", server);
        let (ranks, part) = (asked.serving.ranks, asked.part(1, 0));
        let draft = name.map(|name| Draft {
            model: std::sync::Arc::new(asked.catalog.model(name).unwrap()),
            weights: asked.format,
        });
        let ours = match (&draft, drafter) {
            (Some(draft), _) => {
                let part = Part::rank(&draft.model, 0, ranks);
                weights_of_part(&draft.model, asked.format, &asked.runtime, &part).unwrap().device
            }
            (None, Drafter::Layer) => {
                let mut pieces = asked.weights(&part).pieces;
                // Latent attention makes them when a model is loaded; here it is not.
                pieces.retain(|piece| !is_absorbed(piece));
                drafting::layer(&asked.model, &pieces, ranks, 2).unwrap()
            }
            _ => drafting::head(&asked.model.shape, drafter, ranks, 2).unwrap(),
        };
        wrong.compare(&row, ours.get(), row.number("draft_weights"));
        let kv = row.get("kv").unwrap();
        let added =
            Drafted::of(&asked.model, (asked.serving, draft.as_ref()), (kv, ranks), true).unwrap();
        let paging = asked.paging(kv, &part, added);
        wrong.compare(&row, asked.pool(&row, paging, 1), pool_of(&row));
        compared += 1;
    }
    wrong.end(compared, least);
}

/// Drafts that are published for one model: their weights, and the groups that they make of its pool.
#[test]
fn drafts_of_one_model_take_what_vllm_says() {
    let (mut wrong, mut compared) = (Wrong::default(), 0);
    for row in rows(PUBLISHED) {
        let draft = PublishedDraft::named(row.text("draft")).unwrap();
        let drafter = Drafter::Published(draft);
        let server = Server { ahead: row.number("ahead"), drafter, ..Server::default() };
        let asked = Asked::new(&row, "h100", server);
        assert!(draft.is_for(&asked.model), "{}", row.line());
        let (ranks, part) = (asked.serving.ranks, asked.part(1, 0));
        let ours = drafting::published_weights(draft, ranks).unwrap().expected;
        wrong.compare(&row, ours.get(), row.number("draft_weights"));
        let kv = row.get("kv").unwrap();
        let added = Drafted::of(&asked.model, (asked.serving, None), (kv, ranks), true).unwrap();
        let paging = asked.paging(kv, &part, added);
        wrong.compare(&row, asked.pool(&row, paging, 1), pool_of(&row));
        compared += 1;
    }
    wrong.end(compared, 32);
}

#[test]
fn what_predicts_tokens_takes_what_vllm_says() {
    drafts(DRAFT, 65);
}

#[test]
fn drafts_drawn_by_a_seed_take_what_vllm_says() {
    drafts(HOLDOUT_DRAFT, 20);
}

/// Weights and pools of ranks where several kinds of parallelism meet.
fn parallel(file: &str, least: usize) {
    let (mut wrong, mut compared) = (Wrong::default(), 0);
    for row in rows(file) {
        let (stages, stage) = (row.number("stages"), row.number("stage"));
        let grid = Grid {
            tensor: row.number("ranks"),
            stages,
            copies: row.number("copies"),
            whole_experts: row.flag("whole_experts"),
        };
        let context_ranks = row.number("context_ranks");
        let server = Server { grid: Some(grid), context_ranks, ..Server::default() };
        let asked = Asked::new(&row, "h100", server);
        let part = asked.part(stages, stage);
        // Kernels pad experts in MXFP4 once they are loaded, which the meta device does not show.
        if !row.text("model").starts_with("gpt-oss") {
            let ours = asked.weights(&part).device.get();
            wrong.compare(&row, ours, row.number("weights") + row.number("absorbed"));
        }
        let paging = asked.paging(KvFormat::Bf16, &part, Drafted::default());
        wrong.compare(&row, asked.pool(&row, paging, stages), pool_of(&row));
        compared += 1;
    }
    wrong.end(compared, least);
}

#[test]
fn ranks_of_mixed_parallelism_hold_what_vllm_makes() {
    parallel(PARALLEL, 150);
}

#[test]
fn ranks_drawn_by_a_seed_hold_what_vllm_makes() {
    parallel(HOLDOUT_PARALLEL, 20);
}

/// What stays in main memory: at least what was asked for.
fn offload(file: &str, least: usize, within: u64) {
    let (mut wrong, mut compared) = (Wrong::default(), 0);
    for row in rows(file) {
        let said = row.text("told").strip_prefix("cpu_offload_gb=").unwrap();
        let size: Gibibytes = said.parse().unwrap();
        let server = Server { cpu_offload: size.0, ..Server::default() };
        let asked = Asked::new(&row, "h100", server);
        let part = asked.part(row.number("stages"), row.number("stage"));
        let weights = asked.weights(&part);
        let hidden = Bytes::new(2 * asked.model.shape.hidden_size);
        let ours = offloaded(&weights.pieces, hidden, server.cpu_offload).unwrap().get();
        let theirs = row.number("offloaded");
        if row.text("model").starts_with("gpt-oss") {
            // Its parameters in MXFP4 are padded where they are built: within one of them.
            assert!(ours.abs_diff(theirs) < 64 << 20, "{ours} {}", row.line());
        } else {
            wrong.compare(&row, ours.abs_diff(theirs) <= within, true);
        }
        compared += 1;
    }
    wrong.end(compared, least);
}

#[test]
fn as_much_stays_in_main_memory_as_vllm_leaves_there() {
    offload(OFFLOAD, 60, 0);
}

#[test]
fn offloading_drawn_by_a_seed_leaves_what_vllm_leaves() {
    // One row ends between small vectors of a delta net, which are in another order there: 20,552 B.
    offload(HOLDOUT_OFFLOAD, 20, 32 << 10);
}

/// Blocks, formats of the cache and captured steps.
fn caches(file: &str, least: usize) {
    let (mut wrong, mut compared) = (Wrong::default(), 0);
    for row in rows(file) {
        let mut server = Server::default();
        let mut kv = KvFormat::Bf16;
        let (mut max_seqs, mut chunk) = (None, None);
        for (key, value) in row.text("told").split(' ').map(|said| said.split_once('=').unwrap()) {
            let number = || value.parse::<u64>().unwrap();
            match key {
                "block_size" => server.block_tokens = Some(number()),
                "kv_cache_dtype" => kv = value.parse().unwrap(),
                "max_cudagraph_capture_size" => server.most_captured = Some(number()),
                "max_num_seqs" => max_seqs = Some(number()),
                "max_num_batched_tokens" => chunk = Some(number()),
                "optimization_level" | "cudagraph_capture_sizes" => {}
                other => panic!("{other}"),
            }
        }
        let mut asked = Asked::new(&row, row.text("card"), server);
        asked.serving.max_seqs = max_seqs.unwrap_or(asked.serving.max_seqs);
        let part = asked.part(1, 0);
        let paging = asked.paging(kv, &part, Drafted::default());
        wrong.compare(&row, asked.pool(&row, paging, 1), pool_of(&row));
        let is_listed = row.text("told").contains("cudagraph_capture_sizes")
            || row.text("told").contains("optimization_level");
        if !is_listed {
            let steps = chunk.unwrap_or_else(|| {
                Serving::default_chunk(&asked.gpu, asked.serving.version, CONTEXT)
            });
            let family = asked.model.shape.architecture;
            let ours = captured(family, steps, asked.serving, &asked.gpu);
            wrong.compare(&row, ours, row.number("captured"));
        }
        compared += 1;
    }
    wrong.end(compared, least);
}

#[test]
fn caches_are_cut_as_they_are_told() {
    caches(CACHE, 90);
}

#[test]
fn caches_drawn_by_a_seed_are_cut_as_they_are_told() {
    caches(HOLDOUT_CACHE, 25);
}

/// The newest release that plans say they were compared with is the one that the registries' was compared as.
#[test]
fn the_newest_release_was_compared() {
    let checked = include_str!("../../../../evidence/track/checked.csv");
    let row = rows(checked).find(|row| row.text("engine") == "vllm").unwrap();
    let newest = RuntimeOptions::newest(Runtime::Vllm).checked_versions().pop().unwrap();
    let compared = row.text("compared");
    assert!(
        compared == newest || compared.starts_with(&format!("{newest}.")),
        "{compared} {newest}"
    );
    assert_eq!(row.text("moved"), "0");
}
