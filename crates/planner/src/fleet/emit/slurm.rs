//! Slurm: a script that submits an array for each kind.

use std::fmt::Write as _;

use super::{Jobs, Written, line};
use crate::fleet::plan::{FleetPlan, KindDoc};

/// The submission of one kind: `sbatch` with the job's script.
pub fn script(kind: &KindDoc, plan: &FleetPlan, jobs: &Jobs) -> String {
    let mut text = format!("# {}: {}\n", kind.id, kind.why);
    text.push_str("sbatch <<'VRAMPLAN_JOB'\n#!/bin/sh\n");
    let mut option = |option: String| {
        let _ = writeln!(text, "#SBATCH {option}");
    };
    option(format!("--job-name=vramplan-{}", kind.id));
    option(format!("--array=0-{}", jobs.runs.saturating_sub(1)));
    if let Some(partition) = kind.partitions.first().filter(|name| is_plain(name)) {
        option(format!("--partition={partition}"));
    }
    option(format!("--gres={}:1", kind.resource));
    let others = twins(kind, plan);
    if !others.is_empty() {
        option(format!("--exclude={}", others.join(",")));
    }
    option("--ntasks=1".to_owned());
    option(format!("--cpus-per-task={}", jobs.cpus));
    option(format!("--mem={}M", jobs.memory.get().div_ceil(1 << 20)));
    option(format!("--time={:02}:{:02}:00", jobs.minutes / 60, jobs.minutes % 60));
    option("--requeue".to_owned());
    option("--open-mode=append".to_owned());
    option(format!("--output={}/logs/{}-%a.log", jobs.reports, kind.id));
    let _ = writeln!(text, "exec {}\nVRAMPLAN_JOB", line(kind, jobs));
    text
}

/// Nodes that have the same cards under another driver: jobs of this kind are not for them.
fn twins(kind: &KindDoc, plan: &FleetPlan) -> Vec<String> {
    let is_twin = |other: &&KindDoc| other.resource == kind.resource && other.id != kind.id;
    let nodes = plan.kinds.iter().filter(is_twin).flat_map(|other| &other.nodes);
    nodes.filter(|node| is_plain(node) && !kind.nodes.contains(node)).cloned().collect()
}

/// Whether a name is safe in a batch script.
fn is_plain(name: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(is_safe)
}

/// All of them in one script.
pub fn together(written: &[Written]) -> String {
    let mut text = "#!/bin/sh\n# Submits a small job for each kind of card that is to be measured: one array each.\nset -eu\n".to_owned();
    for job in written {
        text.push('\n');
        text.push_str(&job.text);
    }
    text
}
