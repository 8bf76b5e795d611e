//! `nvidia-smi`: its table, its list of processes, and what it prints as CSV.

use super::Line;
use crate::text::printable;
use crate::units::Bytes;
use crate::why::Engine;
use crate::why::evidence::{Evidence, Holder};
use crate::why::scan::{Gb, after, number, size, size_after};

/// What is remembered between the lines of a table.
#[derive(Debug, Default)]
pub struct Table {
    /// The card whose row comes next.
    card: Option<u64>,
    /// The columns of a list.
    columns: Vec<Column>,
    rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Index,
    Name,
    Total,
    Used,
    Free,
    Pid,
    Process,
    Other,
}

/// The driver's version: `Driver Version: 550.54.15` of the table, `Nvidia driver version : 550.54.15` of PyTorch's
/// `collect_env`, which vLLM and others print.
fn driver(line: Line<'_>, evidence: &mut Evidence) {
    for words in ["Driver Version:", "Nvidia driver version", "NVIDIA driver version"] {
        let Some(rest) = after(line.text, words) else { continue };
        let rest = rest.trim_start().trim_start_matches(':').trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let version = rest.get(..end).unwrap_or_default();
        if version.contains('.') && version.len() <= 20 {
            evidence.driver.get_or_insert_with(|| version.to_owned());
        }
    }
}

impl Table {
    /// Reads a line.
    pub fn read(&mut self, line: Line<'_>, evidence: &mut Evidence) {
        if line.says(&["NVIDIA-SMI"]) {
            evidence.is(Engine::NvidiaSmi, line.number);
            self.card = None;
        }
        driver(line, evidence);
        self.list(line, evidence);
        let Some(row) = line.text.trim_end().strip_suffix('|') else { return };
        // What stands before the table's own columns is another program's.
        let cells: Vec<&str> = row.split('|').skip(1).map(str::trim).collect();
        self.memory(line, &cells, evidence);
        self.named(&cells, evidence);
        process(line, &cells, evidence);
    }

    /// `|   0  NVIDIA GeForce RTX 4090        Off |   00000000:01:00.0  On |                  Off |`.
    fn named(&mut self, cells: &[&str], evidence: &mut Evidence) {
        let [.., first, bus, _] = cells else { return };
        if !is_bus(bus) {
            return;
        }
        let Some((index, rest)) = number(first) else { return };
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        if matches!(words.last(), Some(&("On" | "Off" | "N/A" | "TCC" | "WDDM" | "MCDM"))) {
            words.pop();
        }
        if words.is_empty() {
            return;
        }
        self.card = Some(index);
        if let Some(card) = evidence.card(index) {
            let name = words.join(" ");
            // The table cuts names off.
            if !name.ends_with("...") || card.name.is_none() {
                card.name = Some(printable(name.trim_end_matches('.').trim_end()));
            }
        }
    }

    /// `|  0%   45C    P8     20W /  450W |    1234MiB /  24564MiB |      0%      Default |`.
    fn memory(&mut self, line: Line<'_>, cells: &[&str], evidence: &mut Evidence) {
        let Some(index) = self.card else { return };
        let used_of = cells.iter().find_map(|cell| {
            let (used, total) = cell.split_once('/')?;
            let (used, _) = size(used, Gb::Binary)?;
            let (total, _) = size(total, Gb::Binary)?;
            Some((used.size.bytes, total.size.bytes))
        });
        let Some((used, total)) = used_of else { return };
        self.card = None;
        evidence.is(Engine::NvidiaSmi, line.number);
        if let Some(card) = evidence.card(index) {
            (card.used, card.total) = (Some(used), Some(total));
        }
    }

    /// `name, memory.total [MiB], memory.used [MiB]` and the rows below it.
    fn list(&mut self, line: Line<'_>, evidence: &mut Evidence) {
        const MOST: u64 = 256;
        if line.says(&[
            "memory.total [MiB]",
            "memory.used [MiB]",
            "used_gpu_memory [MiB]",
            "used_memory [MiB]",
        ]) {
            self.columns = line.text.split(',').map(|name| column(name.trim())).collect();
            self.rows = 0;
            evidence.is(Engine::NvidiaSmi, line.number);
            return;
        }
        if self.columns.is_empty() {
            return;
        }
        let cells: Vec<&str> = line.text.split(',').map(str::trim).collect();
        if cells.len() != self.columns.len() || self.rows >= MOST {
            self.columns.clear();
            return;
        }
        let cell = |wanted| {
            let at = self.columns.iter().position(|column| *column == wanted)?;
            cells.get(at).copied()
        };
        let bytes = |wanted| {
            let text = cell(wanted)?;
            let with_unit = size(text, Gb::Binary).map(|(size, _)| size.size.bytes);
            with_unit.or_else(|| number(text).and_then(|(mib, _)| Bytes::mib(mib).ok()))
        };
        if let (Some(size), Some(pid)) = (bytes(Column::Used), cell(Column::Pid)) {
            let name = cell(Column::Process).map(printable);
            let pid = number(pid).map(|(pid, _)| pid);
            evidence.holder(Holder { pid, name, size, card: None, line: line.number });
        } else if let Some(total) = bytes(Column::Total) {
            let index = cell(Column::Index).and_then(number).map_or(self.rows, |(index, _)| index);
            let (used, free, name) = (bytes(Column::Used), bytes(Column::Free), cell(Column::Name));
            if let Some(card) = evidence.card(index) {
                (card.total, card.used, card.free) = (Some(total), used, free);
                card.name = name.map(printable).or_else(|| card.name.take());
            }
        }
        self.rows += 1;
    }
}

/// `00000000:01:00.0  On`: an address on the PCI bus.
fn is_bus(text: &str) -> bool {
    let address = text.split_whitespace().next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    address.chars().all(plain) && address.matches(':').count() == 2 && address.contains('.')
}

fn column(name: &str) -> Column {
    match name {
        "index" => Column::Index,
        "name" | "gpu_name" => Column::Name,
        "memory.total [MiB]" => Column::Total,
        "memory.used [MiB]" | "used_gpu_memory [MiB]" | "used_memory [MiB]" => Column::Used,
        "memory.free [MiB]" => Column::Free,
        "pid" => Column::Pid,
        "process_name" => Column::Process,
        _ => Column::Other,
    }
}

/// `|    0   N/A  N/A      1234      C   python3                                    1234MiB |`.
fn process(line: Line<'_>, cells: &[&str], evidence: &mut Evidence) {
    let Some(row) = cells.last() else { return };
    let words: Vec<&str> = row.split_whitespace().collect();
    let Some(kind) = words.iter().position(|word| matches!(*word, "C" | "G" | "C+G" | "M+C"))
    else {
        return;
    };
    let Some(held) = words.last().and_then(|word| size_after(word, "", Gb::Binary)) else { return };
    let count = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let pid = kind.checked_sub(1).and_then(count);
    let name =
        words.get(kind + 1..words.len().saturating_sub(1)).map(|name| printable(&name.join(" ")));
    evidence.holder(Holder {
        pid,
        name: name.filter(|name| !name.is_empty()),
        size: held.bytes,
        card: count(0),
        line: line.number,
    });
}
