//! Arbitrary shapes under arbitrary requests, through every estimator and every renderer.
#![no_main]

use arbitrary::Arbitrary;
use vramplan_fuzz::arbitrary_plan::{Job, Shape};
use vramplan_planner::estimate::Component;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, Format, Target, emit, explain, from_json, render};

#[derive(Arbitrary, Debug)]
struct Input {
    shape: Shape,
    job: Job,
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let catalog = Catalog::built_in();
    let Some(model) = input.shape.model() else { return };
    let Some(case) = input.job.case(&model, &catalog) else { return };
    let deployment = case.deployment(&model);
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
    for (name, format) in Format::NAMES {
        let text = render(&document, format).expect("a document can be rendered");
        assert!(!text.is_empty(), "{name}");
        if format == Format::Json {
            assert_eq!(from_json(&text).ok().as_ref(), Some(&document));
        }
    }
    for component in Component::ALL.into_iter().map(Some).chain([None]) {
        let _ = explain(&document, component);
    }
    for (_, target) in Target::NAMES {
        if let Err(error) = emit(&document, target, None, case.gpu.compute_capability) {
            let _ = (error.to_string(), error.hint());
        }
    }
});
