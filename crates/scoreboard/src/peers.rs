//! Other calculators on the same rows (`evidence/peers`): the total of one sequence.
//!
//! Under llama.cpp that is what its log prints: weights, cache and compute buffer. Under vLLM it is
//! what the log adds up to: weights, the profile run's peak, context, libraries and graphs, and the
//! cache of the tokens asked for, at the logged size of a token.

use std::collections::{BTreeMap, BTreeSet};

use super::csv::{Row, rows};
use super::{Board, Hit, Part, llama_cpp, vllm};

/// What peers predicted, and what those did that read the Hub.
pub const PEERS: [&str; 2] = [
    include_str!("../../../evidence/peers/peers.csv"),
    include_str!("../../../evidence/peers/hub.csv"),
];

/// A peer's predictions beside ours on the rows of one runtime.
#[derive(Debug)]
pub struct Comparison {
    /// The runtime.
    pub runtime: &'static str,
    /// The peer with its version.
    pub peer: String,
    /// Predicted / measured − 1: the peer's and ours.
    pub errors: Vec<[f64; 2]>,
}

impl Comparison {
    /// Median of the absolute errors: the peer's and ours.
    pub fn medians(&self) -> [f64; 2] {
        [0, 1].map(|side| {
            let mut errors: Vec<f64> = self.errors.iter().map(|error| error[side].abs()).collect();
            errors.sort_by(f64::total_cmp);
            super::statistics::quantile(&errors, 50)
        })
    }
}

/// Compares every peer on every runtime, once per model, format and length.
pub fn compare(board: &Board) -> anyhow::Result<Vec<Comparison>> {
    let mut seen = BTreeSet::new();
    let mut groups: BTreeMap<(&'static str, String), Vec<[f64; 2]>> = BTreeMap::new();
    for row in PEERS.into_iter().flat_map(rows) {
        let key = row.texts(["runtime", "model", "weights", "tokens", "peer"]);
        if !seen.insert(key) {
            continue;
        }
        let runtime = if row.text("runtime") == "vllm" { "vllm" } else { "llama.cpp" };
        let Some([measured, ours]) = total(board, &row)? else { continue };
        let theirs: f64 = row.get("predicted_mib")?;
        let peer = format!("{} {}", row.text("peer"), row.text("version"));
        let errors = [theirs / measured - 1.0, ours / measured - 1.0];
        groups.entry((runtime, peer)).or_default().push(errors);
    }
    let compared = groups.into_iter();
    Ok(compared.map(|((runtime, peer), errors)| Comparison { runtime, peer, errors }).collect())
}

/// The total that a row adds up to, and ours.
fn total(board: &Board, peer: &Row) -> anyhow::Result<Option<[f64; 2]>> {
    let (file, parts): (_, &[Part]) = match peer.text("runtime") {
        "vllm" => (vllm::LOGS, &[Part::Weights, Part::Kv, Part::Compute, Part::Overhead]),
        _ => (llama_cpp::LOGS, &[Part::Weights, Part::Kv, Part::Compute]),
    };
    let number: usize = peer.get("row")?;
    let Some(row) = rows(file).nth(number.saturating_sub(1)) else { return Ok(None) };
    let line = row.line();
    let mine: Vec<&Hit> = board.hits.iter().filter(|hit| hit.row == line).collect();
    let mut total = [0.0; 2];
    for &part in parts {
        let Some(hit) = mine.iter().find(|hit| hit.part == part) else { return Ok(None) };
        let share = share_of_pool(part, &row, peer)?;
        total[0] += hit.measured * share;
        total[1] += hit.predicted[1] * share;
    }
    Ok(Some(total))
}

/// Of vLLM's pool the tokens asked for, of everything else all.
fn share_of_pool(part: Part, row: &Row, peer: &Row) -> anyhow::Result<f64> {
    if part != Part::Kv || peer.text("runtime") != "vllm" {
        return Ok(1.0);
    }
    Ok(peer.get::<f64>("tokens")? / row.get::<f64>("kv_tokens")?)
}
