//! Resident memory of a process tree on Linux.
//!
//! Pages that processes of the tree share count once for each of them. The kernel sums resident
//! pages up in steps, so that a reading can lag behind by some hundred KiB a thread.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use super::meter::{Device, Meter, MeterError, MeterKind, Reading};
use super::tree::{Resident, tree};
use vramplan_planner::units::Bytes;

/// How often new processes are looked for.
const LOOK: Duration = Duration::from_millis(50);
/// What is measured runs on the same cores as the meter: at 2 kHz decode took 8% longer.
const INTERVAL: Duration = Duration::from_millis(10);

/// Reads `/proc`.
#[derive(Debug)]
pub struct CpuMeter {
    root: Option<u32>,
    tree: BTreeMap<u32, Resident>,
    looked: Instant,
    page: u64,
}

impl CpuMeter {
    /// A meter that follows nothing yet.
    pub fn new() -> Self {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Self { root: None, tree: BTreeMap::new(), looked: Instant::now(), page }
    }

    fn look(&mut self, root: u32) {
        let found = tree(root);
        self.tree.retain(|pid, open| found.contains(pid) && open.pages().is_some());
        for pid in found {
            if let (Entry::Vacant(new), Some(resident)) = (self.tree.entry(pid), Resident::of(pid))
            {
                new.insert(resident);
            }
        }
        self.looked = Instant::now();
    }
}

impl Default for CpuMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter for CpuMeter {
    fn device(&self) -> Device {
        Device {
            meter: MeterKind::Cpu,
            name: "CPU".to_owned(),
            uuid: None,
            total: total_memory(),
            reserved: None,
            driver: None,
        }
    }

    fn read(&mut self) -> Result<Reading, MeterError> {
        let Some(root) = self.root else { return Ok(Reading::default()) };
        if self.looked.elapsed() > LOOK || self.tree.is_empty() {
            self.look(root);
        }
        if self.tree.is_empty() && fs_err::metadata("/proc/self/stat").is_err() {
            let what =
                "`/proc` cannot be read: expected it to be mounted, as memory is counted there";
            return Err(MeterError::Lost(what.to_owned()));
        }
        let pages: u64 = self.tree.values().filter_map(Resident::pages).sum();
        let too_much = |_| MeterError::Failed("`/proc` counts more than 16 EiB".to_owned());
        let used = Bytes::product(&[pages, self.page]).map_err(too_much)?;
        Ok(Reading { used, holders: None })
    }

    fn follow(&mut self, root: u32) {
        self.root = Some(root);
        self.tree.clear();
    }

    fn interval(&self) -> Duration {
        INTERVAL
    }
}

/// The machine's memory, from `/proc/meminfo`.
fn total_memory() -> Option<Bytes> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Bytes::KIB.times(kib).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_as_large_as_what_it_touched() {
        use std::io::{BufRead as _, BufReader};
        let script = "import sys\nprint(flush=True); sys.stdin.readline()\n\
            b = b'x' * (64 << 20)\nprint(flush=True); sys.stdin.readline()";
        let mut child = std::process::Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut meter = CpuMeter::new();
        assert_eq!(meter.read().unwrap().used, Bytes::ZERO);
        meter.follow(child.id());
        told.next().unwrap().unwrap();
        let before = meter.read().unwrap().used;
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
        told.next().unwrap().unwrap();
        let after = meter.read().unwrap().used;
        child.kill().unwrap();
        child.wait().unwrap();
        let grown = after.minus_or_zero(before);
        assert!(grown >= Bytes::new(63 << 20) && grown < Bytes::new(66 << 20), "{grown}");
        assert!(meter.device().total.is_some_and(|total| total > after));
    }
}
