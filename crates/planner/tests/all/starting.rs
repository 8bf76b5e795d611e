//! Whether vLLM starts: what its pool holds, which share of the card it takes, and what it says then.

use vramplan_planner::deployment::{Deployment, Question, resolve};
use vramplan_planner::plan::{Reason, Verdict};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::render::{Document, to_table};
use vramplan_planner::spec::AskedShare;

fn deployment(text: &str) -> Deployment {
    let question: Question = toml::from_str(text).unwrap();
    resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap()
}

fn planned(text: &str) -> Answer {
    answer(&deployment(text)).unwrap()
}

const LLAMA: &str = "gpu = 'L4'\nmodel = 'llama-3.1-8b'\nruntime = 'vllm'\n";

#[test]
fn a_context_that_the_pool_does_not_hold_is_refused_with_the_longest_that_it_does() {
    let refused = planned(LLAMA);
    assert_eq!(
        (refused.verdict, refused.reason),
        (Verdict::DoesNotFit, Some(Reason::WillNotStart))
    );
    let start = refused.plan.pool.unwrap().start;
    assert_eq!(start.context, 131_072);
    assert!(start.needs > start.has.expected && refused.plan.short_by > start.has.expected);
    assert!(refused.advice.iter().any(|advice| advice.code == "shorter-context"));
    // That one starts, and one block more does not.
    let starts = |context: u64| planned(&format!("{LLAMA}context = {context}")).verdict;
    assert_ne!(starts(start.longest), Verdict::DoesNotFit);
    assert_eq!(starts(start.longest + 16), Verdict::DoesNotFit);
}

#[test]
fn a_cache_of_a_given_size_is_the_context_that_it_is_started_with() {
    let given = planned(&format!("{LLAMA}cache_tokens = 8192"));
    assert_eq!(given.plan.pool.unwrap().start.context, 8192);
    assert_ne!(given.verdict, Verdict::DoesNotFit);
}

#[test]
fn the_refusal_is_said_in_vllms_words() {
    let text = format!("{LLAMA}context = 65536");
    let (deployment, answer) = (deployment(&text), planned(&text));
    let shown = to_table(&Document::new(&deployment, &answer));
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let longest = answer.plan.pool.unwrap().start.longest;
    assert!(shown.contains("vllm will not start: `max_model_len` 65536 needs 8.00 GiB"), "{shown}");
    assert!(shown.contains(&format!("the largest that starts is {longest}")), "{shown}");
}

#[test]
fn a_share_that_is_not_free_is_refused() {
    let refused = planned(&format!("{LLAMA}context = 4096\nother_use = '4 GiB'"));
    assert_eq!(
        (refused.verdict, refused.reason),
        (Verdict::DoesNotFit, Some(Reason::WillNotStart))
    );
    let shares = refused.shares.unwrap();
    assert!(shares.smallest < shares.largest && shares.best() == shares.largest, "{shares:?}");
    assert!(refused.advice.iter().any(|advice| advice.code == "other-share"));
}

#[test]
fn auto_takes_the_largest_share_that_is_safe_beside_others() {
    let text =
        format!("{LLAMA}context = 4096\nother_use = '4 GiB'\ngpu_memory_utilization = 'auto'");
    let (deployment, answer) = (deployment(&text), planned(&text));
    let solved = answer.options.serving().unwrap();
    assert_eq!(Some(solved.utilization), answer.shares.unwrap().largest);
    assert_eq!(answer.verdict, Verdict::Fits, "{:?}", answer.plan.short_by);
    // What is said again is the share that was found.
    let said = answer.planned(&deployment).resolved().gpu_memory_utilization;
    assert_eq!(said, Some(AskedShare::Given(solved.utilization)));
    // A step more is not safe.
    let more = solved.utilization.to_string().parse::<f64>().unwrap() + 0.001;
    let text = text.replace("'auto'", &format!("{more:.3}"));
    assert_ne!(planned(&text).verdict, Verdict::Fits);
}

#[test]
fn eager_takes_no_graphs_off_the_pool() {
    let compiled = planned(&format!("{LLAMA}context = 4096")).plan.pool.unwrap();
    let eager = planned(&format!("{LLAMA}context = 4096\nenforce_eager = true")).plan.pool.unwrap();
    assert!(eager.blocks > compiled.blocks && eager.limit == compiled.limit);
}

#[test]
fn releases_have_their_own_defaults() {
    let with = |version: &str| {
        let resolved = deployment(&format!("{LLAMA}runtime_version = '{version}'")).resolved();
        let share = resolved.gpu_memory_utilization.unwrap().to_string();
        (share, resolved.prefill_chunk.unwrap(), resolved.max_seqs.unwrap())
    };
    assert_eq!(with("0.19"), ("0.9".into(), 2048, 256));
    assert_eq!(with("0.33"), ("0.92".into(), 2048, 256));
    // Whole prompts, chunks of long contexts, and chunks.
    assert_eq!(with("0.4").1, 131_072);
    assert_eq!(with("0.6").1, 512);
    assert_eq!(with("0.7").1, 2048);
}

/// A hybrid that captures whole steps needs a block for the state of every sequence: `recipes#831` on a card of 96 GB, where
/// 1,024 sequences are the default, and 556 to 1,011 blocks were there.
#[test]
fn sequences_without_a_state_are_refused_with_how_many_have_one() {
    let hybrid = "gpu = 'RTX PRO 6000'\nmodel = 'qwen3.8-27b'\nruntime = 'vllm'\nruntime_version = '0.27'\n\
        gpu_memory_utilization = 0.95\n";
    let (deployment, answer) = (deployment(hybrid), planned(hybrid));
    assert_eq!((answer.verdict, answer.reason), (Verdict::DoesNotFit, Some(Reason::WillNotStart)));
    let pool = answer.plan.pool.unwrap();
    let captured = pool.start.captured.unwrap();
    assert!(captured.sequences == 1024 && pool.blocks < 1024, "{captured:?} {}", pool.blocks);
    let shown = to_table(&Document::new(&deployment, &answer));
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let most = format!("`max_num_seqs` 1024 is more than the {} states", pool.blocks);
    assert!(shown.contains(&most) && shown.contains("--max-seqs"), "{shown}");
    for told in [format!("max_seqs = {}", pool.blocks), "enforce_eager = true".to_owned()] {
        assert_ne!(planned(&format!("{hybrid}{told}")).verdict, Verdict::DoesNotFit, "{told}");
    }
}

/// What assumed figures alone refuse may start: eighteen starts with shares like this one did.
#[test]
fn a_start_that_only_assumed_figures_refuse_is_tight() {
    let question: Question = toml::from_str(
        "gpu = 'Radeon AI PRO R9700'\nmodel = 'llama-3.1-8b'\nruntime = 'vllm'\nruntime_version = '0.13'\nmax_seqs = 64\n\
         max_model_len = 65536\ngpu_memory_utilization = 0.98",
    )
    .unwrap();
    let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    let answer = answer(&found).unwrap();
    assert_eq!(answer.verdict, Verdict::Tight);
    assert!(answer.plan.peak.expected > answer.plan.capacity.usable);
    assert!(answer.plan.capacity.doubt.is_some());
}
