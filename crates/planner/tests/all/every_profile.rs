//! Every model can be planned on every GPU under every runtime, or is refused with a reason.

use std::collections::BTreeSet;

use crate::support::{Case, capacity};
use vramplan_planner::deployment::Card;
use vramplan_planner::estimate::{Component, Scenario, weights_of};
use vramplan_planner::plan::{Plan, plan};
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::recommend::{Solver, answer};
use vramplan_planner::spec::{Count, Headroom, Launch, ModelSpec, Runtime};
use vramplan_planner::units::Bytes;

/// A card that every model is planned on.
const CARD: &str = "H200";

/// Every model, those that are the same but for the name once.
fn distinct(catalog: &Catalog) -> Vec<ModelSpec> {
    let listed = catalog.list(Kind::Model).unwrap();
    let models = listed.iter().map(|listing| catalog.model(&listing.name).unwrap());
    let mut seen = BTreeSet::new();
    models
        .filter(|model| seen.insert(format!("{:?} {:?}", model.shape, model.own_format)))
        .collect()
}

#[test]
fn every_model_under_every_runtime() {
    let catalog = Catalog::built_in();
    let base = Runtime::ALL.map(|runtime| {
        let case = Case::new(CARD, "qwen2.5-14b", runtime);
        match runtime {
            Runtime::Transformers => case.weights("nf4"),
            Runtime::Vllm | Runtime::Sglang => case.weights("awq-int4"),
            Runtime::LlamaCpp | Runtime::Ollama | Runtime::Vramplan => case,
        }
    });
    let mut planned = 0;
    for (index, model) in distinct(&catalog).into_iter().enumerate() {
        for case in &base {
            // Its advice plays the allocator many times over: a third of the models is enough for that.
            if case.kind() == Runtime::Transformers && index % 3 != 0 {
                continue;
            }
            let mut case = case.clone().of(model.clone());
            case.workload.context = model.shape.context_len;
            case.workload.system_tokens = 100;
            // On the GPU whole: what is in main memory is not among its weights.
            if matches!(case.kind(), Runtime::LlamaCpp | Runtime::Ollama) {
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

/// What a runtime holds of a model with a cache of so many tokens.
fn planned(case: &Case, tokens: u64) -> Result<Plan, String> {
    let mut workload = case.workload;
    workload.context = tokens.max(1);
    let weights = weights_of(&case.model, case.weights, &case.runtime);
    let weights = weights.map_err(|error| error.to_string())?;
    let scenario = Scenario {
        model: &case.model,
        gpu: case.gpu(),
        runtime: &case.runtime,
        weights: &weights,
        kv: case.kv,
        workload,
        cache_tokens: tokens,
    };
    plan(&scenario, case.capacity()).map_err(|error| error.to_string())
}

/// Checks that what is held at the peak is the sum of its parts, and that every phase holds what stays and what passes.
fn add_up(plan: &Plan, of: &str) {
    let parts = plan.components.iter().map(|row| row.at_peak.expected);
    assert_eq!(Bytes::sum(parts).unwrap(), plan.peak.expected, "{of}");
    for row in &plan.phases {
        let sum = row.persistent.plus(row.transient).unwrap();
        // What the allocator keeps of an earlier phase comes to it.
        assert!(sum <= row.total.expected, "{of}, {:?}", row.phase);
        assert!(row.total.expected <= plan.peak.expected, "{of}, {:?}", row.phase);
        assert!(row.total.low <= row.total.expected && row.total.expected <= row.total.high);
    }
    let least = [Component::Weights, Component::ConversationCache].into_iter();
    let least = least.filter_map(|component| plan.component(component));
    let least = Bytes::sum(least.map(|row| row.at_peak.expected)).unwrap();
    assert!(least <= plan.peak.expected && least > Bytes::ZERO, "{of}");
}

#[test]
fn every_model_adds_up_at_every_length() {
    let catalog = Catalog::built_in();
    let base = Runtime::ALL.map(|runtime| Case::new(CARD, "qwen2.5-14b", runtime));
    let (mut count, mut refused) = (0, 0);
    for (index, model) in distinct(&catalog).into_iter().enumerate() {
        let own = model.shape.context_len.min(1 << 17);
        // Every third at further lengths, which take their time.
        let lengths = if index % 3 == 0 { vec![512, 4096, own] } else { vec![own] };
        for case in &base {
            let case = case.clone().of(model.clone());
            let mut peaks = Vec::new();
            for &tokens in &lengths {
                let of = format!("{} under {:?} at {tokens}", model.name, case.kind());
                match planned(&case, tokens) {
                    Ok(plan) => {
                        add_up(&plan, &of);
                        peaks.push((tokens, plan.peak.expected));
                    }
                    Err(reason) => {
                        assert!(reason.contains('`'), "{of}: {reason}");
                        refused += 1;
                    }
                }
            }
            peaks.sort_unstable();
            // Servers fill the share of the card that they are given, and transformers copies what a window holds.
            let may_grow = matches!(case.kind(), Runtime::LlamaCpp | Runtime::Vramplan);
            let grows = peaks.is_sorted_by_key(|(_, peak)| *peak);
            assert!(grows || !may_grow, "{} under {:?}: {peaks:?}", model.name, case.kind());
            count += peaks.len();
        }
    }
    assert!(count > 5 * 300 && refused < count, "{count} plans, {refused} refused");
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
