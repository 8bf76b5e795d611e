//! llama.cpp: public logs of real GPUs, and the library's own answers.
//!
//! In a log `version` is the generation that its build number names; logs without one are dated by the
//! generation that reproduces both of their buffers, so for those it is a fit.

use std::collections::HashMap;

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::llama_cpp::graph::{
    CacheSizes, ComputeBuffer, Context, ContextParams, Gates, LlamaCppGeneration, LlamaCppVersion,
    Outputs, Stage, caches_of, graph_bounds, model_buffer,
};
use vramplan_planner::estimate::weights::Weights;
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Component, Scenario, buffers};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{Bounds, ModelSpec, Runtime, Workload};
use vramplan_planner::units::{Bytes, Overflow};

use super::csv::{Row, rows};
use super::{Board, Origin, Part, Subject, shapes, sum};

/// Public logs, and why one is left out.
pub const LOGS: &str = include_str!("../../../tests/corpus/llama_cpp.csv");

/// The library's answers: a matrix, random parameters for other models, and other families.
pub const MATRIX: &str = include_str!("../../../evidence/llama_cpp/llama_cpp.csv");
/// The same for models that were held aside.
pub const HOLDOUT: &str = include_str!("../../../evidence/llama_cpp/llama_cpp_holdout.csv");
/// The same for further families.
pub const FAMILIES: &str = include_str!("../../../evidence/llama_cpp/llama_cpp_families.csv");

const MIB: f64 = 1_048_576.0;

/// What llama.cpp allocates for a context of a model.
pub struct Buffers {
    /// The context as llama.cpp resolves it.
    pub context: Context,
    /// The caches.
    pub caches: CacheSizes,
    /// The compute buffer.
    pub compute: ComputeBuffer,
}

impl Buffers {
    /// Plans the buffers of a context.
    pub fn of(model: &ModelSpec, params: &ContextParams) -> Result<Self, Overflow> {
        let mut context = params.resolve_for(model)?;
        context.graph.gates = Gates::stored(model);
        let caches = caches_of(model, &(0..model.shape.n_layers), &context)?;
        let compute = model_buffer(model, &context.graph, &Stage::all(&model.shape))?;
        Ok(Self { context, caches, compute })
    }

    fn kv(&self) -> Result<Bounds, Overflow> {
        let CacheSizes { full, window, recurrent } = self.caches;
        Ok(Bounds::exactly(Bytes::sum([full, window, recurrent])?))
    }

    /// With the bounds of a plan, where the graph depends on more than the shape.
    fn compute(&self, model: &ModelSpec) -> Result<Bounds, Overflow> {
        graph_bounds(model, self.context.graph.version, self.compute.device)
    }
}

/// The context of an engine's row.
pub fn context(row: &Row) -> anyhow::Result<ContextParams> {
    Ok(ContextParams {
        n_ctx: row.get("n_ctx")?,
        n_batch: row.get("n_batch")?,
        n_ubatch: row.get("n_ubatch")?,
        n_seq: row.get("n_seq_max")?,
        unified: row.flag("kv_unified"),
        swa_full: row.has("swa_full") && row.flag("swa_full"),
        outputs: match row.get("n_outputs_max")? {
            0 => Outputs::All,
            n => Outputs::Few(n),
        },
        flash: row.flag("flash_attn"),
        ada: true,
        metal: false,
        type_k: row.get("type_k")?,
        type_v: row.get("type_v")?,
        version: generation(row)?,
    })
}

/// The generation of the library that answered: `0.5.0-dev 0c1e570` is of 0.5.0.
pub fn generation(row: &Row) -> anyhow::Result<LlamaCppGeneration> {
    let version: String = row.get("llama_cpp_version")?;
    let release = version.split(['-', ' ']).next().unwrap_or_default();
    let release: LlamaCppVersion = release.parse().map_err(anyhow::Error::msg)?;
    Ok(release.generation())
}

/// The context of a log, as Ollama and servers of its time make it.
pub fn logged_context(row: &Row) -> anyhow::Result<ContextParams> {
    let n_seq = row.maybe("n_seq_max")?.unwrap_or(1);
    let kv: KvFormat = row.get("kv")?;
    Ok(ContextParams {
        n_ctx: row.get("n_ctx")?,
        n_batch: row.get("n_batch")?,
        n_ubatch: row.get("n_ubatch")?,
        n_seq,
        unified: n_seq > 1,
        swa_full: false,
        outputs: Outputs::All,
        flash: row.flag("flash"),
        ada: true,
        metal: false,
        type_k: kv,
        type_v: kv,
        version: row.get::<LlamaCppVersion>("version")?.generation(),
    })
}

/// `MXFP4` is gpt-oss as published: experts in MXFP4, the rest in 16 bits.
pub fn format(name: &str) -> anyhow::Result<WeightFormat> {
    if name == "MXFP4" { Ok(WeightFormat::F16) } else { Ok(name.parse()?) }
}

/// Models and their weights, sized once.
struct Sized {
    models: HashMap<String, ModelSpec>,
    weights: HashMap<(String, String), Weights>,
}

/// Predicts every row of the library.
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let runtime = Catalog::built_in().runtime(Runtime::LlamaCpp)?;
    let mut sized = Sized { models: shapes::models(), weights: HashMap::new() };
    for row in [MATRIX, HOLDOUT, FAMILIES].into_iter().flat_map(rows) {
        let (name, file_type) = (row.text("model"), row.text("file_type"));
        let model = &sized.models[name];
        let buffers = Buffers::of(model, &context(&row)?)?;
        let key = (name.to_owned(), file_type.to_owned());
        if !sized.weights.contains_key(&key) {
            let weights = weights_of(model, format(file_type)?, &runtime)?;
            sized.weights.insert(key.clone(), weights);
        }
        let line = row.line();
        let (runtime, origin) = (Runtime::LlamaCpp, Origin::Engine);
        let subject = Subject { runtime, origin, model: name, row: &line, digit: 0.0 };
        let measured = |column: &str| -> anyhow::Result<f64> { Ok(row.get::<f64>(column)? / MIB) };
        let parts = [
            (Part::Weights, measured("weights_gpu_bytes")?, sized.weights[&key].bounds),
            (Part::Kv, measured("kv_bytes")?, buffers.kv()?),
            (Part::Compute, measured("compute_gpu_bytes")?, buffers.compute(model)?),
        ];
        for (part, measured, predicted) in parts {
            subject.hit(board, part, "buffer", Some(measured), predicted);
        }
        let measured = parts.map(|(_, measured, _)| measured).iter().sum();
        let predicted = sum(parts.map(|(.., predicted)| predicted))?;
        subject.hit(board, Part::Total, "the three buffers", Some(measured), predicted);
    }
    Ok(())
}

/// Predicts every log.
pub fn logs(board: &mut Board) -> anyhow::Result<()> {
    for row in rows(LOGS) {
        let reason = row.text("left_out");
        let parts = match reason {
            "" => [true; 3],
            _ if reason.starts_with("compute: ") => [true, true, false],
            _ => [false; 3],
        };
        if !reason.is_empty() {
            board.leave_out(Runtime::LlamaCpp, reason);
        }
        if parts != [false; 3] {
            log(board, &row, parts)?;
        }
    }
    Ok(())
}

fn log(board: &mut Board, row: &Row, wanted: [bool; 3]) -> anyhow::Result<()> {
    let catalog = Catalog::built_in();
    let runtime = catalog.runtime(Runtime::LlamaCpp)?;
    let mut model = catalog.model(row.text("model"))?;
    let weights = weights_of(&model, format(row.text("weights"))?, &runtime)?;
    if let Some(vocab) = row.maybe("n_vocab")? {
        model.shape.vocab_size = vocab;
    }
    let buffers = Buffers::of(&model, &logged_context(row)?)?;
    let line = row.line();
    let subject = Subject {
        runtime: Runtime::LlamaCpp,
        origin: Origin::Log,
        model: row.text("model"),
        row: &line,
        digit: 0.01,
    };
    let parts = [
        (Part::Weights, "weights_mib", weights.bounds),
        (Part::Kv, "kv_mib", buffers.kv()?),
        (Part::Compute, "compute_mib", buffers.compute(&model)?),
    ];
    for ((part, column, predicted), wanted) in parts.into_iter().zip(wanted) {
        if wanted {
            subject.hit(board, part, "buffer", row.maybe(column)?, predicted);
        }
    }
    let Some(total) = row.maybe("total_mib")? else { return Ok(()) };
    let gpu = &catalog.gpu(row.text("gpu"))?;
    let scenario = Scenario {
        gpu,
        runtime: &runtime,
        model: &model,
        weights: &weights,
        kv: row.get("kv")?,
        workload: Workload {
            prefill_chunk: row.get("n_ubatch")?,
            ..super::workload(Runtime::LlamaCpp, &model, gpu)
        },
        cache_tokens: row.get("n_ctx")?,
    };
    let beside = [Component::RuntimeOverhead, Component::Fragmentation];
    let beside = buffers_of(&scenario, &beside)?;
    let subject = Subject { digit: 1.0, ..subject };
    let overhead = row.maybe("overhead_mib")?;
    subject.hit(board, Part::Overhead, "unaccounted by llama.cpp", overhead, beside);
    let total_predicted = sum(parts.map(|(.., predicted)| predicted).into_iter().chain([beside]))?;
    subject.hit(board, Part::Total, "used on the device", Some(total), total_predicted);
    Ok(())
}

fn buffers_of(scenario: &Scenario<'_>, wanted: &[Component]) -> anyhow::Result<Bounds> {
    let buffers = buffers(scenario)?;
    let mine = buffers.iter().filter(|buffer| wanted.contains(&buffer.component));
    Ok(sum(mine.map(|buffer| buffer.size))?)
}
