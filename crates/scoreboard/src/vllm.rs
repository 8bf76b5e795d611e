//! vLLM's own figures, from public logs. `evidence/vllm/README.md` says what they are.

use anyhow::Error;
use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::vllm::graphs;
use vramplan_planner::estimate::vllm::paged::Paging;
use vramplan_planner::estimate::weights::Weights;
use vramplan_planner::estimate::weights_per_rank;
use vramplan_planner::estimate::{Buffer, Holdings, Life, Moment, Scenario, holdings};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Bounds, GpuSpec, ModelSpec, Runtime, RuntimeOptions, RuntimeSpec, Serving, VllmVersion,
    Workload,
};
use vramplan_planner::units::{Bytes, Overflow};

use super::csv::{Row, rows};
use super::{Board, Origin, Part, Subject, sum};

/// Public logs, and why one is left out.
pub const LOGS: &str = include_str!("../../../tests/corpus/vllm.csv");

const MIB_PER_GIB: f64 = 1024.0;

/// The GPU that a log is taken to be of where it names none: what is compared then does not depend
/// on it.
const ANY_GPU: &str = "H100";

/// Everything that a row's scenario borrows from.
struct Case {
    gpu: GpuSpec,
    model: ModelSpec,
    runtime: RuntimeSpec,
    weights: Weights,
    kv: KvFormat,
    workload: Workload,
    serving: Serving,
}

impl Case {
    fn of(row: &Row) -> anyhow::Result<Self> {
        let catalog = Catalog::built_in();
        let named = row.text("gpu");
        let mut gpu = catalog.gpu(if named.is_empty() { ANY_GPU } else { named })?;
        if let Some(total) = row.maybe("total_gib")? {
            gpu.total.value = gib(total);
            gpu.reserved.value = Bytes::ZERO;
        }
        let model = catalog.model(row.text("profile"))?;
        let mut runtime = catalog.runtime(Runtime::Vllm)?;
        let version = version(row.text("version"))?;
        let default = Serving::on(&gpu, version);
        let serving = Serving {
            ranks: row.get("ranks")?,
            max_seqs: row.maybe("max_seqs")?.unwrap_or(default.max_seqs),
            utilization: row.maybe("utilization")?.unwrap_or(default.utilization),
            ..default
        };
        runtime.options = RuntimeOptions::Vllm(serving);
        let format: WeightFormat = row.get("weights")?;
        let context = model.shape.context_len;
        let chunk = Serving::default_chunk(&gpu, version, context);
        let workload = Workload {
            prefill_chunk: row.maybe("chunk")?.unwrap_or(chunk),
            context,
            ..super::workload(Runtime::Vllm, &model, &gpu)
        };
        Ok(Self {
            weights: weights_per_rank(&model, format, &runtime, serving.ranks)?,
            kv: row.get("kv")?,
            gpu,
            model,
            runtime,
            workload,
            serving,
        })
    }

    fn holdings(&self) -> anyhow::Result<Holdings> {
        let Self { gpu, model, runtime, weights, kv, workload, .. } = self;
        let (kv, workload, cache_tokens) = (*kv, *workload, 1);
        Ok(holdings(&Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens })?)
    }
}

/// The version; an old one where the log does not name it, whose profile run is not compared then.
fn version(text: &str) -> anyhow::Result<VllmVersion> {
    let text = if text.is_empty() { UNKNOWN } else { text };
    text.parse().map_err(Error::msg)
}

/// What a log is taken to be of that does not name its version.
const UNKNOWN: &str = "0.15";

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of a GPU")]
fn gib(n: f64) -> Bytes {
    Bytes::new((n * 1_073_741_824.0) as u64)
}

/// How the reason begins where only the profile run of a row is left out.
const PROFILE_RUN: &str = "profile run: ";

/// Predicts every log.
pub fn logs(board: &mut Board) -> anyhow::Result<()> {
    for row in rows(LOGS) {
        let reason = row.text("left_out");
        if !reason.is_empty() {
            board.leave_out(Runtime::Vllm, reason);
        }
        if reason.is_empty() || reason.starts_with(PROFILE_RUN) {
            log(board, &row)?;
        }
    }
    Ok(())
}

/// Weights with adapters' slots, or of a rank that has a part of the layers are another thing than what
/// is planned.
fn not_comparable(row: &Row) -> Option<&'static str> {
    if row.text("pipeline") != "1" {
        return Some("a rank has a part of the layers (pipeline parallelism)");
    }
    (row.text("lora") != "0").then_some("weights and totals: they include slots for adapters")
}

fn log(board: &mut Board, row: &Row) -> anyhow::Result<()> {
    let case = Case::of(row)?;
    let held = case.holdings()?;
    let line = row.line();
    let subject = Subject {
        runtime: Runtime::Vllm,
        origin: Origin::Log,
        model: row.text("profile"),
        row: &line,
        digit: 0.005 * MIB_PER_GIB,
    };
    let reason = not_comparable(row);
    if let Some(reason) = reason {
        board.leave_out(Runtime::Vllm, reason);
    }
    if row.text("pipeline") != "1" {
        return Ok(());
    }
    let logged = |column: &str| -> anyhow::Result<Option<f64>> {
        Ok(row.maybe::<f64>(column)?.map(|n| n * MIB_PER_GIB))
    };
    if row.text("version").is_empty() {
        board.leave_out(Runtime::Vllm, "profile run: the log does not name its version");
    } else if !row.text("left_out").starts_with(PROFILE_RUN) {
        let measured = logged("activation_peak_gib")?;
        subject.hit(board, Part::Compute, "profile run", measured, profile_run(&held)?);
    }
    pool(board, row, &case, subject)?;
    overheads(board, row, &case, &held, subject)?;
    if reason.is_none() {
        let weights = loaded(&case, &held)?;
        subject.hit(board, Part::Weights, "of a rank", logged("weights_gib")?, weights);
        if !row.text("left_out").starts_with(PROFILE_RUN) {
            totals(board, row, &held, subject)?;
        }
    }
    Ok(())
}

/// What vLLM calls weights: with the vision tower, what the allocator adds, and the rotary tables.
fn loaded(case: &Case, held: &Holdings) -> anyhow::Result<Bounds> {
    let weights = &case.weights;
    let exact = [weights.rounding, weights.vision, weights.vision_rounding];
    let [rounding, tower, tower_rounding] = exact.map(Bounds::exactly);
    let tables = named(held, BufferId::RotaryTables);
    let padding = named(held, BufferId::ExpertPadding);
    let inputs = named(held, BufferId::ImageLayerInputs);
    Ok(sum([weights.bounds, padding, inputs, rounding, tower, tower_rounding, tables])?)
}

fn named(held: &Holdings, id: BufferId) -> Bounds {
    let found = held.buffers.iter().find(|buffer| buffer.id == id);
    found.map_or(Bounds::ZERO, |buffer| buffer.size)
}

/// What vLLM calls the peak of the profile run.
fn profile_run(held: &Holdings) -> Result<Bounds, Overflow> {
    const STAYS: [BufferId; 5] = [
        BufferId::BlasWorkspace,
        BufferId::StepInputs,
        BufferId::ExpertWorkspaces,
        BufferId::ImagePixels,
        BufferId::ImageEmbeddings,
    ];
    let mut moments = [Bounds::ZERO; Moment::ALL.len()];
    for buffer in &held.buffers {
        for moment in Moment::ALL.into_iter().filter(|moment| is_alive(buffer, *moment, &STAYS)) {
            moments[moment as usize] = moments[moment as usize].plus(buffer.size)?;
        }
    }
    Ok(moments.into_iter().fold(Bounds::ZERO, Bounds::max))
}

fn is_alive(buffer: &Buffer, moment: Moment, stays: &[BufferId]) -> bool {
    match buffer.life {
        Life::During(_, of) => of == moment,
        Life::From(_) => stays.contains(&buffer.id),
    }
}

/// Tokens (or blocks) of the pool as bytes: with weights, non-torch memory and activations as logged,
/// or with the pool itself.
fn pool(board: &mut Board, row: &Row, case: &Case, subject: Subject<'_>) -> anyhow::Result<()> {
    let paging = Paging::of(&case.model, case.kv, case.serving.ranks)?;
    let parts = ["weights_gib", "non_torch_gib", "activation_peak_gib", "total_gib"];
    let mut known = Vec::new();
    for part in parts {
        known.extend(row.maybe::<f64>(part)?);
    }
    let known: Result<[f64; 4], _> = known.try_into();
    let pool = match (known, row.maybe("kv_cache_gib")?) {
        (Ok([weights, other, peak, total]), _) => {
            let limit = case.serving.utilization.of(gib(total))?;
            limit.minus_or_zero(gib(weights + other + peak))
        }
        (_, Some(pool)) => gib(pool),
        (_, None) => return Ok(()),
    };
    let blocks = paging.blocks(pool);
    let (measured, predicted, of_one) = match (row.maybe("kv_tokens")?, row.maybe("gpu_blocks")?) {
        (Some(tokens), _) => (tokens, paging.tokens(blocks), paging.tokens(1).max(1)),
        (None, Some(logged)) => (logged, blocks, 1),
        (None, None) => return Ok(()),
    };
    // In bytes of cache, and to the digit of the pool that was logged.
    let size = |n: u64| paging.block.scale(n, of_one);
    let (measured, predicted) = (size(measured)?, Bounds::exactly(size(predicted)?));
    let subject = Subject { digit: pool_digit(row, subject.digit)?, ..subject };
    subject.hit(board, Part::Kv, "blocks of the pool", Some(measured.as_mib()), predicted);
    Ok(())
}

/// Four logged sizes, and the digits of the share of the card: Unsloth prints two.
fn pool_digit(row: &Row, digit: f64) -> anyhow::Result<f64> {
    let total: f64 = row.maybe("total_gib")?.unwrap_or(0.0);
    let two_digits = row.text("source").starts_with("unslothai/") || row.text("gpu").is_empty();
    let share = if two_digits { 0.005 } else { 0.0 };
    Ok(4.0 * digit + share * total * MIB_PER_GIB)
}

fn overheads(
    board: &mut Board,
    row: &Row,
    case: &Case,
    held: &Holdings,
    subject: Subject<'_>,
) -> anyhow::Result<()> {
    let logged = |column: &str| -> anyhow::Result<Option<f64>> {
        Ok(row.maybe::<f64>(column)?.map(|n| n * MIB_PER_GIB))
    };
    let other = [BufferId::Libraries, BufferId::FamilyExtra, BufferId::RankCommunication];
    let other = sum(other.map(|id| named(held, id)))?;
    let graphs = sum([graphs::NAME, graphs::SPLIT_RESULTS].map(|id| named(held, id)))?;
    let context = named(held, BufferId::CudaContext);
    // Several ranks have started NCCL when the first snapshot is taken.
    let alone = case.serving.ranks == 1;
    let context_logged = logged("context_gib")?.filter(|_| alone);
    let other_logged = logged("non_torch_gib")?;
    let graphs_logged = logged("cuda_graph_gib")?;
    let (Some(other_logged), Some(graphs_logged)) = (other_logged, graphs_logged) else {
        return Ok(());
    };
    if graphs_logged < 0.0 {
        board.leave_out(Runtime::Vllm, "overhead: the log's fault: a negative size of the graphs");
        return Ok(());
    }
    let mut measured = other_logged + graphs_logged;
    let mut predicted = vec![other, graphs];
    if let Some(context_logged) = context_logged {
        measured += context_logged;
        predicted.push(context);
    }
    let what = "context where logged, libraries and graphs";
    let subject = Subject { digit: 3.0 * subject.digit, ..subject };
    subject.hit(board, Part::Overhead, what, Some(measured), sum(predicted)?);
    Ok(())
}

/// Weights, non-torch memory and the profile run: all that vLLM's own share counts beside the pool.
fn totals(
    board: &mut Board,
    row: &Row,
    held: &Holdings,
    subject: Subject<'_>,
) -> anyhow::Result<()> {
    let parts = ["weights_gib", "non_torch_gib", "activation_peak_gib"];
    let mut measured = 0.0;
    for part in parts {
        let Some(logged) = row.maybe::<f64>(part)? else { return Ok(()) };
        measured += logged * MIB_PER_GIB;
    }
    let Some(pool) = held.pool else { return Ok(()) };
    let subject = Subject { digit: 3.0 * subject.digit, ..subject };
    let what = "all of its share but the cache";
    subject.hit(board, Part::Total, what, Some(measured), pool.fixed);
    Ok(())
}
