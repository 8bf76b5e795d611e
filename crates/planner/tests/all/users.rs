//! How many users there is room for: as many as a plan for them fits, and not one more.

use vramplan_planner::deployment::{Deployment, Question, resolve};
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::units::Bytes;

fn asked(text: &str) -> Question {
    toml::from_str(text).unwrap()
}

fn planned(question: &Question) -> (Deployment, Answer) {
    let files = MemoryFiles::default();
    let deployment = resolve(question, &Catalog::built_in(), &files, None).unwrap();
    let answer = answer(&deployment).unwrap();
    (deployment, answer)
}

const QUESTIONS: [&str; 6] = [
    "gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'llama.cpp'\nngl = 'all'\ncontext_per_user = 8192",
    "gpu = 'A100-80GB'\nmodel = 'qwen3-30b-a3b'\nruntime = 'llama.cpp'\nngl = 'all'\ncontext_per_user = 1024",
    "gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'vllm'\nweights = 'awq-int4'\ncontext_per_user = 4096",
    "gpu = 'L4'\ngpus = 2\nmodel = 'gemma-3-12b'\nruntime = 'vllm'\ncontext_per_user = 4096",
    "gpu = 'RTX 4090'\nmodel = 'llama-3.1-8b'\nruntime = 'transformers'\nweights = 'nf4'\ncontext_per_user = 4096",
    "gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'vramplan'\ncontext_per_user = 16384",
];

#[test]
fn as_many_are_found_as_fit() {
    for text in QUESTIONS {
        let solved = planned(&asked(text)).1.users.unwrap();
        assert!(solved.safe > 0 && solved.expected >= solved.safe, "{text}: {solved:?}");
        assert_eq!(solved.planned, solved.safe, "{text}");
        let verdict = |users| {
            let question = Question { users: Some(users), ..asked(text) };
            planned(&question).1.verdict
        };
        assert_eq!(verdict(solved.safe), Verdict::Fits, "{text}: {solved:?}");
        if solved.safe < 256 {
            assert_ne!(verdict(solved.safe + 1), Verdict::Fits, "{text}: {solved:?}");
        }
    }
}

/// llama.cpp is built for 256 sequences (`LLAMA_MAX_SEQ`), and vLLM schedules `max_num_seqs`.
#[test]
fn a_runtime_takes_no_more_than_it_can() {
    let small = "gpu = 'H100'\nmodel = 'smollm2-135m'\ncontext_per_user = 256\n";
    let most = |text: &str| planned(&asked(&format!("{small}{text}"))).1.users.unwrap().safe;
    assert_eq!(most("runtime = 'llama.cpp'"), 256);
    assert_eq!(most("runtime = 'vllm'\nmax_seqs = 128"), 128);
}

/// More than a runtime runs at once are refused in the word that was used.
#[test]
fn more_than_a_runtime_runs_are_refused() {
    let files = MemoryFiles::default();
    for (runtime, users, expected) in [
        ("vllm", 257, "at most 256 sequences at once; `--max-seqs` raises it"),
        ("llama.cpp", 257, "at most 256 sequences at once"),
        ("sglang", 1 << 21, "`--max-seqs` raises it"),
    ] {
        let text =
            format!("gpu = 'L4'\nmodel = 'qwen3-8b'\nruntime = '{runtime}'\nusers = {users}");
        let error = resolve(&asked(&text), &Catalog::built_in(), &files, None).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("`--users") && said.contains(expected), "{runtime}: {said}");
    }
}

/// A scenario of a solved plan plans the same.
#[test]
fn the_resolved_question_has_the_users() {
    let (deployment, answer) = planned(&asked(QUESTIONS[0]));
    let resolved = answer.planned(&deployment).resolved();
    assert_eq!((resolved.batch, resolved.users), (answer.users.map(|users| users.planned), None));
    assert_eq!((resolved.context, resolved.cache_tokens), (Some(8192), Some(8192)));
    assert_eq!(planned(&resolved).1.plan.peak, answer.plan.peak);
}

#[test]
fn two_words_for_one_thing_are_refused() {
    let files = MemoryFiles::default();
    for more in ["batch = 2", "parallel = 2"] {
        let text =
            format!("gpu = 'L4'\nmodel = 'qwen3-8b'\nruntime = 'llama.cpp'\nusers = 4\n{more}");
        let error = resolve(&asked(&text), &Catalog::built_in(), &files, None).unwrap_err();
        assert!(error.to_string().contains("`--users`"), "{error}");
    }
    let text = "gpu = 'L4'\nmodel = 'qwen3-8b'\ncontext_per_user = 4096\ncontext = 8192";
    let error = resolve(&asked(text), &Catalog::built_in(), &files, None).unwrap_err();
    assert!(error.to_string().contains("`--context-per-user`"), "{error}");
}

/// Public logs of vLLM started with `--max-model-len 8192`: "Maximum concurrency for 8,192 tokens per request" is the
/// tokens of its pool over that, and so many users with that context there is room for.
#[test]
fn users_are_the_concurrency_that_vllm_prints() {
    const LOGS: &str = include_str!("../../../../tests/corpus/vllm.csv");
    const CONTEXT: u64 = 8192;
    let mut rows = csv::Reader::from_reader(LOGS.as_bytes());
    let header = rows.headers().unwrap().clone();
    let (mut compared, mut off) = (0, Vec::new());
    for row in rows.records() {
        let row = row.unwrap();
        let of = |name: &str| &row[header.iter().position(|column| column == name).unwrap()];
        let is_plain = [("pipeline", "1"), ("lora", "0"), ("vision", "0"), ("left_out", "")];
        if !is_plain.iter().all(|(name, value)| of(name) == *value)
            || !of("source").contains("--8192.log")
        {
            continue;
        }
        let text = format!(
            "gpu = '{}'\nmodel = '{}'\nruntime = 'vllm'\nruntime_version = '{}'\nweights = '{}'\nkv = '{}'\n\
             gpus = {}\ncontext_per_user = {CONTEXT}\nprefill_chunk = {}\nmax_seqs = {}\n\
             gpu_memory_utilization = {}",
            of("gpu"),
            of("profile"),
            of("version").trim_start_matches('v'),
            of("weights"),
            of("kv"),
            of("ranks"),
            of("chunk"),
            of("max_seqs"),
            of("utilization"),
        );
        let printed: u64 = of("kv_tokens").parse().unwrap();
        let users = planned(&asked(&text)).1.users.unwrap();
        compared += 1;
        if users.expected.abs_diff(printed / CONTEXT) > 1 + printed / CONTEXT / 50 {
            off.push(format!("{}: {} for {}", of("profile"), users.expected, printed / CONTEXT));
        }
    }
    assert!(compared >= 20, "{compared}");
    assert!(off.len() * 20 <= compared, "{} of {compared}: {off:#?}", off.len());
}

/// What is advised can be pasted behind what was asked: a flag that says the same in other words is refused beside it.
#[test]
fn advice_is_in_the_words_of_the_question() {
    let advice = |question: &str| {
        let (_, answer) = planned(&asked(question));
        answer.advice.into_iter().map(|advice| advice.text).collect::<Vec<_>>().join("\n")
    };
    let large = "model = 'llama-3.3-70b'\nruntime = 'vllm'\nweights = 'bf16'\n";
    let listed = advice(&format!("gpu = '2xRTX 3090'\n{large}"));
    assert!(listed.contains("xRTX 3090'`: "), "{listed}");
    assert!(!listed.contains("--gpus"), "{listed}");
    let counted = advice(&format!("gpu = 'RTX 3090'\ngpus = 2\n{large}"));
    assert!(counted.contains("`--gpus ") && !counted.contains("xRTX 3090"), "{counted}");
    let many = "gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'llama.cpp'\nngl = 'all'\n";
    let told = advice(&format!("{many}users = 16\ncontext_per_user = 8192"));
    assert!(told.contains("`--users 8`") && told.contains("`--context-per-user "), "{told}");
    assert!(!told.contains("--batch ") && !told.contains("--cache-tokens"), "{told}");
    let roomy = advice(&format!("{many}users = 8\ncontext_per_user = 8192"));
    assert!(!roomy.contains("`--context "), "{roomy}");
    let plain = advice(&format!("{many}batch = 16\ncache_tokens = 8192"));
    assert!(plain.contains("`--batch 8`") && plain.contains("`--cache-tokens "), "{plain}");
}

/// vLLM's own flag takes a number of bytes, as advice and its logs have it.
#[test]
fn a_pool_is_a_number_of_bytes() {
    for written in ["4730894557", "'4730894557'", "'4730894557 B'"] {
        let question = asked(&format!("kv_cache_memory_bytes = {written}"));
        let bytes = question.kv_cache_memory_bytes.map(Bytes::get);
        assert_eq!(bytes, Some(4_730_894_557), "{written}");
    }
}
