//! The nodes of a fleet, as schedulers list them.

mod hosts;
mod kubernetes;
mod list;
mod slurm;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::read::Catalog;
use crate::text::printable;
use crate::units::Bytes;

/// Most nodes that a list may have.
pub const MOST_NODES: usize = 20_000;

/// The scheduler that a list is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Slurm.
    Slurm,
    /// Kubernetes.
    Kubernetes,
    /// None: a list.
    List,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, safe to print.
    pub name: String,
    /// Whether jobs are started on it.
    pub up: bool,
    /// Its driver, where that is told.
    pub driver: Option<String>,
    /// The partitions that it is in.
    pub partitions: Vec<String>,
    /// Its cards, by kind.
    pub cards: Vec<NodeCards>,
}

/// Equal cards of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCards {
    /// As the scheduler calls them, safe to print.
    pub said: String,
    /// The profile that this means, where one is known.
    pub gpu: Option<String>,
    /// How many.
    pub count: u64,
    /// What a job asks for: `nvidia.com/gpu`, `gpu:l4`.
    pub resource: String,
    /// Labels of nodes that have them, under Kubernetes.
    pub selector: BTreeMap<String, String>,
}

/// What a list of nodes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Who says it.
    pub scheduler: Scheduler,
    /// The nodes, in their order.
    pub nodes: Vec<Node>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Why a list of nodes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// It is no JSON, though it begins like some.
    #[error("it begins like JSON and is none: {0}")]
    Json(String),
    /// It is JSON of another kind.
    #[error(
        "not a list of nodes: expected what `sinfo --json`, `scontrol show nodes --json` or `kubectl get nodes -o json` print"
    )]
    Form,
    /// It has more nodes than there may be.
    #[error("it has more than {MOST_NODES} nodes")]
    TooMany,
    /// A line of a list is none.
    #[error(
        "line {line}: `{found}`: expected `node,gpu,count,driver`, or a line of `sinfo -N -o '%N %G %P %T %f'`"
    )]
    Line {
        /// Which.
        line: usize,
        /// What it says, safe to print.
        found: String,
    },
    /// It names nothing.
    #[error("it names no node")]
    Empty,
}

/// What the scheduler's names of cards mean, where the catalog does not know them: `a100=A100-80GB`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(BTreeMap<String, String>);

impl Types {
    /// Reads `a100=A100-80GB`, several of them.
    ///
    /// # Errors
    /// Where one is no such pair, or the second is no known card.
    pub fn parse<'t>(pairs: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        let catalog = Catalog::built_in();
        let mut types = BTreeMap::new();
        for pair in pairs {
            let Some((said, gpu)) = pair.split_once('=') else {
                return Err(format!(
                    "`{}`: expected `TYPE=GPU`, such as `a100=A100-80GB`",
                    printable(pair)
                ));
            };
            let gpu = catalog.gpu(gpu.trim()).map_err(|error| error.to_string())?;
            types.insert(said.trim().to_ascii_lowercase(), gpu.name);
        }
        Ok(Self(types))
    }

    /// The profile that a name means, of a card with so much memory where that is told.
    pub fn gpu_of(&self, said: &str, memory: Option<Bytes>) -> Option<String> {
        let said = said.trim();
        if let Some(gpu) = self.0.get(&said.to_ascii_lowercase()) {
            return Some(gpu.clone());
        }
        let catalog = Catalog::built_in();
        // Shared cards are whole ones to each process.
        let plain = said.strip_suffix("-SHARED").unwrap_or(said).replace('_', "-");
        let is_size = plain.parse::<Bytes>().is_ok();
        let found = (!is_size).then(|| catalog.gpu(&plain).ok()).flatten();
        let with_size = || {
            let gib = memory?.get().checked_add(1 << 29)? >> 30;
            let near = [gib, gib + 1, gib.saturating_sub(1)];
            near.iter().find_map(|gib| catalog.gpu(&format!("{plain} {gib}GB")).ok())
        };
        found.or_else(with_size).map(|gpu| gpu.name)
    }
}

/// Reads a list of nodes: what `sinfo --json`, `scontrol show nodes --json`, `sinfo -N -o …` or `kubectl get nodes -o
/// json` print, or lines of `node,gpu,count,driver`.
///
/// # Errors
/// Where it is none of these.
pub fn nodes(text: &str, types: &Types) -> Result<Inventory, NodesError> {
    let inventory = if text.trim_start().starts_with(['{', '[']) {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| NodesError::Json(printable(&error.to_string())))?;
        match slurm::from_json(&value, types)? {
            Some(found) => found,
            None => kubernetes::from_json(&value, types).ok_or(NodesError::Form)?,
        }
    } else {
        match slurm::from_text(text, types)? {
            Some(found) => found,
            None => list::from_text(text, types)?,
        }
    };
    match inventory.nodes.len() {
        0 => Err(NodesError::Empty),
        n if n > MOST_NODES => Err(NodesError::TooMany),
        _ => Ok(inventory),
    }
}

/// A text of a value, or the first of a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split(',').map(str::trim).filter(|t| !t.is_empty()).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
