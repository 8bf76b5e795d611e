//! Kubernetes: the Jobs that are written are Jobs, by the cluster's own schema.

use serde_json::Value;

use super::{json, stderr};
use crate::observe::support::Place;

const NODES: &str = r#"{"kind": "List", "items": [
  {"kind": "Node", "metadata": {"name": "l4-a", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/gpu.memory": "23034", "nvidia.com/cuda.driver-version.full": "580.126.20"}},
   "status": {"allocatable": {"nvidia.com/gpu": "1"}}},
  {"kind": "Node", "metadata": {"name": "a100-mixed", "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
    "nvidia.com/mig.strategy": "mixed"}}, "status": {"allocatable": {"nvidia.com/mig-3g.20gb": "2"}}}]}"#;

/// Kubernetes' own schema of a Job, in which no unknown key is valid.
fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(include_str!("job.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn jobs() -> Value {
    let place = Place::new();
    fs_err::write(place.path("nodes.json"), NODES).unwrap();
    let given = ["fleet", "emit", "k8s", "nodes.json", "--reports", "/reports", "--runs", "2"];
    let more = ["--image", "registry.example/vramplan:1", "--claim", "reports"];
    let output = place.run(&[&given[..], &more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    json(&output)
}

#[test]
fn jobs_are_valid() {
    let (list, validator) = (jobs(), validator());
    let items = list["items"].as_array().unwrap();
    assert_eq!((list["kind"].as_str(), items.len()), (Some("List"), 2));
    for job in items {
        let wrong: Vec<String> =
            validator.iter_errors(job).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let wrong = |change: fn(&mut Value)| {
            let mut job = job.clone();
            change(&mut job);
            !validator.is_valid(&job)
        };
        assert!(wrong(|job| job["spec"]["parallelsm"] = 1.into()));
        assert!(wrong(
            |job| job["spec"]["template"]["spec"]["containers"][0]["command"] = "x".into()
        ));
    }
    let of = |index: usize, path: &str| items[index].pointer(path).unwrap().clone();
    let resources = "/spec/template/spec/containers/0/resources/limits";
    assert_eq!(of(0, resources)["nvidia.com/mig-3g.20gb"], "1");
    assert_eq!(of(1, resources)["nvidia.com/gpu"], "1");
    let selector = of(1, "/spec/template/spec/nodeSelector");
    assert_eq!(selector["nvidia.com/cuda.driver-version.full"], "580.126.20");
    assert_eq!(
        (of(1, "/spec/completionMode"), of(1, "/spec/completions")),
        ("Indexed".into(), 2.into())
    );
    let command = of(1, "/spec/template/spec/containers/0/command").to_string();
    assert!(
        command
            .starts_with(r#"["vramplan","fleet","run","--kind","l4","--reports","/reports","--","#),
        "{command}"
    );
}
