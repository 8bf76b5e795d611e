//! `--against FILE`: a plan that was made before, or the one in the report of an earlier run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::calibrate::{PlannedComponent, PlannedPhase, PlannedRun};
use crate::cli::problem::Problem;
use vramplan_planner::estimate::{Component, Phase};

use vramplan_planner::spec::Bounds;
use vramplan_planner::text::{printable, printable_message, printable_path};
use vramplan_planner::units::Bytes;

/// The schemas of a plan and of a report.
const SCHEMA: &str = "vramplan/plan/v1";
const REPORT: &str = "vramplan/observe/v1";

#[derive(Deserialize)]
struct Head {
    schema: String,
}

#[derive(Deserialize)]
struct Measured {
    comparison: Option<Compared>,
}

#[derive(Deserialize)]
struct Compared {
    plan: PlannedRun,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    inputs: BTreeMap<String, serde_json::Value>,
    components: Vec<Row>,
    phases: Vec<Row>,
    peak: Peak,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    #[serde(flatten)]
    size: Size,
}

#[derive(Deserialize)]
struct Peak {
    phase: String,
    #[serde(flatten)]
    size: Size,
}

#[derive(Clone, Copy, Deserialize)]
struct Size {
    low: u64,
    expected: u64,
    high: u64,
}

impl Size {
    fn bounds(self) -> Result<Bounds, String> {
        let Self { low, expected, high } = self;
        if low > expected || expected > high {
            return Err(format!("{low} ≤ {expected} ≤ {high} does not hold"));
        }
        Ok(Bounds::new(Bytes::new(low), Bytes::new(expected), Bytes::new(high)))
    }
}

/// Reads a plan in the JSON of `vramplan budget`, or that of a report of `calibrate` and `observe`.
pub fn read(path: &Path) -> anyhow::Result<PlannedRun> {
    let text = vramplan_disk::text(path)?;
    let wrong = |message: String| {
        Problem::new(format!("`{}` is no plan: {message}", printable_path(path)))
            .hint("`--against` reads what `budget` and `calibrate` print with `--format json`")
    };
    Ok(parse(&text).map_err(wrong)?)
}

fn parse(text: &str) -> Result<PlannedRun, String> {
    let head: Head = read_as(text)?;
    match head.schema.as_str() {
        SCHEMA => plan(read_as(text)?),
        REPORT => {
            let measured: Measured = read_as(text)?;
            let compared = measured.comparison.ok_or("the report compares with no plan")?;
            Ok(compared.plan.cleaned())
        }
        other => Err(format!("schema `{}`: expected `{SCHEMA}` or `{REPORT}`", printable(other))),
    }
}

fn read_as<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json)
        .map_err(|error| printable_message(&error.to_string()))
}

fn plan(file: File) -> Result<PlannedRun, String> {
    let components = file.components.iter().map(|row| {
        let id = Component::from_id(&row.id);
        let id = id.ok_or_else(|| format!("`{}` is no component", printable(&row.id)))?;
        Ok(PlannedComponent { id, at_peak: row.size.bounds()? })
    });
    let phases = file.phases.iter().map(|row| {
        let (id, components) = (phase(&row.id)?, Vec::new());
        Ok(PlannedPhase { id, total: row.size.bounds()?, components })
    });
    let word =
        |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let inputs = file.inputs.into_iter().map(|(key, value)| (key, word(value)));
    let run = PlannedRun {
        inputs: inputs.collect(),
        peak_phase: phase(&file.peak.phase)?,
        peak: file.peak.size.bounds()?,
        phases: phases.collect::<Result<_, String>>()?,
        components: components.collect::<Result<_, String>>()?,
    };
    Ok(run.cleaned())
}

fn phase(name: &str) -> Result<Phase, String> {
    let found = Phase::ALL.into_iter().find(|phase| phase.id() == name);
    found.ok_or_else(|| format!("`{}` is no phase", printable(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plan_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let head = r#"{"schema":"vramplan/plan/v1","components":"#;
        let report = r#"{"schema":"vramplan/observe/v1","comparison":null}"#;
        for (text, part) in [
            ("{".to_owned(), "is no plan"),
            (report.to_owned(), "compares with no plan"),
            (
                r#"{"schema":"x","components":[],"phases":[],"peak":{"phase":"load","low":0,"expected":0,"high":0}}"#.to_owned(),
                "schema `x`",
            ),
            (
                format!(r#"{head}[{{"id":"wieghts","low":0,"expected":0,"high":0}}],"phases":[],"peak":{{"phase":"load","low":0,"expected":0,"high":0}}}}"#),
                "`wieghts` is no component",
            ),
            (
                format!(r#"{head}[{{"id":"weights","low":2,"expected":1,"high":3}}],"phases":[],"peak":{{"phase":"load","low":0,"expected":0,"high":0}}}}"#),
                "does not hold",
            ),
        ] {
            fs_err::write(&path, &text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("plan.json"), "{text}: {error}");
        }
    }
}
