//! Arbitrary shapes under arbitrary requests, through every estimator and every renderer.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use vramplan_fuzz::arbitrary_plan::{Job, Shape};
use vramplan_planner::estimate::Component;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, Format, PLAN, Target, emit, explain, from_json};

#[derive(Arbitrary, Debug)]
struct Input {
    shape: Shape,
    job: Job,
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let catalog = Catalog::built_in();
    let Some(model) = input.shape.model() else { return };
    let Some(deployment) = input.job.deployment(&Arc::new(model), &catalog) else { return };
    let answer = match answer(&deployment) {
        Ok(answer) => answer,
        Err(error) => {
            let _ = (error.to_string(), error.hint());
            return;
        }
    };
    let plan = &answer.plan;
    assert!(plan.peak.low <= plan.peak.expected && plan.peak.expected <= plan.peak.high);
    let document = Document::new(&deployment, &answer);
    for (format, print) in PLAN.0 {
        let text = print(&document).expect("a document can be rendered");
        assert!(!text.is_empty(), "{format}");
        if *format == Format::Json {
            assert_eq!(from_json(&text).ok().as_ref(), Some(&document));
        }
    }
    for component in Component::ALL.into_iter().map(Some).chain([None]) {
        let _ = explain(&document, component);
    }
    for (_, target) in Target::NAMES {
        if let Err(error) =
            emit(&document, target, None, deployment.cards.first().gpu.compute_capability)
        {
            let _ = (error.to_string(), error.hint());
        }
    }
});
