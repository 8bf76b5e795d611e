//! Random jobs of llama.cpp on virtual cards (`evidence/llama_cpp/rehearse.py`): what every card was asked for, and what
//! the plan of the same question says of it.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use vramplan_planner::deployment::{Question, resolve, served};
use vramplan_planner::estimate::llama_cpp::DRAFT_POOL;
use vramplan_planner::estimate::{BufferId, Component};
use vramplan_planner::plan::Plan;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::Bytes;

use super::csv::Row;

/// The jobs.
pub const JOBS: &str = include_str!("../../../evidence/llama_cpp/rehearsed.csv");

/// What a card holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// Weights, caches and the compute buffer together.
    pub buffers: T,
    /// The CUDA backend's memory pool.
    pub pool: T,
    /// Everything but the context.
    pub total: T,
}

/// The question of a row, as a deployment is asked for in TOML.
///
/// # Errors
/// Never: what is written is a string.
pub fn question(row: &Row) -> anyhow::Result<String> {
    let mut text = String::new();
    let n_ctx = row.number("n_ctx");
    let slots = row.number("n_seq_max");
    writeln!(text, "gpu = '{}'\nruntime = 'llama.cpp'", row.text("cards"))?;
    for (key, column) in
        [("runtime_version", "llama_cpp_version"), ("model", "model"), ("weights", "file_type")]
    {
        writeln!(text, "{key} = '{}'", row.text(column))?;
    }
    writeln!(text, "kv = '{}/{}'", row.text("type_k"), row.text("type_v"))?;
    let attention = if row.text("flash_attn") == "off" { "eager" } else { "flash" };
    let logits = if row.flag("all_outputs") { "all" } else { "last" };
    writeln!(text, "attention = '{attention}'\nlogits = '{logits}'")?;
    writeln!(text, "prefill_chunk = {}", row.number("n_ubatch"))?;
    writeln!(text, "batch_size = {}", row.number("n_batch"))?;
    let (each, sharing) = match (slots, row.flag("kv_unified")) {
        (1, _) => (n_ctx, String::new()),
        (_, true) => (n_ctx, format!("parallel = {slots}\nkv_unified = true\n")),
        (_, false) => (n_ctx / slots, format!("batch = {slots}\n")),
    };
    write!(text, "cache_tokens = {each}\n{sharing}")?;
    match row.number("ngl") {
        // Said, so that no other placement is chosen where the pool's bounds do not fit.
        999 => writeln!(text, "ngl = 'all'")?,
        layers => writeln!(text, "ngl = {layers}")?,
    }
    if row.number("n_cpu_moe") > 0 {
        writeln!(text, "n_cpu_moe = {}", row.number("n_cpu_moe"))?;
    }
    for (key, column) in [("tensor_split", "tensor_split"), ("override_tensor", "overrides")] {
        match row.text(column) {
            "" => {}
            list if key == "tensor_split" => writeln!(text, "{key} = '{list}'")?,
            pattern => writeln!(text, "{key} = ['{pattern}']")?,
        }
    }
    for (key, column) in [
        ("no_kv_offload", "no_kv_offload"),
        ("no_op_offload", "no_op_offload"),
        ("swa_full", "swa_full"),
    ] {
        if row.flag(column) {
            writeln!(text, "{key} = true")?;
        }
    }
    Ok(text)
}

/// Jobs of llama-server (`evidence/llama_cpp/rehearse_server.py`).
pub const SERVERS: &str = include_str!("../../../evidence/llama_cpp/rehearsed_servers.csv");

/// What is planned for every card of a server's row, which says the command's flags as they were given.
///
/// # Errors
/// Where it cannot be planned.
pub fn planned_server(catalog: &Catalog, row: &Row) -> anyhow::Result<Vec<Held<Bounds>>> {
    let mut command = format!("llama-server -m {} {}", row.text("model"), row.text("flags"));
    if row.text("chosen").starts_with('-') {
        write!(command, " {}", row.text("chosen"))?;
    }
    if !row.text("draft").is_empty() {
        write!(command, " -md {}", row.text("draft"))?;
    }
    if !row.text("mmproj").is_empty() {
        command.push_str(" --mmproj auto");
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    let served = served(&words).map_err(|unread| anyhow::anyhow!("{command}: {unread:?}"))?;
    anyhow::ensure!(served.left_out.is_empty(), "{command}: {:?} is left out", served.left_out);
    let mut question = served.question;
    question.gpu = Some(row.text("cards").to_owned());
    question.runtime_version = Some(row.text("llama_cpp_version").to_owned());
    question.weights = Some(row.get("file_type")?);
    planned_of(catalog, &question, row)
}

/// What is planned for every card of a row.
///
/// # Errors
/// Where it cannot be planned.
pub fn planned(catalog: &Catalog, row: &Row) -> anyhow::Result<Vec<Held<Bounds>>> {
    planned_of(catalog, &toml::from_str(&question(row)?)?, row)
}

fn planned_of(
    catalog: &Catalog,
    question: &Question,
    row: &Row,
) -> anyhow::Result<Vec<Held<Bounds>>> {
    let mut deployment = resolve(question, catalog, &MemoryFiles::default(), None)?;
    Arc::make_mut(&mut deployment.runtime).launch.virtual_memory = row.flag("vmm");
    let answer = answer(&deployment)?;
    let devices = answer.devices.iter().filter(|device| !device.card.gpu.is_main_memory());
    let several: Vec<_> = devices.map(|device| held(&device.plan)).collect::<Result<_, _>>()?;
    if several.is_empty() { Ok(vec![held(&answer.plan)?]) } else { Ok(several) }
}

fn held(plan: &Plan) -> anyhow::Result<Held<Bounds>> {
    let zero = Held { buffers: Bounds::ZERO, pool: Bounds::ZERO, total: Bounds::ZERO };
    plan.buffers.iter().filter(|buffer| buffer.id != BufferId::CudaContext).try_fold(
        zero,
        |sum, buffer| {
            let plus = |to: Bounds, is_part: bool| {
                if is_part { to.plus(buffer.size) } else { Ok(to) }
            };
            let is_pool =
                matches!(buffer.id, BufferId::AttentionPool | BufferId::Pool | BufferId::Libraries)
                    || buffer.id == BufferId::Other(DRAFT_POOL);
            let is_buffer = !is_pool
                && !matches!(
                    buffer.component,
                    Component::RuntimeOverhead | Component::Fragmentation
                );
            Ok(Held {
                buffers: plus(sum.buffers, is_buffer)?,
                pool: plus(sum.pool, is_pool)?,
                total: plus(sum.total, true)?,
            })
        },
    )
}

/// What every card of a row was asked for, and handed out.
///
/// # Errors
/// Where a cell is no list of numbers.
pub fn measured(row: &Row) -> anyhow::Result<Vec<Held<Bytes>>> {
    let list = |column: &str| -> anyhow::Result<Vec<Bytes>> {
        let cells = row.text(column).split(';');
        let bytes = |cell: &str| cell.parse().map(Bytes::new).with_context(|| column.to_owned());
        cells.map(bytes).collect()
    };
    let (buffers, pool, total) = (list("buffer_bytes")?, list("pool_bytes")?, list("peak_bytes")?);
    let cards = buffers.into_iter().zip(pool).zip(total);
    Ok(cards.map(|((buffers, pool), total)| Held { buffers, pool, total }).collect())
}
