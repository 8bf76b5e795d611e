//! The kernel's log and systemd's: who was ended for want of main memory, and what the driver says of a card.

use super::Line;
use crate::text::printable;
use crate::units::Bytes;
use crate::why::Engine;
use crate::why::evidence::{Evidence, FailureKind, Place};
use crate::why::scan::{Gb, after, between, number, size_after};

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    killed(line, evidence);
    if line.says(&[
        "Failed with result 'oom-kill'",
        "killed by the OOM killer",
        "OOMKilled",
        "terminated: signal: killed",
        "error=\"signal: killed\"",
    ]) && !evidence.run.failures.iter().any(|f| matches!(f.kind, FailureKind::HostKilled { .. }))
    {
        evidence.is(Engine::Linux, line.number);
        let group = line.says(&["OOMKilled"]);
        let kind = FailureKind::HostKilled { process: None, held: None, group };
        let mut failure = line.failure(kind);
        failure.place = Some(Place::Host);
        evidence.fail(failure);
    }
    if let Some(rest) = after(line.text, "NVRM: Xid (").and_then(|rest| after(rest, "): ")) {
        evidence.is(Engine::Linux, line.number);
        if let Some((code, _)) = number(rest) {
            evidence.fail(line.failure(FailureKind::DeviceFault(code)));
        }
    }
}

/// `Out of memory: Killed process 1234 (llama-server) total-vm:70123456kB, anon-rss:61234567kB, …` (`mm/oom_kill.c`).
fn killed(line: Line<'_>, evidence: &mut Evidence) {
    let Some(rest) = after(line.text, "illed process ") else { return };
    let Some((_, behind)) = number(rest) else { return };
    let name = between(behind, "(", ")");
    let resident = ["anon-rss:", "file-rss:", "shmem-rss:"];
    let held = resident.iter().filter_map(|key| size_after(rest, key, Gb::Binary));
    let held = Bytes::sum(held.map(|size| size.bytes)).ok().filter(|held| !held.is_zero());
    evidence.is(Engine::Linux, line.number);
    let group = line.says(&["Memory cgroup", "memory cgroup"]);
    let kind = FailureKind::HostKilled { process: name.map(printable), held, group };
    let mut failure = line.failure(kind);
    failure.place = Some(Place::Host);
    evidence.fail(failure);
}
