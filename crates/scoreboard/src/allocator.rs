//! What a card has to have for a conversation with transformers (`evidence/allocator`): the real
//! forward passes through the rules of `PyTorch`'s allocator.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use vramplan_planner::estimate::BufferId;

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::weights::Weights;
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Buffer, Component, Life, Phase, Scenario, buffers};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{Attention, Bounds, ModelSpec, Runtime, Workload};
use vramplan_planner::units::Overflow;

use super::csv::{Row, rows};
use super::transformers::largest_moment;
use super::{Board, Origin, Part, Subject, sum};

/// The conversations, stage by stage.
pub const CONVERSATIONS: &str = include_str!("../../../evidence/allocator/allocator.csv");

const MIB: f64 = 1_048_576.0;

/// What is known of a conversation before its rows are read.
#[derive(Clone, Copy, Default)]
struct Talk {
    /// Tokens of its first prompt, which is what its system prompt is.
    first: u64,
    /// Tokens at its end.
    last: u64,
    /// Tokens of its largest pass.
    chunk: u64,
}

fn key(row: &Row) -> [String; 4] {
    row.texts(["model", "weights", "cache", "conversation"])
}

/// The first prompt is all that is processed before the first token is generated.
fn talks() -> HashMap<[String; 4], Talk> {
    let mut talks: HashMap<_, Talk> = HashMap::new();
    for row in rows(CONVERSATIONS) {
        let talk = talks.entry(key(&row)).or_default();
        if row.text("stage") == "decode" && talk.first == 0 {
            talk.first = talk.last;
        }
        talk.last = row.number("tokens");
        talk.chunk = talk.chunk.max(row.number("rows"));
    }
    talks
}

/// Predicts the smallest card of every conversation.
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let catalog = Catalog::built_in();
    let (gpu, runtime) = (catalog.gpu("L4")?, catalog.runtime(Runtime::Transformers)?);
    let talks = talks();
    let mut known: HashMap<[String; 2], (ModelSpec, Weights)> = HashMap::new();
    for row in rows(CONVERSATIONS).filter(|row| row.text("stage") == "end") {
        let Talk { first, last, chunk } = talks[&key(&row)];
        let name = row.text("model");
        let (model, weights) = match known.entry(row.texts(["model", "weights"])) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let model = catalog.model(name)?;
                let weights = weights_of(&model, row.get::<WeightFormat>("weights")?, &runtime)?;
                new.insert((model, weights))
            }
        };
        let grown = row.text("cache") == "dynamic";
        let workload = Workload {
            system_tokens: first,
            prefill_chunk: chunk,
            attention: Attention::Sdpa,
            images: None,
            grown_cache: grown,
            ..super::workload(Runtime::Transformers, model, &gpu)
        };
        let (gpu, runtime, kv) = (&gpu, &runtime, KvFormat::Bf16);
        let listed = buffers(&Scenario {
            model,
            gpu,
            runtime,
            weights,
            kv,
            workload,
            cache_tokens: last - first,
        })?;
        let line = row.line();
        let (runtime, origin) = (Runtime::Transformers, Origin::Engine);
        let subject = Subject { runtime, origin, model: name, row: &line, digit: 0.0 };
        #[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
        let reserved = row.number("needed") as f64 / MIB;
        let what = "what PyTorch's allocator needs";
        subject.hit(board, Part::Reserved, what, Some(reserved), held(&listed)?);
    }
    Ok(())
}

/// Everything that comes from the allocator: what stays, the largest moment so far, and what it loses.
pub(super) fn held(listed: &[Buffer]) -> Result<Bounds, Overflow> {
    const OUTSIDE: [BufferId; 2] = [BufferId::CudaContext, BufferId::Libraries];
    let stays = listed
        .iter()
        .filter(|buffer| matches!(buffer.life, Life::From(_)) && !OUTSIDE.contains(&buffer.id));
    let stays = stays.filter(|buffer| buffer.component != Component::ActivationCapture);
    let mut most = Bounds::ZERO;
    for phase in Phase::ALL {
        most = most.max(largest_moment(listed, phase)?);
    }
    sum(stays.map(|buffer| buffer.size).chain([most]))
}
