//! Every model can be planned on every GPU under every runtime, or is refused with a reason.

use crate::support::{Case, capacity};
use vramplan_planner::deployment::Card;
use vramplan_planner::estimate::Component;
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::recommend::{Solver, answer};
use vramplan_planner::spec::{Count, Headroom, Launch, Runtime};

/// A card that every model is planned on.
const CARD: &str = "H200";

#[test]
fn every_model_under_every_runtime() {
    let catalog = Catalog::built_in();
    let base = Runtime::ALL.map(|runtime| {
        let case = Case::new(CARD, "qwen2.5-14b", runtime);
        match runtime {
            Runtime::Transformers => case.weights("nf4"),
            Runtime::Vllm | Runtime::Sglang => case.weights("awq-int4"),
            Runtime::LlamaCpp | Runtime::Vramplan => case,
        }
    });
    let mut planned = 0;
    for listing in catalog.list(Kind::Model).unwrap() {
        let model = catalog.model(&listing.name).unwrap();
        for case in &base {
            let mut case = case.clone().of(model.clone());
            case.workload.context = model.shape.context_len;
            case.workload.system_tokens = 100;
            // On the GPU whole: what is in main memory is not among its weights.
            if case.kind() == Runtime::LlamaCpp {
                case.set_launch(Launch { gpu_layers: Some(Count::All), ..Launch::default() });
            }
            let answer = match answer(&case) {
                Ok(answer) => answer,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains('`'), "{} under {:?}: {text}", model.name, case.runtime);
                    continue;
                }
            };
            let weights = answer.plan.component(Component::Weights).unwrap();
            // From 2 bits to 16 a parameter: anything else is a slip of a unit.
            let bits = weights.at_peak.expected.as_f64() * 8.0 / request_parameters(&case);
            assert!((2.0..17.0).contains(&bits), "{}: {bits} bits", model.name);
            planned += 1;
        }
    }
    assert!(planned > 3 * 130, "only {planned} plans");
}

#[allow(clippy::cast_precision_loss)]
fn request_parameters(case: &Case) -> f64 {
    case.model.parameters() as f64
}

#[test]
fn every_gpu_takes_more_with_more_memory() {
    let catalog = Catalog::built_in();
    let mut sizes = Vec::new();
    for listing in catalog.list(Kind::Gpu).unwrap() {
        let gpu = catalog.gpu(&listing.name).unwrap();
        let mut case = Case::new(CARD, "qwen2.5-7b", Runtime::Vramplan);
        let first = Card { gpu: case.gpu().clone(), capacity: capacity(&gpu, Headroom::Default) };
        case = case.on(first, Vec::new());
        case.workload.context = 1 << 24;
        // The context is that of one card: memory alone may make the difference here.
        let recommendation = Solver::new(&case).unwrap().recommend().unwrap();
        sizes.push((case.capacity().usable, recommendation.tiers.aggressive.max_cache_tokens));
    }
    sizes.sort_unstable();
    assert!(sizes.is_sorted_by_key(|(_, tokens)| *tokens), "{sizes:?}");
    assert!(sizes.first().unwrap().1 < sizes.last().unwrap().1);
}
