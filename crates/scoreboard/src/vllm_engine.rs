//! What vLLM itself makes of models without a GPU (`evidence/vllm`): the parameters of a rank or
//! a stage, and the pool that a given memory becomes.

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::placement::{Room, Spread, parts};
use vramplan_planner::estimate::vllm::paged::{Paging, kernel_block_tokens};
use vramplan_planner::estimate::weights_of_part;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Bounds, GpuSpec, ModelSpec, Part as Share, Runtime, RuntimeSpec, Split,
};
use vramplan_planner::units::Bytes;

use super::csv::{Row, rows};
use super::{Board, Origin, Part, Subject};

/// Pools of the releases that were asked, the newest last.
pub const KV: [&str; 2] = [
    include_str!("../../../evidence/vllm/kv.csv"),
    include_str!("../../../evidence/vllm/kv-0.33.0.csv"),
];
/// Parameters of ranks and stages, the same.
pub const WEIGHTS: [&str; 2] = [
    include_str!("../../../evidence/vllm/weights.csv"),
    include_str!("../../../evidence/vllm/weights-0.33.0.csv"),
];

const MIB: f64 = 1_048_576.0;

fn subject<'a>(model: &'a str, row: &'a str) -> Subject<'a> {
    Subject { runtime: Runtime::Vllm, origin: Origin::Engine, model, row, digit: 0.0 }
}

/// Predicts every row but those that `evidence/vllm/README.md` says cannot be compared.
#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let catalog = Catalog::built_in();
    let runtime = catalog.runtime(Runtime::Vllm)?;
    for row in WEIGHTS.into_iter().flat_map(rows) {
        if row.text("weights") == "mxfp4" {
            board.leave_out(Runtime::Vllm, "experts that kernels pad after they are loaded");
            continue;
        }
        let (name, line) = (row.text("model"), row.line());
        let (model, gpu) = (catalog.model(name)?, catalog.gpu(row.text("card"))?);
        let format: WeightFormat = row.get("weights")?;
        let share = share(&row, (&model, format), &gpu, &runtime)?;
        let predicted = weights_of_part(&model, format, &runtime, &share)?.bounds;
        let bytes = row.number("bytes") + row.number("absorbed");
        subject(name, &line).hit(
            board,
            Part::Weights,
            "parameters",
            Some(bytes as f64 / MIB),
            predicted,
        );
    }
    for row in KV.into_iter().flat_map(rows) {
        if row.number("stages") > 1 {
            board.leave_out(Runtime::Vllm, "a pool of a stage: the smallest stage decides for all");
            continue;
        }
        let (name, line) = (row.text("model"), row.line());
        let (model, gpu) = (catalog.model(name)?, catalog.gpu(row.text("card"))?);
        let kv: KvFormat = row.get("kv")?;
        let layers = share(&row, (&model, WeightFormat::Bf16), &gpu, &runtime)?.layers;
        let tokens = kernel_block_tokens(&model, kv, &gpu, row.get("vllm")?);
        let paging = Paging::of_run(&model, &layers, kv, row.number("ranks"), tokens)?;
        let pool = paging.block.times(paging.blocks(Bytes::new(row.number("available"))))?;
        let measured = Some(row.number("bytes") as f64 / MIB);
        subject(name, &line).hit(board, Part::Kv, "pool", measured, Bounds::exactly(pool));
    }
    Ok(())
}

/// What the GPU of a row has of the model.
fn share(
    row: &Row,
    (model, format): (&ModelSpec, WeightFormat),
    gpu: &GpuSpec,
    runtime: &RuntimeSpec,
) -> anyhow::Result<Share> {
    let (stages, stage) = (row.get::<usize>("stages")?, row.get::<usize>("stage")?);
    if stages == 1 {
        return Ok(Share::rank(model, 0, row.number("ranks")));
    }
    let spread = Spread { model, format, runtime, split: Split::Layer, images: Some(0) };
    let rooms = vec![Room { gpu, usable: gpu.visible() }; stages];
    Ok(parts(&spread, &rooms)?.swap_remove(stage))
}
