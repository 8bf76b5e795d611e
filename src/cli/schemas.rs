//! The JSON Schemas in `schemas/` are made from the types, and every file and output follows them.
//!
//! `VRAMPLAN_WRITE_SCHEMAS=1 cargo test -p vramplan --lib schemas` writes them.

use std::path::{Path, PathBuf};

use schemars::{Schema, schema_for};
use serde_json::{Value, json};

use crate::report::doctor::DoctorDoc;
use crate::report::observe::ObserveDoc;
use vramplan_planner::deployment::Question;
use vramplan_planner::evidence::Record;
use vramplan_planner::fleet::{FleetPlan, JobMark, Merged, MergedDoc, Types, Wanted, nodes};
use vramplan_planner::read::profile;
use vramplan_planner::render::{CompareDoc, Document, QuantsDoc, SweepDoc, WhyDoc};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every schema with the name of its file.
fn schemas() -> Vec<(String, Value)> {
    let titled = |name: &str, title: &str, schema: Schema| {
        let mut value = schema.to_value();
        value["title"] = json!(title);
        (name.to_owned(), value)
    };
    let mut schemas = vec![
        titled("plan-v2", "vramplan/plan/v2", schema_for!(Document)),
        titled("sweep-v1", "vramplan/sweep/v1", schema_for!(SweepDoc)),
        titled("quants-v1", "vramplan/quants/v1", schema_for!(QuantsDoc)),
        titled("compare-v1", "vramplan/compare/v1", schema_for!(CompareDoc)),
        titled("observe-v1", "vramplan/observe/v1", schema_for!(ObserveDoc)),
        #[cfg(target_os = "linux")]
        titled(
            "rehearsal-v1",
            "vramplan/rehearsal/v1",
            schema_for!(crate::report::rehearsal::RehearsalDoc),
        ),
        titled("why-v1", "vramplan/why/v1", schema_for!(WhyDoc)),
        titled("profiles-v1", "vramplan/profiles/v1", schema_for!(super::mcp::ProfilesDoc)),
        titled("evidence-v1", "vramplan/evidence/v1", schema_for!(Record)),
        titled("fleet-plan-v1", "vramplan/fleet-plan/v1", schema_for!(FleetPlan)),
        titled("fleet-job-v1", "vramplan/fleet-job/v1", schema_for!(JobMark)),
        titled("fleet-v1", "vramplan/fleet/v1", schema_for!(MergedDoc)),
        titled("doctor-v1", "vramplan/doctor/v1", schema_for!(DoctorDoc)),
        titled(
            "calibration",
            "vramplan calibration",
            schema_for!(vramplan_planner::read::Calibration),
        ),
        titled("scenario", "vramplan scenario", schema_for!(Question)),
        ("table".to_owned(), table()),
    ];
    for (name, schema) in profile::schemas() {
        schemas.push(titled(name, &format!("vramplan {name} profile"), schema));
    }
    schemas
}

/// A table of limits: scenarios that may have limits.
fn table() -> Value {
    let scenario = schema_for!(Question).to_value();
    let defaults = json!({ "type": "object", "properties": scenario["properties"], "additionalProperties": false });
    let mut entry = defaults.clone();
    entry["properties"]["limits"] = limits();
    let mut table = json!({
        "$schema": scenario["$schema"],
        "title": "vramplan table of limits",
        "type": "object",
        "properties": {
            "schema": { "const": vramplan_planner::limits_table::SCHEMA },
            "defaults": defaults,
            "scenario": { "type": "array", "items": entry, "minItems": 1 },
        },
        "required": ["schema", "scenario"],
        "additionalProperties": false,
    });
    if let Some(definitions) = scenario.get("$defs") {
        table["$defs"] = definitions.clone();
    }
    table
}

fn limits() -> Value {
    let tokens = |names: &[&str]| {
        let each = json!({ "type": "integer", "minimum": 0 });
        let properties: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), each.clone())).collect();
        json!({ "type": "object", "properties": properties, "required": names })
    };
    let size = json!({ "type": "string", "pattern": "^[0-9]+ MiB$" });
    json!({
        "type": "object",
        "description": "Written by `vramplan check --update`.",
        "properties": {
            "verdict": { "enum": ["fits", "tight", "does_not_fit"] },
            "limited_by": { "enum": ["vram", "context", "speed"] },
            "max_cache_tokens": tokens(&["conservative", "balanced", "aggressive", "hard"]),
            "recent_window": tokens(&["conservative", "balanced", "aggressive"]),
            "peak": {
                "type": "object",
                "properties": { "expected": size, "high": size },
                "required": ["expected", "high"],
            },
        },
    })
}

#[test]
fn schemas_are_up_to_date() {
    for (name, schema) in schemas() {
        let path = root().join(format!("schemas/{name}.schema.json"));
        let fresh = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("VRAMPLAN_WRITE_SCHEMAS").is_some() {
            fs_err::write(&path, &fresh).unwrap();
        }
        let committed = fs_err::read_to_string(&path).unwrap_or_default();
        assert!(committed == fresh, "{}: run `just regenerate`", path.display());
    }
}

fn schema(name: &str) -> Value {
    schemas().into_iter().find(|(known, _)| known == name).unwrap().1
}

/// Where an instance does not follow a schema.
fn errors(schema: &Value, instance: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    let told = |error: jsonschema::ValidationError| format!("{}: {error}", error.instance_path());
    validator.iter_errors(instance).map(told).collect()
}

fn assert_valid(name: &str, instance: &Value, what: &str) {
    let errors = errors(&schema(name), instance);
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

/// Every TOML file in a folder as JSON.
fn files(folder: &str) -> Vec<(PathBuf, Value)> {
    let entries = fs_err::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| {
            let text = fs_err::read_to_string(&path).unwrap();
            let value: toml::Value = toml::from_str(&text).unwrap();
            (path, serde_json::to_value(value).unwrap())
        })
        .collect();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

#[test]
fn committed_files_follow_their_schemas() {
    for (schema, folder) in [
        ("gpu", "profiles/gpus"),
        ("model", "profiles/models"),
        ("runtime", "profiles/runtimes"),
        ("table", "profiles/tables"),
        ("table", "examples/team-repo"),
        ("scenario", "examples"),
    ] {
        for (path, value) in files(folder) {
            assert_valid(schema, &value, &path.display().to_string());
        }
    }
}

#[test]
fn what_the_community_measured_follows_its_schema() {
    let text = fs_err::read_to_string(root().join("evidence/community/from-logs.jsonl")).unwrap();
    let mut merged = Merged::default();
    for (number, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_valid("evidence-v1", &value, &format!("line {}", number + 1));
        merged.record(serde_json::from_value(value).unwrap());
    }
    assert_valid("fleet-v1", &serde_json::to_value(merged.document()).unwrap(), "merged");
    let list = fs_err::read_to_string(root().join("tests/corpus/fleet/nodes.csv")).unwrap();
    let nodes = nodes(&list, &Types::default()).unwrap();
    let plan = FleetPlan::new(&nodes, merged.records(), &Wanted::default());
    assert_valid("fleet-plan-v1", &serde_json::to_value(plan).unwrap(), "plan");
}

#[test]
fn what_is_wrong_does_not_follow_them() {
    let schema = schema("scenario");
    let valid = |value: &Value| errors(&schema, value).is_empty();
    assert!(valid(&json!({ "gpu": "L4", "capture_layers": "all", "batch": 2 })));
    assert!(valid(&json!({ "capture_layers": 4, "runtime": "llama.cpp" })));
    for wrong in [
        json!({ "gpus": "L4" }),
        json!({ "batch": "two" }),
        json!({ "runtime": "tensorrt" }),
        json!({ "headroom": 3 }),
    ] {
        assert!(!valid(&wrong), "{wrong}");
    }
}

#[test]
fn outputs_follow_their_schemas() {
    let plan = |flags: &Question| {
        let catalog = super::known::Known::built_in();
        let deployment = super::scenario::resolve(flags, &catalog).unwrap();
        Document::new(&deployment, &vramplan_planner::recommend::answer(&deployment).unwrap())
    };
    let seed = super::scenario::read(&root().join("examples/seed-l4.toml")).unwrap();
    let small = Question {
        gpu: Some("T4".to_owned()),
        model: Some("qwen2.5-32b".to_owned()),
        runtime: Some(vramplan_planner::spec::Runtime::LlamaCpp),
        ..Question::default()
    };
    let (seed, small) = (plan(&seed), plan(&small));
    for document in [&seed, &small] {
        assert_valid(
            "plan-v2",
            &serde_json::to_value(document).unwrap(),
            &document.deployment.model.name,
        );
    }
    let compared = CompareDoc::new(("a", &seed), ("b", &small));
    assert_valid("compare-v1", &serde_json::to_value(compared).unwrap(), "compare");
    let swept = super::sweep::example();
    assert_valid("sweep-v1", &serde_json::to_value(swept).unwrap(), "sweep");
    let quants = super::quants::example();
    assert_valid("quants-v1", &serde_json::to_value(quants).unwrap(), "quants");
    let why = super::why::example();
    assert_valid("why-v1", &serde_json::to_value(why).unwrap(), "why");
    let profiles = super::mcp::example();
    assert_valid("profiles-v1", &serde_json::to_value(profiles).unwrap(), "profiles");
    let doctor = super::doctor::example();
    assert_valid("doctor-v1", &serde_json::to_value(doctor).unwrap(), "doctor");
}
