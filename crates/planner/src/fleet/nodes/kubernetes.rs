//! What `kubectl get nodes -o json` lists, by the labels of NVIDIA's GPU feature discovery.
//!
//! Sources: `k8s-device-plugin`, `docs/gpu-feature-discovery/README.md` (labels, MIG strategies) and
//! `internal/lm/{nvml,mig-strategy,resource}.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Inventory, Node, NodeCards, Scheduler, Types};
use crate::evidence;
use crate::text::printable;
use crate::units::Bytes;

const PRODUCT: &str = "nvidia.com/gpu.product";
const MIG: &str = "nvidia.com/mig-";

/// Reads JSON; nothing where it is no list of nodes.
pub fn from_json(value: &Value, types: &Types) -> Option<Inventory> {
    let kind = |value: &Value| value.get("kind").and_then(Value::as_str).map(str::to_owned);
    let items: Vec<&Value> = match (kind(value).as_deref(), value.get("items")) {
        (Some("Node"), _) => vec![value],
        (_, Some(Value::Array(items))) => items.iter().collect(),
        _ => return None,
    };
    let mut nodes = Vec::new();
    let mut remarks = Vec::new();
    for item in items {
        let Some(node) = node(item, types) else { continue };
        if node.cards.is_empty() {
            remarks.push(format!("`{}` has no GPU that is allocatable", node.name));
        }
        nodes.push(node);
    }
    Some(Inventory { scheduler: Scheduler::Kubernetes, nodes, notes: remarks })
}

fn node(item: &Value, types: &Types) -> Option<Node> {
    let name = item.pointer("/metadata/name")?.as_str()?;
    let empty = Map::new();
    let labels = item.pointer("/metadata/labels").and_then(Value::as_object).unwrap_or(&empty);
    Some(Node {
        name: printable(name),
        up: is_up(item),
        driver: driver(labels),
        partitions: Vec::new(),
        cards: cards(item, labels, types),
    })
}

fn is_up(item: &Value) -> bool {
    let cordoned = item.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false);
    let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
    let field = |condition: &Value, name: &str| {
        condition.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let ready =
        conditions.into_iter().flatten().find(|c| field(c, "type").as_deref() == Some("Ready"));
    !cordoned && ready.is_none_or(|ready| field(ready, "status").as_deref() == Some("True"))
}

/// `cuda.driver-version.full`, since 0.16; before that in three labels.
fn driver(labels: &Map<String, Value>) -> Option<String> {
    let label = |name: &str| labels.get(&format!("nvidia.com/cuda.{name}")).and_then(Value::as_str);
    if let Some(full) = label("driver-version.full") {
        return evidence::driver(full);
    }
    let parts: Vec<&str> =
        ["driver.major", "driver.minor", "driver.rev"].into_iter().filter_map(label).collect();
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (parts.len() >= 2).then(|| evidence::driver(&parts.join("."))).flatten()
}

fn cards(item: &Value, labels: &Map<String, Value>, types: &Types) -> Vec<NodeCards> {
    let label = |name: &str| labels.get(name).and_then(Value::as_str);
    let product = label(PRODUCT).unwrap_or_default();
    let memory = label("nvidia.com/gpu.memory").and_then(|mib| Bytes::mib(mib.parse().ok()?).ok());
    let Some(resources) = resources(item) else { return Vec::new() };
    let mut found = Vec::new();
    for (resource, count) in resources {
        let slice = resource.strip_prefix(MIG);
        let said = match slice {
            Some(slice) => format!("{product}-MIG-{slice}"),
            None => product.to_owned(),
        };
        let selector = if product.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([(PRODUCT.to_owned(), product.to_owned())])
        };
        found.push(NodeCards {
            gpu: types.gpu_of(&said, memory.filter(|_| slice.is_none())),
            said: printable(&said),
            count,
            resource: resource.clone(),
            selector,
        });
    }
    found
}

/// What of GPUs is allocatable, sorted by name.
fn resources(item: &Value) -> Option<BTreeMap<String, u64>> {
    let of = |path: &str| item.pointer(path).and_then(Value::as_object);
    let all = of("/status/allocatable").or_else(|| of("/status/capacity"))?;
    let is_gpu = |name: &str| {
        matches!(name, "nvidia.com/gpu" | "nvidia.com/gpu.shared") || name.starts_with(MIG)
    };
    let count = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    let named = all.iter().filter(|(name, _)| is_gpu(name));
    Some(
        named
            .filter_map(|(name, value)| Some((name.clone(), count(value).filter(|n| *n > 0)?)))
            .collect(),
    )
}
