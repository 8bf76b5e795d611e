//! Formats beside each other: the one that is named loses the least of those that fit with a useful context.

use crate::support::Case;
use vramplan_planner::deployment::Question;
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::render::{Candidate, QuantsDoc};

fn compared(question: &str, formats: &[(&str, Option<&str>)]) -> QuantsDoc {
    let case = Case::asked(&toml::from_str::<Question>(question).unwrap());
    let candidate = |(format, name): &(&str, Option<&str>)| {
        let weights: WeightFormat = format.parse().unwrap();
        let deployment = vramplan_planner::deployment::Deployment { weights, ..case.0.clone() };
        Candidate { name: name.map(str::to_owned), file: None, size: None, deployment }
    };
    let candidates: Vec<_> = formats.iter().map(candidate).collect();
    QuantsDoc::new("model", None, &candidates).unwrap()
}

fn plain<'a>(formats: &[&'a str]) -> Vec<(&'a str, Option<&'a str>)> {
    formats.iter().map(|format| (*format, None)).collect()
}

const LARGE: &str = "gpu = 'RTX 4090'\nmodel = 'qwen3-32b'\nruntime = 'llama.cpp'\n";

#[test]
fn a_smaller_format_that_loses_less_goes_before_a_larger_one() {
    let all = plain(&["q5_1", "q5_k_m", "q5_0", "q5_k_s", "q4_1", "q4_k_m", "q4_0"]);
    let found = compared(LARGE, &all);
    assert_eq!(found.best.as_deref(), Some("q5_k_s"));
    let answer = found.answer_alone();
    assert!(answer.starts_with("the best format that fits: q5_k_s (KL 0.0166), with "), "{answer}");
    // The larger `q4_1` loses more than twice of what `q4_k_m` does.
    let found = compared(LARGE, &plain(&["q4_1", "q4_k_m", "q4_0"]));
    assert_eq!(found.best.as_deref(), Some("q4_k_m"));
}

#[test]
fn a_format_with_a_part_in_main_memory_is_not_named() {
    let found = compared(LARGE, &plain(&["q5_k_m", "q4_k_m"]));
    let of = |format: &str| found.formats.iter().find(|row| row.format == format).unwrap();
    let placed = of("q5_k_m").result.as_ref().unwrap();
    assert!(placed.placement.is_some() && placed.context >= found.useful_context);
    assert!(placed.main_memory.is_some());
    assert_eq!(found.best.as_deref(), Some("q4_k_m"));
    // Where nothing else is there none is, and why.
    let alone = compared(LARGE, &plain(&["q5_k_m"]));
    assert!(alone.any_fits() && alone.best.is_none());
    let answer = alone.answer_alone();
    assert!(answer.contains("without a part of it in main memory"), "{answer}");
    // What is asked for is of use.
    let asked = compared(&format!("{LARGE}context = 1024"), &plain(&["q5_k_m", "q4_k_m"]));
    assert_eq!(asked.best.as_deref(), Some("q5_k_m"));
}

#[test]
fn what_was_not_measured_is_no_better_than_what_was_of_its_bits() {
    let found = compared(LARGE, &[("q4_k_m", None), ("q4_k_s", Some("UD-Q4_K_S"))]);
    assert_eq!(found.best.as_deref(), Some("q4_k_m"));
    let found = compared(LARGE, &[("q4_k_s", None), ("q4_k_m", Some("UD-Q4_K_M"))]);
    // As good as the best of fewer bits, and larger.
    assert_eq!(found.best.as_deref(), Some("UD-Q4_K_M"));
    let question = "gpu = 'A100-80GB'\nmodel = 'qwen3-32b'\nruntime = 'vllm'\n";
    assert_eq!(compared(question, &plain(&["awq", "fp8", "bf16"])).best.as_deref(), Some("bf16"));
    let question = "gpu = 'L40S'\nmodel = 'qwen3-32b'\nruntime = 'vllm'\n";
    assert_eq!(compared(question, &plain(&["awq", "fp8", "bf16"])).best.as_deref(), Some("fp8"));
}

#[test]
fn a_tight_format_shows_the_context_that_is_expected() {
    let found = compared(
        "gpu = 'RTX 4090'\nmodel = 'qwen3-32b'\nruntime = 'vramplan'\n",
        &plain(&["q5_k_m", "q4_k_m"]),
    );
    let tight = found.formats.iter().find(|row| row.format == "q5_k_m").unwrap();
    let result = tight.result.as_ref().unwrap();
    assert_eq!((result.context, result.tight_context), (0, Some(10_187)));
    assert!(found.to_table().contains("10187t"), "{}", found.to_table());
}
