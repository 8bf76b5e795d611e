//! A list by hand: `node,gpu,count,driver`, of which count and driver may be left out.

use std::collections::BTreeMap;

use super::hosts::hosts;
use super::{Inventory, Node, NodeCards, NodesError, Scheduler, Types};
use crate::evidence;
use crate::text::printable;

/// Reads lines; empty ones and those behind `#` are none.
pub fn from_text(text: &str, types: &Types) -> Result<Inventory, NodesError> {
    let mut nodes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() || line.replace(' ', "") == "node,gpu,count,driver" {
            continue;
        }
        let wrong = || NodesError::Line { line: number, found: printable(line) };
        nodes.extend(of_line(line, types).ok_or_else(wrong)??);
    }
    Ok(Inventory { scheduler: Scheduler::List, nodes, notes: Vec::new() })
}

fn of_line(line: &str, types: &Types) -> Option<Result<Vec<Node>, NodesError>> {
    // Commas in the brackets of a list of hosts are the list's.
    let behind = line.find(']').map_or(0, |at| at + 1);
    let comma = behind + line.get(behind..)?.find(',')?;
    let (names, rest) = (line.get(..comma)?, line.get(comma + 1..)?);
    let mut columns = rest.split(',').map(str::trim);
    let said = columns.next().filter(|said| !said.is_empty())?;
    let count = match columns.next() {
        None | Some("") => 1,
        Some(count) => count.parse::<u64>().ok().filter(|count| *count > 0)?,
    };
    let driver = match columns.next() {
        None | Some("") => None,
        Some(version) => Some(evidence::driver(version)?),
    };
    if columns.next().is_some() {
        return None;
    }
    let said = printable(said);
    let cards = NodeCards {
        gpu: types.gpu_of(&said, None),
        resource: format!("gpu:{}", said.to_ascii_lowercase().replace(' ', "_")),
        said,
        count,
        selector: BTreeMap::new(),
    };
    let node = |name: String| Node {
        name: printable(&name),
        up: true,
        driver: driver.clone(),
        partitions: Vec::new(),
        cards: vec![cards.clone()],
    };
    Some(hosts(names).map(|names| names.into_iter().map(node).collect()))
}
