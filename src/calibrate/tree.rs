//! The processes below one, from `/proc`.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// `root` and everything that descends from it.
pub fn tree(root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            open.extend(children(pid));
        }
    }
    found
}

/// Everything that descends from this process: orphans come to it once it is a subreaper.
pub fn descendants() -> BTreeSet<u32> {
    let mut found = tree(std::process::id());
    found.remove(&std::process::id());
    found
}

/// The children of every thread; none where the process is gone.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs_err::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        let Ok(list) = fs_err::read_to_string(thread.path().join("children")) else { continue };
        found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

/// What the kernel says of a process's memory, opened once: a reading is one system call.
#[derive(Debug)]
pub struct Resident(fs_err::File);

impl Resident {
    /// Of a process; none where it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        fs_err::File::open(format!("/proc/{pid}/statm")).ok().map(Self)
    }

    /// Pages that are resident; none where the process is gone or a zombie.
    pub fn pages(&self) -> Option<u64> {
        // Seven numbers of at most 20 digits.
        let mut text = [0; 160];
        let len = self.0.file().read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..len]).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

/// The time on a processor of everything that descends from this process, as far as it still runs.
pub fn cpu_time() -> Duration {
    let ticks: u64 = descendants().into_iter().filter_map(ticks).sum();
    let rate = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / rate)
}

/// Clock ticks that a process used: user and system.
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold spaces: count from its end.
    let fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(11);
    let [user, system] = [0, 1].map(|at| fields.clone().nth(at)?.parse::<u64>().ok());
    user?.checked_add(system?)
}

/// The name of a process.
#[cfg(feature = "nvml")]
pub fn name(pid: u32) -> Option<String> {
    let name = fs_err::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(vramplan_planner::text::printable(name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_child_uses_time() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let begun = std::time::Instant::now();
        while cpu_time() < Duration::from_millis(50) && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(cpu_time() >= Duration::from_millis(50));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_child_is_in_the_tree_until_it_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descendants().contains(&child.id()));
        let resident = Resident::of(child.id()).unwrap();
        assert!(resident.pages().is_some_and(|pages| pages > 0));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants().contains(&child.id()));
        assert_eq!(resident.pages(), None);
        assert!(Resident::of(child.id()).is_none());
    }
}
