//! Ollama: llama.cpp's plan of what Ollama tells it.

use crate::support::Case;
use vramplan_planner::deployment::{DeploymentError, Question, resolve, served};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::spec::Runtime;

fn asked(text: &str) -> Case {
    Case::asked(&toml::from_str::<Question>(text).unwrap())
}

/// What a command asks for on a card.
fn run(command: &str, gpu: &str) -> Case {
    let words: Vec<&str> = command.split(' ').collect();
    let question = served(&words).unwrap().question;
    Case::asked(&Question { gpu: Some(gpu.to_owned()), ..question })
}

#[test]
fn a_plan_is_that_of_the_server_that_it_starts() {
    for (release, build) in [("0.30.0", "b9452"), ("0.32.15", "b10488")] {
        for (context, batch) in [(4096, 512), (16_384, 1024), (40_960, 2048)] {
            let same = "gpu = 'A100-80GB'\nmodel = 'qwen3-8b'\n";
            let ollama = asked(&format!(
                "{same}runtime = 'ollama'\nruntime_version = '{release}'\ncontext = {context}"
            ));
            let server = asked(&format!(
                "{same}runtime = 'llama.cpp'\nruntime_version = '{build}'\ncontext = {context}\n\
                 prefill_chunk = {batch}\nbatch_size = {batch}"
            ));
            let [ours, theirs] = [ollama, server].map(|case| case.answer().plan);
            assert_eq!(ours.peak, theirs.peak, "{release}, {context}");
            assert_eq!(ours.phases, theirs.phases, "{release}, {context}");
        }
    }
}

#[test]
fn a_run_has_the_context_that_its_cards_get() {
    for (gpu, context, batch) in
        [("RTX 3060", 4096, 512), ("RTX 4090", 32_768, 1024), ("A100-80GB", 40_960, 2048)]
    {
        let case = run("ollama run qwen3:8b", gpu);
        assert_eq!(case.kind(), Runtime::Ollama);
        assert_eq!(case.cache.fixed(), Some(context), "{gpu}");
        assert_eq!(case.workload.prefill_chunk, batch, "{gpu}");
    }
    let told = run("env OLLAMA_CONTEXT_LENGTH=8192 ollama run qwen3:8b", "RTX 4090");
    assert_eq!((told.cache.fixed(), told.workload.prefill_chunk), (Some(8192), 1024));
    let older = run("docker run ollama/ollama:0.12.3 run qwen3:8b", "RTX 4090");
    assert_eq!((older.cache.fixed(), older.workload.prefill_chunk), (Some(4096), 512));
}

#[test]
fn a_context_that_is_solved_has_the_batch_that_goes_with_it() {
    let solved = |gpu: &str| {
        let case = asked(&format!("gpu = '{gpu}'\nmodel = 'qwen3-8b'\nruntime = 'ollama'"));
        let answer = case.answer();
        let planned = answer.planned(&case);
        (answer.cache_tokens, planned.workload.prefill_chunk, planned.runtime.launch.batch)
    };
    // As much as the model has, with room to spare; as much as fits.
    assert_eq!(solved("A100-80GB"), (40_960, 2048, Some(2048)));
    let (tokens, chunk, _) = solved("RTX 3060 Ti");
    assert!(tokens < 40_960 && chunk == 512, "{tokens}, {chunk}");
}

#[test]
fn more_than_the_models_context_is_the_models() {
    let case = asked("gpu = 'RTX 4090'\nmodel = 'qwen3-8b'\nruntime = 'ollama'\ncontext = 100000");
    assert_eq!(case.cache.fixed(), Some(40_960));
    assert!(case.replaced[0].contains("no more than the model's: 40960"), "{:?}", case.replaced);
}

#[test]
fn one_card_of_several_is_taken_where_it_is_enough() {
    let cards = |more: &str| {
        let text = "gpu = 'RTX 3060,RTX 4090'\nmodel = 'qwen3-8b'\nruntime = 'ollama'\n";
        let case = asked(&format!("{text}{more}"));
        case.cards.iter().map(|card| card.gpu.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(cards("context = 8192"), ["RTX 4090"]);
    assert_eq!(cards("context = 8192\nsplit = 'layer'").len(), 2);
    assert_eq!(cards("").len(), 2);
}

#[test]
fn an_encoder_is_loaded_with_the_model_that_has_one() {
    let plan = |runtime: &str, more: &str| {
        let text = format!("gpu = 'RTX 4090'\nmodel = 'gemma-3-12b'\nruntime = '{runtime}'\n");
        asked(&format!("{text}context = 4096\nprefill_chunk = 512\nbatch_size = 512\n{more}"))
            .answer()
            .plan
            .peak
    };
    let version = "runtime_version = 'b10488'";
    assert_eq!(plan("ollama", ""), plan("llama.cpp", &format!("{version}\nmmproj = 'auto'")));
    assert!(plan("ollama", "").expected > plan("llama.cpp", version).expected);
}

#[test]
fn releases_are_asked_for_by_their_numbers() {
    let of = |version: &str| {
        let text = format!(
            "gpu = 'L4'\nmodel = 'qwen3-8b'\nruntime = 'ollama'\nruntime_version = '{version}'"
        );
        let question: Question = toml::from_str(&text).unwrap();
        resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None)
    };
    let old = of("0.9.6").unwrap();
    assert!(old.model.remarks.iter().any(|remark| remark.contains("graphs of its own")));
    let error: DeploymentError = of("b10488").unwrap_err();
    assert!(error.to_string().contains("not a release of Ollama"), "{error}");
}

/// The batch that is chosen for `qwen3-8b` in 4 bits.
fn batch(gpu: &str, attention: &str, context: u64) -> u64 {
    let case = asked(&format!(
        "gpu = '{gpu}'\nmodel = 'qwen3-8b'\nruntime = 'ollama'\nattention = '{attention}'"
    ));
    case.automatic(context).unwrap().batch
}

#[test]
fn longer_contexts_have_larger_batches_where_there_is_room() {
    let on = |gpu, context| batch(gpu, "flash", context);
    assert_eq!([4096, 4097, 32_768, 32_769].map(|n| on("RTX 4090", n)), [512, 1024, 1024, 2048]);
    // 4.7 GiB and 4.5 of the cache are more than 75% of 12 GiB.
    assert_eq!([8192, 32_768].map(|n| on("RTX 3060", n)), [1024, 512]);
}

#[test]
fn without_fused_attention_batches_are_small() {
    let on = |gpu, context| batch(gpu, "eager", context);
    assert_eq!(on("RTX 4090", 32_768), 512);
    assert_eq!([4096, 8192].map(|n| on("RTX 3060 Ti", n)), [512, 256]);
}

#[test]
fn what_takes_the_place_of_what_was_asked_is_said() {
    let one = "gpu = 'RTX 4090'\nruntime = 'ollama'\n";
    let users = asked(&format!("{one}model = 'qwen3.5-9b'\nusers = 4\ncontext = 8192"));
    assert_eq!((users.workload.batch, users.replaced.len()), (1, 1));
    let long = asked(&format!("{one}model = 'qwen3-8b'\ncache_tokens = 65536"));
    assert_eq!((long.cache.fixed(), long.replaced.len()), (Some(40_960), 1));
    let plain = asked(&format!("{one}model = 'qwen3-8b'\nusers = 4\ncontext = 8192"));
    assert_eq!((plain.workload.batch, plain.replaced.len()), (4, 0));
}

#[test]
fn a_context_of_its_own_is_of_the_memory_that_the_gpu_gets() {
    let context = |gpu: &str, more: &str| {
        let question: Question = toml::from_str(&format!(
            "gpu = '{gpu}'\nmodel = 'llama-3.1-8b'\nruntime = 'ollama'\nown_context = true\n{more}"
        ))
        .unwrap();
        Case::asked(&question).cache.fixed()
    };
    assert_eq!(context("M4 Pro 48GB", ""), Some(32_768));
    assert_eq!(context("M4 24GB", ""), Some(4096));
    assert_eq!(context("RTX 4090", "other_use = '2GiB'"), Some(4096));
    let other: Question =
        toml::from_str("gpu = 'L4'\nmodel = 'qwen3-8b'\nruntime = 'llama.cpp'\nown_context = true")
            .unwrap();
    let refused = resolve(&other, &Catalog::built_in(), &MemoryFiles::default(), None);
    assert!(refused.unwrap_err().to_string().contains("`--own-context`"));
}

/// What was not read is between what was, and never of zero width.
#[test]
fn releases_that_were_not_read_have_bounds() {
    let width = |version: &str| {
        let plan = asked(&format!(
            "gpu = 'RTX 4090'\nmodel = 'qwen3-8b'\nruntime = 'ollama'\nruntime_version = '{version}'\n\
             context = 8192"
        ))
        .answer()
        .plan;
        let activations = plan.buffers.iter().filter(|buffer| {
            buffer.component == vramplan_planner::estimate::Component::Activations
        });
        activations.map(|buffer| buffer.size.high.get() - buffer.size.low.get()).sum::<u64>()
    };
    assert_eq!(width("0.32.15"), 0);
    assert!(width("0.34.2") > 0 && width("0.9.6") > 0);
}
