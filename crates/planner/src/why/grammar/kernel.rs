//! The kernel's log, systemd's, Ray's and the shell's: who was ended for want of main memory, and what the driver says of
//! a card.

use super::Line;
use crate::text::printable;
use crate::units::Bytes;
use crate::why::Engine;
use crate::why::evidence::{Evidence, FailureKind, Killed, Killer, Place};
use crate::why::scan::{Gb, after, between, number, size, size_after};

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    killed(line, evidence);
    oomd(line, evidence);
    ray(line, evidence);
    told(line, evidence);
    evidence.run.raised |= line.says(&["Traceback (most recent call last)", "RuntimeError: "]);
    by_force(line, evidence);
    if let Some(rest) = after(line.text, "NVRM: Xid (").and_then(|rest| after(rest, "): ")) {
        evidence.is(Engine::Linux, line.number);
        if let Some((code, _)) = number(rest) {
            evidence.fail(line.failure(FailureKind::DeviceFault(code)));
        }
    }
}

fn end(line: Line<'_>, evidence: &mut Evidence, engine: Engine, killed: Killed) {
    evidence.is(engine, line.number);
    let mut failure = line.failure(FailureKind::HostKilled(Box::new(killed)));
    failure.place = Some(Place::Host);
    evidence.fail(failure);
}

/// What was told before of a process that was ended, as the same end is told by several.
fn known(evidence: &mut Evidence) -> Option<&mut Killed> {
    evidence.run.failures.iter_mut().find_map(|failure| match &mut failure.kind {
        FailureKind::HostKilled(killed) => Some(&mut **killed),
        _ => None,
    })
}

/// `Out of memory: Killed process 1234 (llama-server) total-vm:70123456kB, anon-rss:61234567kB, …` (`mm/oom_kill.c`).
fn killed(line: Line<'_>, evidence: &mut Evidence) {
    let Some(rest) = after(line.text, "illed process ") else { return };
    let Some((_, behind)) = number(rest) else { return };
    let name = between(behind, "(", ")");
    let resident = ["anon-rss:", "file-rss:", "shmem-rss:"];
    let held = resident.iter().filter_map(|key| size_after(rest, key, Gb::Binary));
    let held = Bytes::sum(held.map(|size| size.bytes)).ok().filter(|held| !held.is_zero());
    let group = line.says(&["Memory cgroup", "memory cgroup"]);
    let process = name.map(printable);
    let killed = Killed { process, held, group, ..Killed::by(Killer::Kernel) };
    end(line, evidence, Engine::Linux, killed);
}

/// `Killed /system.slice/ollama.service due to memory pressure for /system.slice being 64.15% > 50.00% …` (`systemd-oomd`).
fn oomd(line: Line<'_>, evidence: &mut Evidence) {
    let unit = after(line.text, "Killed /").and_then(|rest| {
        let (unit, _) = rest.split_once(" due to memory ")?;
        unit.rsplit('/').next()
    });
    let counted = line.says(&["systemd-oomd killed "]);
    if unit.is_none() && !counted || known(evidence).is_some() {
        return;
    }
    let killed = Killed { process: unit.map(printable), ..Killed::by(Killer::Oomd) };
    end(line, evidence, Engine::Linux, killed);
}

/// `… was running was 12.49GB / 13.15GB (0.950003), which exceeds the memory usage threshold of 0.95. Ray killed this worker`
/// (`memory_monitor.cc`), or only that it did.
fn ray(line: Line<'_>, evidence: &mut Evidence) {
    let counted = line.text.find(" Workers (tasks / actors) killed due to memory pressure (OOM)");
    let head = counted.and_then(|at| line.text.get(..at)?.rsplit(' ').next());
    let some = head.and_then(number).is_some_and(|(count, _)| count > 0);
    let told =
        line.says(&["Ray killed this worker", "killed due to the node running low on memory"]);
    if !some && !told {
        return;
    }
    // Ray's sizes are those of 1024³ (`memory_monitor.cc`).
    let used = after(line.text, "was running was ").and_then(|rest| {
        let (used, rest) = size(rest, Gb::Binary)?;
        let (total, _) = size(rest.trim_start().strip_prefix('/')?, Gb::Binary)?;
        Some((used.size, total.size))
    });
    if let Some(killed) = known(evidence) {
        killed.used = killed.used.or(used);
        return;
    }
    end(line, evidence, Engine::Ray, Killed { used, ..Killed::by(Killer::Ray) });
}

/// systemd and containers say that the kernel did.
fn told(line: Line<'_>, evidence: &mut Evidence) {
    let group = line.says(&["OOMKilled", "\"OOM Killed\""]) && !line.says(&["OOMKilled\": false"]);
    let said = line.says(&[
        "Failed with result 'oom-kill'",
        "killed by the OOM killer",
        "terminated: signal: killed",
        "error=\"signal: killed\"",
    ]);
    if !group && !said {
        return;
    }
    if let Some(killed) = known(evidence) {
        killed.group |= group;
        if killed.by == Killer::Force {
            killed.by = Killer::Kernel;
        }
        return;
    }
    end(line, evidence, Engine::Linux, Killed { group, ..Killed::by(Killer::Kernel) });
}

/// The shell says `Killed`, or a container's exit code is 137: ended by force, which is the kernel's doing as a rule. What is
/// left of a program that failed by itself is ended so, too.
fn by_force(line: Line<'_>, evidence: &mut Evidence) {
    let text = line.text.trim();
    // What passes a log on puts its own before a line.
    let alone = text == "Killed: 9"
        || text
            .strip_suffix("Killed")
            .is_some_and(|head| head.is_empty() || head.trim_end().ends_with(['|', ':', ']', 'Z']));
    // `./entrypoint.sh: line 28:     7 Killed                  /app/bin/server "$@"`.
    let script = after(text, ": line ")
        .and_then(|rest| rest.split_once(':'))
        .and_then(|(_, rest)| number(rest))
        .is_some_and(|(_, rest)| rest.trim_start().starts_with("Killed "));
    let code = line.says(&["exited with code 137", "exit code 137", "exit status 137"])
        || ["Exit Code:", "\"exitCode\":", "\"ExitCode\":", "exitCode:"].iter().any(|key| {
            after(text, key).and_then(number).is_some_and(|(code, rest)| {
                code == 137 && !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
            })
        });
    let own_error = evidence.run.raised;
    if (alone || script || code) && !own_error && known(evidence).is_none() {
        end(line, evidence, Engine::Linux, Killed::by(Killer::Force));
    }
}
