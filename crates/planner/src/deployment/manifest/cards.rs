//! What a manifest says of cards: how many a container is given, and which ones its node has.

use super::{Given, Wanted};
use crate::read::yaml::Yaml;

/// Resources of Kubernetes that are cards.
const RESOURCES: [&str; 4] =
    ["nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"];

/// What NVIDIA's plugin calls a card that several containers share.
const SHARED: &str = "nvidia.com/gpu.shared";

/// What NVIDIA's label has behind the name of a card that several containers share.
const SUFFIX: &str = "-SHARED";

/// What a slice of a card is called before its name.
const SLICE: &str = "nvidia.com/mig-";

/// Labels that name a node's card, or its machine.
const LABELS: [&str; 6] = [
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "gpu.nvidia.com/model",
    "amd.com/gpu.product-name",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
];

/// How many cards a container is given.
pub(super) fn given(container: &Yaml) -> Option<Given> {
    let resources = container.get("resources");
    let limits = resources.and_then(|resources| resources.get("limits"));
    let requests = resources.and_then(|resources| resources.get("requests"));
    let by_resource = [limits, requests].into_iter().flatten().find_map(of_resources);
    by_resource.or_else(|| of_compose(container)).or_else(|| of_chart(container))
}

fn of_resources(resources: &Yaml) -> Option<Given> {
    let is_card = |key: &str| RESOURCES.contains(&key) || key == SHARED || key.starts_with(SLICE);
    let (key, value) = resources.entries().iter().find(|(key, _)| is_card(key))?;
    Some(Given { count: Some(value.text()?.trim().parse().ok()?), key: key.clone() })
}

/// `deploy.resources.reservations.devices` and `gpus` of compose.
fn of_compose(service: &Yaml) -> Option<Given> {
    let reserved = service.at(&["deploy", "resources", "reservations", "devices"]);
    let (key, devices) = match (reserved, service.get("gpus")) {
        (Some(devices), _) => ("devices", devices.items()),
        (None, Some(Yaml::List(devices))) => ("gpus", &**devices),
        (None, Some(all)) => {
            let count = all.text()?.parse().ok();
            return Some(Given { count, key: "gpus".to_owned() });
        }
        (None, None) => return None,
    };
    let device = devices.iter().find(|device| is_card(device))?;
    let ids = device.get("device_ids").map(|ids| ids.items().len() as u64);
    let count = device.get("count").and_then(Yaml::text);
    let (part, count) = match (ids, count) {
        (Some(ids), _) => ("device_ids", Some(ids)),
        (None, count) => ("count", count.and_then(|count| count.parse().ok())),
    };
    Some(Given { count, key: format!("{key}.{part}") })
}

/// Whether a device of compose's is a card: it is where nothing else is said.
fn is_card(device: &Yaml) -> bool {
    let capabilities = device.get("capabilities").map(Yaml::items).unwrap_or_default();
    let flat = capabilities.iter().flat_map(|one| match one {
        Yaml::List(inner) => inner.iter().collect(),
        other => vec![other],
    });
    let names: Vec<_> = flat.filter_map(Yaml::text).collect();
    names.is_empty() || names.contains(&"gpu")
}

/// `requestGPU` of vLLM's production stack.
fn of_chart(values: &Yaml) -> Option<Given> {
    let key = "requestGPU";
    let count = values.get(key)?.text()?.parse().ok()?;
    Some(Given { count: Some(count), key: key.to_owned() })
}

/// The slice of a card that a container is given.
pub(super) fn slice(given: &Given) -> Option<&str> {
    given.key.strip_prefix(SLICE)
}

/// The card that a node is chosen by.
pub(super) fn wanted(pod: &Yaml) -> Option<Wanted> {
    let selector = pod.get("nodeSelector");
    let of = |labels: &Yaml| {
        let found = |key: &&str| Some(((*key).to_owned(), labels.get(key)?.text()?.to_owned()));
        LABELS.iter().find_map(found)
    };
    let by_label = selector.and_then(of).or_else(|| by_affinity(pod));
    by_label.map(|(key, name)| {
        let shared = name.strip_suffix(SUFFIX).map(str::to_owned);
        Wanted { name: shared.unwrap_or(name), key }
    })
}

/// The label and the value that an affinity requires, where that is one.
fn by_affinity(pod: &Yaml) -> Option<(String, String)> {
    const REQUIRED: [&str; 4] = [
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    // What its values have as a list of terms the chart of vLLM's production stack has alone.
    let terms = pod.at(&REQUIRED).or_else(|| pod.get("nodeSelectorTerms"))?;
    let [term] = terms.items() else { return None };
    term.get("matchExpressions")?.items().iter().find_map(|expression| {
        let key = expression.get("key")?.text()?;
        let [value] = expression.get("values")?.items() else { return None };
        let is_in = expression.get("operator")?.text()? == "In";
        (is_in && LABELS.contains(&key)).then_some((key.to_owned(), value.text()?.to_owned()))
    })
}
