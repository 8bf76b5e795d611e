//! The state of a fleet for other programs: labels of nodes, and a file for Prometheus' node exporter.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::merge::MergedDoc;
use super::plan::{FleetPlan, KindDoc, State};

/// A line for each node: its name and its labels, as `kubectl label node` takes them behind it.
///
/// ```text
/// l4-01 vramplan.dev/kind=l4 vramplan.dev/state=calibrated
/// ```
pub fn to_labels(plan: &FleetPlan) -> String {
    // Of a node with several kinds, the one that needs something done.
    let mut nodes: BTreeMap<&str, (State, &str)> = BTreeMap::new();
    for kind in &plan.kinds {
        for node in &kind.nodes {
            let kept = nodes.entry(node).or_insert((kind.state, &kind.id));
            if kind.state > kept.0 {
                *kept = (kind.state, &kind.id);
            }
        }
    }
    let line = |(node, (state, id)): (&str, (State, &str))| {
        format!("{node} vramplan.dev/kind={id} vramplan.dev/state={}\n", state.name())
    };
    nodes.into_iter().map(line).collect()
}

/// The text format of Prometheus, for the node exporter's textfile collector.
pub fn to_prometheus(plan: &FleetPlan, merged: &MergedDoc) -> String {
    let mut text = String::new();
    family(&mut text, "vramplan_fleet_state", "Whether a kind of card is in this state.");
    for kind in &plan.kinds {
        for state in State::ALL {
            let value = u8::from(kind.state == state);
            let _ = writeln!(
                text,
                "vramplan_fleet_state{{{},state=\"{}\"}} {value}",
                labels(kind),
                state.name()
            );
        }
    }
    for (name, help, of) in [
        (
            "vramplan_fleet_nodes",
            "Nodes that have this kind of card.",
            (|kind: &KindDoc| kind.nodes.len() as u64) as fn(&KindDoc) -> u64,
        ),
        ("vramplan_fleet_cards", "Cards of this kind.", |kind: &KindDoc| kind.cards),
        ("vramplan_fleet_runs", "Runs that say what this kind holds.", |kind: &KindDoc| kind.runs),
    ] {
        family(&mut text, name, help);
        for kind in &plan.kinds {
            let _ = writeln!(text, "{name}{{{}}} {}", labels(kind), of(kind));
        }
    }
    family(
        &mut text,
        "vramplan_fleet_constant_bytes",
        "What a process holds beside its allocator, as measured.",
    );
    for group in merged.groups.iter().filter(|group| group.key.work.is_none()) {
        let key = &group.key;
        let gpus = key.gpus.to_string();
        let labels = [
            ("gpu", key.gpu.as_str()),
            ("driver", key.driver.as_deref().unwrap_or_default()),
            ("runtime", key.runtime.name()),
            ("release", key.release.as_deref().unwrap_or_default()),
            ("gpus", gpus.as_str()),
            ("term", key.term.id()),
        ]
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .join(",");
        for (bound, size) in [("low", group.low), ("median", group.median), ("high", group.high)] {
            let _ = writeln!(
                text,
                "vramplan_fleet_constant_bytes{{{labels},bound=\"{bound}\"}} {}",
                size.get()
            );
        }
    }
    family(&mut text, "vramplan_fleet_jobs_failed", "Jobs that did not end well.");
    let _ = writeln!(text, "vramplan_fleet_jobs_failed {}", merged.failed.len());
    text
}

fn family(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn labels(kind: &KindDoc) -> String {
    let gpu = kind.gpu.as_deref().unwrap_or_default();
    let driver = kind.driver.as_deref().unwrap_or_default();
    format!("kind=\"{}\",gpu=\"{}\",driver=\"{}\"", kind.id, escaped(gpu), escaped(driver))
}

/// As the format has it: backslashes, quotes and line ends.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
