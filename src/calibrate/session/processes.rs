//! The command's processes: waited for, signalled, given the terminal, and ended to the last one.

use std::io;
use std::process::Child;
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, kill_process_group,
    set_child_subreaper, waitpid,
};
use signal_hook::consts::{SIGTSTP, SIGTTIN, SIGTTOU};

use super::News;
use crate::calibrate::tree::{children, descendants};
use vramplan_planner::units::to_u64;

/// How long a process that outlived the command may take to end when asked.
const ASKED: Duration = Duration::from_secs(1);
/// How long the kernel may take to end one.
const KILLED: Duration = Duration::from_secs(2);

/// Whether orphans of this process's descendants become its own.
pub fn adopt_orphans(adopt: bool) {
    // Where the kernel refuses, orphans are missed, no more.
    let _ = set_child_subreaper(adopt.then(getpid));
}

/// Processes that the kernel killed for want of memory since it started.
pub fn kernel_kills() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// The process group of the command.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    leader: Pid,
}

impl Group {
    /// The group that a child leads.
    pub fn of(child: &Child) -> Self {
        Self { leader: Pid::from_child(child) }
    }

    /// Waits for the leader in a thread, and tells when it stops or ends.
    pub fn wait<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        child: Child,
        sender: SyncSender<News>,
    ) -> io::Result<()> {
        Builder::new().spawn_scoped(scope, move || {
            // Its standard input stays open until it has ended.
            let _child = child;
            loop {
                match waitpid(Some(self.leader), WaitOptions::UNTRACED) {
                    Ok(Some((_, status))) => {
                        let news = match status.stopping_signal() {
                            Some(signal) => News::Stopped(signal),
                            None => News::Exited(status),
                        };
                        let ended = matches!(news, News::Exited(_));
                        if sender.send(news).is_err() || ended {
                            return;
                        }
                    }
                    Ok(None) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        })?;
        Ok(())
    }

    /// Takes note of orphans that came to this process and have ended, but not of the leader, for which a
    /// thread waits.
    pub fn reap_orphans(self) {
        reap(Some(self.leader));
    }

    /// Sends a signal to the whole group.
    pub fn send(self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // A group that has ended needs no signal.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Kills the group and everything that left it.
    pub fn kill(self) {
        let _ = kill_process_group(self.leader, Signal::KILL);
        signal_all(Signal::KILL);
    }

    /// The leader was stopped: it wants the terminal, or the user wants all of it to stop.
    pub fn stopped(self, signal: i32) {
        match signal {
            SIGTTIN | SIGTTOU => self.give_terminal(),
            SIGTSTP => drop(kill_process(getpid(), Signal::STOP)),
            _ => {}
        }
    }

    fn give_terminal(self) {
        let terminal = std::io::stdin();
        let ours = rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp());
        if ours && rustix::termios::tcsetpgrp(&terminal, self.leader).is_ok() {
            self.send(signal_hook::consts::SIGCONT);
        }
    }
}

/// Ends everything that descends from this process, asking first; how many there were.
pub fn end_descendants() -> u64 {
    reap(None);
    let left = to_u64(descendants().len());
    if left > 0 {
        signal_all(Signal::TERM);
        if !gone_within(ASKED) {
            signal_all(Signal::KILL);
            gone_within(KILLED);
        }
    }
    left
}

fn signal_all(signal: Signal) {
    for pid in descendants() {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

fn gone_within(patience: Duration) -> bool {
    let begun = Instant::now();
    loop {
        reap(None);
        if descendants().is_empty() {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes note of children that have ended, so that they are no zombies. Each is asked for by itself: orphans
/// have the command's process group, not this one's, and nobody else's child is taken away.
fn reap(but: Option<Pid>) {
    for pid in children(std::process::id()) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|pid| Some(*pid) != but) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}
