//! What vLLM itself makes of models without a GPU (`tests/engines/vllm`): the parameters of a rank or
//! a stage, and the pool that a given memory becomes.

use vramplan::dtype::{KvFormat, WeightFormat};
use vramplan::estimate::paged::{Paging, kernel_block_tokens};
use vramplan::estimate::placement::{Room, Spread, parts};
use vramplan::estimate::weights::weights_of_part;
use vramplan::source::Catalog;
use vramplan::spec::{Bounds, GpuSpec, ModelSpec, Part as Share, Runtime, RuntimeSpec, Split};
use vramplan::units::Bytes;

use super::csv::{Row, rows};
use super::{Board, Origin, Part, Subject};

const KV: &str = include_str!("../../../tests/engines/vllm/kv.csv");
const WEIGHTS: &str = include_str!("../../../tests/engines/vllm/weights.csv");

const MIB: f64 = 1_048_576.0;

fn subject<'a>(model: &'a str, row: &'a str) -> Subject<'a> {
    Subject { runtime: Runtime::Vllm, origin: Origin::Engine, model, row, digit: 0.0 }
}

/// Predicts every row but those that `tests/engines/vllm/README.md` says cannot be compared.
#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let catalog = Catalog::without_configuration(&[]);
    let runtime = catalog.runtime(Runtime::Vllm)?;
    for row in rows(WEIGHTS) {
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
    for row in rows(KV) {
        if row.number("stages") > 1 {
            board.leave_out(Runtime::Vllm, "a pool of a stage: the smallest stage decides for all");
            continue;
        }
        let (name, line) = (row.text("model"), row.line());
        let (model, gpu) = (catalog.model(name)?, catalog.gpu(row.text("card"))?);
        let kv: KvFormat = row.get("kv")?;
        let layers = share(&row, (&model, WeightFormat::Bf16), &gpu, &runtime)?.layers;
        let tokens = kernel_block_tokens(&model, kv, &gpu);
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
