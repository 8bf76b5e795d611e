//! `SkyPilot` and dstack: a task for each kind. Both read YAML, of which JSON is a part.
//!
//! Sources: docs.skypilot.co, "Task YAML"; dstack.ai, reference of `.dstack.yml`, `task`.

use serde_json::{Value, json};

use super::{Jobs, line};
use crate::fleet::plan::KindDoc;

/// The runs of a kind one after the other: these schedulers have no arrays.
fn commands(kind: &KindDoc, jobs: &Jobs) -> Vec<String> {
    let run = |index: u64| format!("VRAMPLAN_INDEX={index} {}", line(kind, jobs));
    (0..jobs.runs).map(run).collect()
}

/// The card as these schedulers name it: without spaces, a slice by its card.
fn accelerator(kind: &KindDoc) -> String {
    kind.gpu.as_deref().unwrap_or_default().replace(' ', "")
}

fn gib(jobs: &Jobs) -> u64 {
    jobs.memory.get().div_ceil(1 << 30)
}

/// A task of `SkyPilot`: `sky jobs launch FILE`.
pub fn sky(kind: &KindDoc, jobs: &Jobs) -> String {
    pretty(&json!({
        "name": format!("vramplan-{}", kind.id),
        "resources": {
            "accelerators": format!("{}:1", accelerator(kind)),
            "cpus": format!("{}+", jobs.cpus),
            "memory": format!("{}+", gib(jobs)),
            "job_recovery": { "strategy": "FAILOVER", "max_restarts_on_errors": 2 },
        },
        "run": format!("timeout {}m sh -c {}", jobs.minutes.saturating_mul(jobs.runs), quoted(&commands(kind, jobs).join(" && "))),
    }))
}

fn quoted(text: &str) -> String {
    crate::text::shell_word(text).map_or_else(String::new, std::borrow::Cow::into_owned)
}

/// A task of dstack: `dstack apply -f FILE`.
pub fn dstack(kind: &KindDoc, jobs: &Jobs) -> String {
    pretty(&json!({
        "type": "task",
        "name": format!("vramplan-{}", kind.id),
        "commands": commands(kind, jobs),
        "resources": {
            "gpu": format!("{}:1", accelerator(kind)),
            "cpu": format!("{}..", jobs.cpus),
            "memory": format!("{}GB..", gib(jobs)),
        },
        "max_duration": format!("{}m", jobs.minutes.saturating_mul(jobs.runs)),
        "retry": { "on_events": ["interruption", "error"], "duration": "1h" },
    }))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
