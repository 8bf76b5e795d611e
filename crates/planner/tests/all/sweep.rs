//! A matrix says what single plans say.

use std::sync::Arc;

use crate::support::Case;
use vramplan_planner::deployment::{Deployment, Question};
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::Runtime;
use vramplan_planner::sweep::Sweep;

const MODELS: [&str; 5] =
    ["qwen2.5-0.5b", "qwen2.5-14b", "qwen2.5-32b", "gemma-2-9b", "deepseek-v2-lite"];
const WEIGHTS: [&str; 4] = ["q2_k", "q4_k_m", "q8_0", "nf4"];

#[test]
fn every_cell_is_the_answer_of_its_plan() {
    let catalog = Catalog::built_in();
    // Those on which every runtime runs.
    let mut names = catalog.list(Kind::Gpu).unwrap();
    names.retain(|gpu| catalog.gpu(&gpu.name).unwrap().maker.is_nvidia());
    let deployment = |gpu: &str, model: &str, weights: &str| {
        Case::asked(&Question {
            gpu: Some(gpu.to_owned()),
            model: Some(model.to_owned()),
            weights: weights.parse().ok(),
            runtime: Some(Runtime::Vramplan),
            ..Question::default()
        })
        .0
    };
    let mut rows = Vec::new();
    for model in MODELS {
        let spec = Arc::new(catalog.model(model).unwrap());
        for weights in WEIGHTS {
            let cells = names.iter().map(|gpu| Deployment {
                model: Arc::clone(&spec),
                siblings: Arc::new([]),
                ..deployment(&gpu.name, model, weights)
            });
            rows.push(cells.collect());
        }
    }
    let sweep = Sweep { rows, largest: true };
    let cells = sweep.answer();
    assert!(cells.len() * cells[0].len() > 1024, "enough for threads");
    assert_eq!(sweep.groups().len(), MODELS.len() * WEIGHTS.len());
    for (row, cells) in sweep.rows.iter().zip(&cells) {
        // Every seventh keeps the test short.
        for (asked, cell) in row.iter().zip(cells).step_by(7) {
            let gpu = &asked.cards.first().gpu.name;
            let what = format!("{} {} {gpu}", asked.model.name, asked.weights);
            match (cell, answer(asked)) {
                (Err(refused), Err(error)) => assert_eq!(*refused, error, "{what}"),
                (Ok(cell), Ok(answer)) => {
                    let (fit, largest) = (&cell.fit, cell.largest.as_ref().unwrap());
                    let balanced = &answer.recommendation.tiers.balanced;
                    assert_eq!(fit.verdict, answer.plan.verdict, "{what}");
                    assert_eq!(largest.max_cache_tokens, balanced.max_cache_tokens, "{what}");
                    assert_eq!(largest.recent_window, balanced.recent_window, "{what}");
                    assert_eq!(fit.cache_tokens, answer.cache_tokens, "{what}");
                    assert_eq!(fit.peak, answer.plan.peak, "{what}");
                    assert_eq!(largest.limited_by, balanced.limited_by, "{what}");
                }
                (cell, answer) => panic!("{what}: {cell:?}, but {answer:?}"),
            }
        }
    }
}

/// Where a model does not fit on the GPU whole, llama.cpp's cells leave the same of it in main memory as its plans do.
#[test]
fn cells_of_llama_cpp_are_placed_as_plans_are() {
    let asked = |model: &str, gpu: &str| Case::new(gpu, model, Runtime::LlamaCpp).0;
    let row = |model: &str| ["RTX 3060", "L4", "A100-80GB"].map(|gpu| asked(model, gpu)).to_vec();
    let sweep = Sweep { rows: ["qwen2.5-32b", "qwen3-30b-a3b"].map(row).to_vec(), largest: true };
    let cells = sweep.answer();
    let mut placed = 0;
    for (asked, cell) in sweep.rows.iter().flatten().zip(cells.iter().flatten()) {
        let (cell, answer) = (cell.as_ref().unwrap(), answer(asked).unwrap());
        let flags = answer.settlement.as_ref().map(|settled| settled.placement.flags());
        assert_eq!(cell.placement, flags);
        assert_eq!(cell.fit.cache_tokens, answer.cache_tokens);
        assert_eq!(cell.fit.peak, answer.plan.peak);
        assert_eq!(cell.fit.verdict, answer.verdict);
        placed += usize::from(flags.is_some());
    }
    assert!((1..6).contains(&placed), "{placed} of 6 are placed");
}
