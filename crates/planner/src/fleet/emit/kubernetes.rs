//! Kubernetes: indexed Jobs, as JSON, which `kubectl apply -f` takes like YAML.

use serde_json::{Value, json};

use super::{Jobs, Written, words};
use crate::fleet::plan::KindDoc;

const DRIVER: &str = "nvidia.com/cuda.driver-version.full";

/// The Job of a kind.
pub fn job(kind: &KindDoc, jobs: &Jobs) -> String {
    pretty(&value(kind, jobs))
}

fn value(kind: &KindDoc, jobs: &Jobs) -> Value {
    let mut selector = kind.selector.clone();
    if let Some(driver) = &kind.driver {
        selector.insert(DRIVER.to_owned(), driver.clone());
    }
    let labels = json!({ "app.kubernetes.io/name": "vramplan", "vramplan.dev/kind": kind.id });
    let node = json!({ "fieldRef": { "fieldPath": "spec.nodeName" } });
    let quantity = |n: u64| n.to_string();
    let memory = format!("{}Mi", jobs.memory.get().div_ceil(1 << 20));
    let requests =
        json!({ "cpu": quantity(jobs.cpus), "memory": memory, (kind.resource.as_str()): "1" });
    let limits = json!({ "memory": memory, (kind.resource.as_str()): "1" });
    let container = json!({
        "name": "vramplan",
        "image": jobs.image,
        "command": words(kind, jobs),
        "env": [{ "name": "VRAMPLAN_HOST", "valueFrom": node }],
        "resources": { "requests": requests, "limits": limits },
        "volumeMounts": [{ "name": "reports", "mountPath": jobs.reports }],
    });
    let pod = json!({
        "restartPolicy": "Never",
        "nodeSelector": selector,
        "tolerations": [{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }],
        "containers": [container],
        "volumes": [{ "name": "reports", "persistentVolumeClaim": { "claimName": jobs.claim } }],
    });
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": format!("vramplan-{}", kind.id), "labels": labels },
        "spec": {
            "completionMode": "Indexed",
            "completions": jobs.runs,
            "parallelism": jobs.runs,
            "backoffLimit": jobs.runs.saturating_mul(2),
            "activeDeadlineSeconds": jobs.minutes.saturating_mul(60).saturating_mul(jobs.runs),
            "ttlSecondsAfterFinished": 7 * 24 * 3600,
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}

/// All of them as a list.
pub fn together(written: &[Written]) -> String {
    let items: Vec<Value> =
        written.iter().filter_map(|job| serde_json::from_str(&job.text).ok()).collect();
    pretty(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
