//! What there is to choose from, as a tool answers it: schema `vramplan/profiles/v1`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::answers::{nothing_else, reply, text};
use crate::cli::known::Known;
use crate::cli::problem::Problem;
use crate::mcp::Reply;
use vramplan_planner::form::Lists;
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// Names, and what of each tells it from the others.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProfilesDoc {
    /// `vramplan/profiles/v1`.
    schema: &'static str,
    /// Cards, the smallest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus: Option<Vec<Gpu>>,
    /// Models.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<Model>>,
    /// Runtimes.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtimes: Option<Vec<Engine>>,
}

/// A card.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Gpu {
    /// What `gpu` takes.
    name: String,
    /// Bytes, as NVML reports them.
    total: u64,
}

/// A model.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Model {
    /// What `model` takes.
    name: String,
    /// Parameters.
    parameters: u64,
}

/// A runtime.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Engine {
    /// What `runtime` takes.
    name: String,
    /// What `weights` takes under it, the smallest first; a file's own format may be another.
    weights: Vec<String>,
    /// What `kv` takes under it.
    kv: Vec<String>,
    /// What `attention` takes under it.
    attention: Vec<String>,
    /// What `runtime_version` may be where versions differ: those that plans were checked against.
    versions: Vec<String>,
}

const SCHEMA: &str = "vramplan/profiles/v1";

/// The names of a kind.
pub fn answer(known: &Known, mut arguments: Map<String, Value>) -> anyhow::Result<Reply> {
    let kind = text(&mut arguments, "kind")?.unwrap_or_default();
    let wanted = text(&mut arguments, "matching")?.unwrap_or_default().to_lowercase();
    nothing_else(&arguments)?;
    let has = |name: &str| {
        let name = name.to_lowercase();
        wanted.split_whitespace().all(|word| name.contains(word))
    };
    let lists = Lists::of(known)?;
    let document = match &*kind {
        "gpus" => gpus(lists, has),
        "models" => models(lists, has),
        "runtimes" => runtimes(lists, has),
        _ => {
            let expected = "expected `gpus`, `models`, `runtimes`";
            let message = format!("`kind` is `{}`: {expected}", printable(&kind));
            return Err(Problem::new(message).into());
        }
    };
    reply(vec![document.lines()], &document)
}

fn gpus(lists: Lists, has: impl Fn(&str) -> bool) -> ProfilesDoc {
    let gpus = lists.gpus.into_iter().filter(|gpu| has(&gpu.name));
    let gpus = gpus.map(|gpu| Gpu { name: gpu.name, total: gpu.total }).collect();
    ProfilesDoc { schema: SCHEMA, gpus: Some(gpus), ..ProfilesDoc::default() }
}

fn models(lists: Lists, has: impl Fn(&str) -> bool) -> ProfilesDoc {
    let models = lists.models.into_iter().filter(|model| has(&model.name));
    let model = |model: vramplan_planner::form::ModelEntry| Model {
        name: model.name,
        parameters: model.parameters,
    };
    let models = models.map(model).collect();
    ProfilesDoc { schema: SCHEMA, models: Some(models), ..ProfilesDoc::default() }
}

fn runtimes(lists: Lists, has: impl Fn(&str) -> bool) -> ProfilesDoc {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let runtimes = lists.runtimes.into_iter().filter(|runtime| has(runtime.name));
    let runtimes = runtimes.map(|runtime| Engine {
        name: runtime.name.to_owned(),
        weights: runtime.weights,
        kv: owned(runtime.kv),
        attention: runtime.attention,
        versions: owned(runtime.versions),
    });
    ProfilesDoc { schema: SCHEMA, runtimes: Some(runtimes.collect()), ..ProfilesDoc::default() }
}

impl ProfilesDoc {
    /// A line for each.
    fn lines(&self) -> String {
        let gpu = |gpu: &Gpu| format!("{} ({})", gpu.name, Bytes::new(gpu.total));
        let model = |model: &Model| format!("{} ({} parameters)", model.name, model.parameters);
        let engine = |engine: &Engine| {
            let Engine { name, weights, kv, .. } = engine;
            format!("{name}: weights {}; kv {}", weights.join(", "), kv.join(", "))
        };
        let gpus = self.gpus.iter().flatten().map(gpu);
        let models = self.models.iter().flatten().map(model);
        let engines = self.runtimes.iter().flatten().map(engine);
        let lines: Vec<_> = gpus.chain(models).chain(engines).collect();
        if lines.is_empty() { "no name matches".to_owned() } else { lines.join("\n") }
    }
}

/// Two of each kind, for tests.
#[cfg(test)]
pub fn example() -> ProfilesDoc {
    let lists = Lists::of(&Known::built_in()).unwrap();
    let of = |name: &str| ["L4", "qwen2.5-7b", "vllm", "llama.cpp"].contains(&name);
    let (gpus, models) = (gpus(lists.clone(), of), models(lists.clone(), of));
    ProfilesDoc { gpus: gpus.gpus, models: models.models, ..runtimes(lists, of) }
}
