//! `expandable_segments` of `PyTorch`'s allocator: an option of transformers and vLLM, and advice.

use vramplan_planner::deployment::{Deployment, Question, resolve};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::render::{Document, Target, emit};
use vramplan_planner::units::Bytes;

fn question(text: &str) -> Question {
    toml::from_str(text).unwrap()
}

fn deployment(text: &str) -> Deployment {
    resolve(&question(text), &Catalog::built_in(), &MemoryFiles::default(), None).unwrap()
}

fn planned(text: &str) -> Answer {
    answer(&deployment(text)).unwrap()
}

fn lost(answer: &Answer) -> Bytes {
    let buffers = answer.plan.buffers.iter();
    let lost = buffers.filter(|b| b.id == BufferId::Other("segments' remainders"));
    lost.map(|buffer| buffer.size.expected).max().unwrap()
}

/// Full attention by all heads, in one chunk: each pass wants larger caches than the one before.
const OLMO: &str = "gpu = 'L4'\nmodel = 'olmo-2-7b'\nruntime = 'transformers'\nweights = 'nf4'\n\
                    cache_tokens = 4096\nprefill_chunk = 4096\nbatch = 2\n";

#[test]
fn segments_that_grow_lose_less() {
    let fixed = planned(OLMO);
    let grown = planned(&format!("{OLMO}expandable_segments = true"));
    assert!(lost(&grown) < lost(&fixed), "{} {}", lost(&grown), lost(&fixed));
    assert!(grown.plan.peak.expected < fixed.plan.peak.expected);
}

#[test]
fn the_option_is_said_again() {
    let text = format!("{OLMO}expandable_segments = true");
    let (deployment, answer) = (deployment(&text), planned(&text));
    assert!(deployment.resolved().expandable_segments);
    let gpu = deployment.cards.first().gpu.compute_capability;
    let emitted = emit(&Document::new(&deployment, &answer), Target::Transformers, None, gpu);
    assert!(emitted.unwrap().starts_with("# The environment: PYTORCH_CUDA_ALLOC_CONF"));
}

#[test]
fn advice_says_what_it_saves() {
    let tight = "gpu = 'RTX 3060'\nmodel = 'llama-3.1-8b'\nruntime = 'transformers'\n\
                 weights = 'nf4-dq'\ncache_tokens = 32768\n";
    let fixed = planned(tight);
    let advice = fixed.advice.iter().find(|advice| advice.code == "expandable-segments");
    let advice = advice.unwrap_or_else(|| panic!("{:?}", fixed.advice));
    let grown = planned(&format!("{tight}expandable_segments = true"));
    let saved = fixed.plan.peak.expected.minus_or_zero(grown.plan.peak.expected);
    assert_eq!(u64::try_from(advice.saves).unwrap(), saved.get(), "{}", advice.text);
    assert!(advice.text.starts_with("`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`"));
    assert!(grown.advice.iter().all(|advice| advice.code != "expandable-segments"));
}

#[test]
fn other_runtimes_refuse_it() {
    for runtime in ["sglang", "llama.cpp", "vramplan"] {
        let text = format!(
            "gpu = 'L4'\nmodel = 'llama-3.2-1b'\nruntime = '{runtime}'\nexpandable_segments = true"
        );
        let catalog = Catalog::built_in();
        let refused = resolve(&question(&text), &catalog, &MemoryFiles::default(), None);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("segments that grow"), "{message}");
    }
}

/// Blocks of 20 MiB and more keep the rest of their segment under vLLM from 0.22 on, unless segments grow.
#[test]
fn weights_are_rounded_less_under_vllm() {
    let qwen = "gpu = 'RTX 3090'\ngpus = 2\nsplit = 'tensor'\nmodel = 'qwen3.6-27b'\nweights = 'fp8-block'\n\
                runtime = 'vllm'\nruntime_version = '0.24'\nmax_model_len = 32768\n";
    let lost = |text: &str| {
        let answer = planned(text);
        let buffers = answer.plan.buffers.iter();
        let rounding = buffers.filter(|buffer| buffer.id == BufferId::WeightRounding);
        rounding.map(|buffer| buffer.size.expected).max().unwrap()
    };
    let fixed = lost(qwen);
    let grown = format!("{qwen}expandable_segments = true");
    assert!(fixed > Bytes::new(300 << 20), "{fixed}");
    assert!(lost(&grown) < Bytes::new(1 << 20), "{}", lost(&grown));
    assert!(deployment(&grown).resolved().expandable_segments);
}
