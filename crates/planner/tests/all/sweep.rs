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
            // llama.cpp's cells are of models that are on the GPU whole, as its heading says.
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
    let sweep = Sweep { rows };
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
                    let balanced = &answer.recommendation.tiers.balanced;
                    assert_eq!(cell.verdict, answer.plan.verdict, "{what}");
                    assert_eq!(cell.max_cache_tokens, balanced.max_cache_tokens, "{what}");
                    assert_eq!(cell.recent_window, balanced.recent_window, "{what}");
                    assert_eq!(cell.cache_tokens, answer.cache_tokens, "{what}");
                    assert_eq!(cell.peak, answer.plan.peak, "{what}");
                    assert_eq!(cell.limited_by, balanced.limited_by, "{what}");
                }
                (cell, answer) => panic!("{what}: {cell:?}, but {answer:?}"),
            }
        }
    }
}
