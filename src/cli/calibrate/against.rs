//! `--against FILE`: a plan that was made before, or the one in the report of an earlier run.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::calibrate::PlannedRun;
use crate::cli::problem::Problem;
use crate::report::observe::{ObserveDoc, SCHEMA as REPORT};
use vramplan_planner::render::{Document, SCHEMA};
use vramplan_planner::spec::Bounds;
use vramplan_planner::text::{printable, printable_message, printable_path};
use vramplan_planner::units::Bytes;

#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// Reads a plan in the JSON of `vramplan budget`, or that of a report of `calibrate` and `observe`.
pub fn read(path: &Path) -> anyhow::Result<PlannedRun> {
    let text = vramplan_disk::text(path)?;
    let wrong = |message: String| {
        Problem::new(format!("`{}` is not a plan: {message}", printable_path(path)))
            .hint("`--against` reads what `budget` and `calibrate` print with `--format json`")
    };
    Ok(parse(&text).map_err(wrong)?)
}

fn parse(text: &str) -> Result<PlannedRun, String> {
    let head: Head = read_as(text)?;
    let plan = match head.schema.as_str() {
        SCHEMA => PlannedRun::of(&read_as::<Document>(text)?),
        REPORT => {
            let measured: ObserveDoc = read_as(text)?;
            measured.comparison.ok_or("the report compares with no plan")?.plan
        }
        other => {
            let other = printable(other);
            return Err(format!("schema `{other}`: expected `{SCHEMA}` or `{REPORT}`"));
        }
    };
    let upset = |size: &Bounds| size.low > size.expected || size.expected > size.high;
    let upset = plan.bounds().find(upset);
    match upset {
        Some(Bounds { low, expected, high }) => {
            let [low, expected, high] = [low, expected, high].map(Bytes::get);
            Err(format!("{low} ≤ {expected} ≤ {high} does not hold"))
        }
        None => Ok(plan.cleaned()),
    }
}

fn read_as<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json)
        .map_err(|error| printable_message(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vramplan_disk::Disk;
    use vramplan_planner::deployment::{Question, resolve};
    use vramplan_planner::read::Catalog;
    use vramplan_planner::recommend::answer;
    use vramplan_planner::render::to_json;

    fn plan() -> String {
        let question = Question {
            gpu: Some("L4".to_owned()),
            model: Some("qwen2.5-7b".to_owned()),
            ..Question::default()
        };
        let deployment = resolve(&question, &Catalog::built_in(), &Disk, None).unwrap();
        to_json(&Document::new(&deployment, &answer(&deployment).unwrap())).unwrap()
    }

    #[test]
    fn a_plan_is_read_as_it_was_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let text = plan();
        fs_err::write(&path, &text).unwrap();
        let document: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(read(&path).unwrap(), PlannedRun::of(&document));
    }

    #[test]
    fn what_is_no_plan_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let plan = plan();
        let expected = plan.find("\"expected\": ").unwrap();
        let upset = plan.replacen(&plan[expected..][..13], "\"expected\": 9", 1);
        for (text, part) in [
            ("{".to_owned(), "is not a plan"),
            (plan.replace(SCHEMA, "x"), "schema `x`"),
            (plan.replace("\"weights\",", "\"wieghts\","), "wieghts"),
            (upset, "expected `low` ≤ `expected` ≤ `high`"),
        ] {
            fs_err::write(&path, &text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("plan.json"), "{part}: {error}");
        }
    }
}
