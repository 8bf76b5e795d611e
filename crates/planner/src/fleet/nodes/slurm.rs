//! What Slurm lists: `sinfo --json` of 21.08 to 25, `scontrol show nodes --json`, `sinfo -N -o '%N %G %P %T %f'`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::hosts::hosts;
use super::{Inventory, Node, NodeCards, NodesError, Scheduler, Types, texts};
use crate::evidence;
use crate::text::printable;

/// Reads JSON; nothing where it is not Slurm's.
pub fn from_json(value: &Value, types: &Types) -> Result<Option<Inventory>, NodesError> {
    let mut rows = Vec::new();
    if let Some(groups) = value.get("sinfo").and_then(Value::as_array) {
        for group in groups {
            rows.extend(of_group(group)?);
        }
    } else if let Some(nodes) = value.get("nodes").and_then(Value::as_array) {
        rows.extend(nodes.iter().filter_map(of_node));
    } else {
        return Ok(None);
    }
    Ok(Some(inventory(rows, types)))
}

/// A node as it is listed.
struct Row {
    name: String,
    gres: String,
    partitions: Vec<String>,
    up: bool,
    features: Vec<String>,
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

/// `{"name": "l4-01", "gres": "gpu:l4:1", "partitions": ["gpu"], "state": "idle", "active_features": ""}`.
fn of_node(node: &Value) -> Option<Row> {
    let field = |name: &str| node.get(name).unwrap_or(&Value::Null);
    Some(Row {
        name: field("name").as_str()?.to_owned(),
        gres: field("gres").as_str().unwrap_or_default().to_owned(),
        partitions: owned(texts(field("partitions"))),
        up: is_up(&texts(field("state"))),
        features: owned([texts(field("active_features")), texts(field("features"))].concat()),
    })
}

/// Since 23.02: `{"nodes": {"nodes": ["l4-01"]}, "gres": {"total": "gpu:l4:1"}, "partition": {"name": "gpu"}, …}`.
fn of_group(group: &Value) -> Result<Vec<Row>, NodesError> {
    let at = |path: &str| group.pointer(path).unwrap_or(&Value::Null);
    let mut rows = Vec::new();
    for list in texts(at("/nodes/nodes")) {
        for name in hosts(list)? {
            rows.push(Row {
                name,
                gres: at("/gres/total").as_str().unwrap_or_default().to_owned(),
                partitions: owned(texts(at("/partition/name"))),
                up: is_up(&texts(at("/node/state"))),
                features: owned(
                    [texts(at("/features/active")), texts(at("/features/total"))].concat(),
                ),
            });
        }
    }
    Ok(rows)
}

/// Reads what `sinfo -o` prints: with its header, or in the order `%N %G %P %T %f`; nothing where it is not.
pub fn from_text(text: &str, types: &Types) -> Result<Option<Inventory>, NodesError> {
    const ORDER: [&str; 5] = ["NODELIST", "GRES", "PARTITION", "STATE", "FEATURES"];
    let mut lines = text.lines().map(cells).filter(|cells| !cells.is_empty()).peekable();
    let mut columns: Vec<String> = ORDER.map(str::to_owned).into();
    let is_header = |cells: &Vec<String>| cells.iter().any(|cell| cell == "GRES");
    if let Some(header) = lines.next_if(is_header) {
        columns = header;
    } else {
        let is_gres = |cell: &String| cell == "(null)" || cell.starts_with("gpu:");
        if !lines.peek().is_some_and(|cells| cells.get(1).is_some_and(is_gres)) {
            return Ok(None);
        }
    }
    let column = |name: &str| columns.iter().position(|column| column.ends_with(name));
    let [Some(of_names), Some(of_gres)] = [column("NODELIST"), column("GRES")] else {
        return Ok(None);
    };
    let mut rows = Vec::new();
    for cells in lines {
        let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).map(String::as_str);
        let names = cell(Some(of_names)).unwrap_or_default();
        let state = cell(column("STATE")).unwrap_or("idle");
        for name in hosts(names)? {
            rows.push(Row {
                name,
                gres: cell(Some(of_gres)).unwrap_or_default().to_owned(),
                partitions: cell(column("PARTITION"))
                    .map(|name| vec![name.to_owned()])
                    .unwrap_or_default(),
                up: is_up(&[state]),
                features: cell(column("FEATURES"))
                    .map(|f| f.split(',').map(str::to_owned).collect())
                    .unwrap_or_default(),
            });
        }
    }
    Ok(Some(inventory(rows, types)))
}

/// The columns of a line, between bars or spaces.
fn cells(line: &str) -> Vec<String> {
    let cells: Vec<&str> = if line.contains('|') {
        line.split('|').map(str::trim).collect()
    } else {
        line.split_whitespace().collect()
    };
    cells.into_iter().map(str::to_owned).collect()
}

/// Whether jobs are started on a node of this state: `idle`, `MIXED`, `allocated+drain`, `down*`.
fn is_up(states: &[&str]) -> bool {
    const NOT: [&str; 9] =
        ["down", "drain", "fail", "maint", "reboot", "not_responding", "power", "unknown", "error"];
    let is_bad = |state: &&str| {
        let state = state.to_ascii_lowercase();
        state.ends_with('*') || NOT.iter().any(|bad| state.contains(bad))
    };
    !states.iter().any(is_bad)
}

fn inventory(rows: Vec<Row>, types: &Types) -> Inventory {
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    let mut remarks = Vec::new();
    for row in rows {
        let partitions = row.partitions.iter().map(|name| printable(name.trim_end_matches('*')));
        let partitions: Vec<String> = partitions.collect();
        if let Some(node) = nodes.get_mut(&row.name) {
            // A node is listed once for each partition that it is in.
            node.partitions.extend(partitions);
            node.partitions.dedup();
            continue;
        }
        let cards = gres(&row.gres, types);
        let name = printable(&row.name);
        if cards.is_empty() {
            remarks.push(format!("`{name}` has no GPU by its gres"));
        }
        let driver = row.features.iter().find_map(|feature| driver(feature));
        nodes.insert(row.name, Node { name, up: row.up, driver, partitions, cards });
    }
    Inventory { scheduler: Scheduler::Slurm, nodes: nodes.into_values().collect(), notes: remarks }
}

/// A driver as a feature of a node: `driver-550.54.15`, `driver=550.54.15`, `nvidia-550.54.15`.
fn driver(feature: &str) -> Option<String> {
    let feature = feature.trim();
    let prefixes = ["driver-", "driver=", "driver:", "nvidia-driver-", "nvidia-"];
    let version = prefixes.iter().find_map(|prefix| feature.strip_prefix(prefix))?;
    evidence::driver(version).filter(|version| version.contains('.'))
}

/// `gpu:l4:1,gpu:a100_3g.20gb:2(S:0-1)`: kinds of cards with their number.
fn gres(text: &str, types: &Types) -> Vec<NodeCards> {
    let mut found: Vec<NodeCards> = Vec::new();
    let mut depth = 0u32;
    let outside: String = text
        .chars()
        .filter(|c| {
            match c {
                '(' => depth = depth.saturating_add(1),
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect();
    for one in outside.split(',') {
        let parts: Vec<&str> = one.trim().split(':').collect();
        let (said, count) = match parts.as_slice() {
            ["gpu", count] => ("", *count),
            ["gpu", said, count] => (*said, *count),
            _ => continue,
        };
        let Ok(count) = count.parse::<u64>() else { continue };
        if count == 0 {
            continue;
        }
        let said = printable(said);
        let resource = if said.is_empty() { "gpu".to_owned() } else { format!("gpu:{said}") };
        if let Some(same) = found.iter_mut().find(|cards| cards.said == said) {
            same.count = same.count.saturating_add(count);
            continue;
        }
        let gpu = (!said.is_empty()).then(|| types.gpu_of(&said, None)).flatten();
        found.push(NodeCards { said, gpu, count, resource, selector: BTreeMap::new() });
    }
    found
}
