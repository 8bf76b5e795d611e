//! SGLang: the shares of the card with which its server starts and runs, what its pool holds, and what it is told.

use vramplan_planner::deployment::{Deployment, DeploymentError, Question, resolve};
use vramplan_planner::dtype::KvFormat;
use vramplan_planner::estimate::sglang::pool::{Cells, Holds, Kept, Predicting};
use vramplan_planner::plan::{Reason, Verdict};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::render::{Document, Target, emit, to_table};
use vramplan_planner::spec::{AskedShare, ComputeCapability, SglangVersion, Utilization};
use vramplan_planner::units::Bytes;

const LLAMA: &str = "gpu = 'L4'\nmodel = 'llama-3.1-8b'\nruntime = 'sglang'\ncontext = 4096\n";

fn resolved(text: &str) -> Result<Deployment, DeploymentError> {
    let question: Question = toml::from_str(text).unwrap();
    resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None)
}

fn planned(text: &str) -> Answer {
    answer(&resolved(text).unwrap()).unwrap()
}

fn shown(text: &str) -> String {
    let deployment = resolved(text).unwrap();
    let table = to_table(&Document::new(&deployment, &answer(&deployment).unwrap()));
    table.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn with(share: Utilization) -> String {
    format!("{LLAMA}mem_fraction_static = '{share}'")
}

/// A thousandth more or less.
fn beside(share: Utilization, step: f64) -> Utilization {
    let share = share.to_string().parse::<f64>().unwrap() + step;
    format!("{share:.3}").parse().unwrap()
}

#[test]
fn the_start_window_has_two_ends() {
    let shares = planned(LLAMA).shares.unwrap();
    let (least, most) = (shares.smallest.unwrap(), shares.largest.unwrap());
    assert!(least < most, "{shares:?}");
    // Both ends start, the lower one with so few tokens that the context asked for is not among them.
    let [lower, upper] = [least, most].map(|share| planned(&with(share)));
    assert!(shown(&with(least)).starts_with("sglang starts, but its pool holds "));
    assert_eq!(upper.verdict, Verdict::Fits);
    let tokens = |answer: &Answer| answer.plan.pool.unwrap().tokens;
    assert!(tokens(&lower) < 400 && tokens(&upper) > 10_000);
    // A step below there is no pool, a step above it is not safe, and with nearly all of the card it cannot run.
    let below = planned(&with(beside(least, -0.001)));
    assert_eq!((below.verdict, below.reason), (Verdict::DoesNotFit, Some(Reason::WillNotStart)));
    assert_eq!(planned(&with(beside(most, 0.001))).verdict, Verdict::Tight);
    let above = planned(&with("0.98".parse().unwrap()));
    assert_eq!((above.verdict, above.reason), (Verdict::DoesNotFit, Some(Reason::WillNotStart)));
}

#[test]
fn the_two_failures_are_told_apart() {
    let (small, large) =
        (shown(&with("0.5".parse().unwrap())), shown(&with("0.98".parse().unwrap())));
    assert!(small.contains("more than its share of 11.01 GiB (0.5)"), "{small}");
    assert!(small.contains("`--mem-fraction-static` is too small"), "{small}");
    assert!(large.contains("sglang will run out of memory: its share of 0.98 is"), "{large}");
    for text in [small, large] {
        assert!(
            text.contains("`--mem-fraction-static` below 0.692 leaves no pool, above 0."),
            "{text}"
        );
    }
}

#[test]
fn what_the_engine_takes_by_itself_can_be_too_small() {
    // 0.5.23 keeps room for steps of 4,096 tokens on cards of 24 GB: 0.684 of an L4 are less than Llama's weights. Before 0.5.3 it
    // took 0.87 or 0.88, whatever the step.
    let newest = planned(LLAMA);
    assert_eq!(newest.options.token_serving().unwrap().fraction.to_string(), "0.684");
    assert_eq!(newest.reason, Some(Reason::WillNotStart));
    assert!(newest.advice.iter().any(|advice| advice.code == "other-share"), "{:?}", newest.advice);
    let before = planned(&format!("{LLAMA}runtime_version = '0.5.2'"));
    assert_ne!(before.reason, Some(Reason::WillNotStart));
}

#[test]
fn shares_are_those_that_the_engine_reckons() {
    // By `handle_gpu_memory_settings` of the wheels: evidence/sglang.
    for (gpu, version, share) in
        [("H100", "0.5.23", "0.83"), ("H100", "0.5.5", "0.835"), ("RTX 4090", "0.4.9", "0.879")]
    {
        let text = LLAMA.replace("L4", gpu) + &format!("runtime_version = '{version}'");
        let said = resolved(&text).unwrap().resolved().mem_fraction_static.unwrap();
        assert_eq!(said.to_string(), share, "{gpu} {version}");
    }
}

#[test]
fn auto_takes_the_largest_share_that_is_safe() {
    let text = format!("{LLAMA}mem_fraction_static = 'auto'");
    let (deployment, answer) = (resolved(&text).unwrap(), planned(&text));
    let found = answer.options.token_serving().unwrap().fraction;
    assert_eq!((Some(found), answer.verdict), (answer.shares.unwrap().largest, Verdict::Fits));
    let said = answer.planned(&deployment).resolved();
    assert_eq!(said.mem_fraction_static, Some(AskedShare::Given(found)));
    assert_eq!(said.gpu_memory_utilization, None);
}

#[test]
fn its_share_is_of_what_others_leave() {
    let with = |others: &str| {
        let text = format!("{LLAMA}mem_fraction_static = '0.85'\nother_use = '{others}'");
        planned(&text).plan.pool.unwrap().limit
    };
    let (alone, beside) = (with("0 GiB"), with("2 GiB"));
    assert!(alone > beside, "{alone} {beside}");
}

#[test]
fn a_flag_of_another_server_is_refused_with_its_own() {
    let refused = |text: &str| resolved(text).unwrap_err();
    let wrong = refused(&format!("{LLAMA}gpu_memory_utilization = '0.9'"));
    assert!(wrong.hint().unwrap_or_default().contains("`--mem-fraction-static`"), "{wrong:?}");
    let vllm = LLAMA.replace("sglang", "vllm");
    let wrong = refused(&format!("{vllm}mem_fraction_static = '0.9'"));
    assert!(wrong.hint().unwrap_or_default().contains("`--gpu-memory-utilization`"), "{wrong:?}");
    let candle = LLAMA.replace("sglang", "vramplan");
    let wrong = refused(&format!("{candle}mem_fraction_static = '0.9'"));
    assert!(wrong.hint().unwrap_or_default().contains("`--runtime sglang`"), "{wrong:?}");
}

#[test]
fn its_command_line_is_its_own() {
    let text = format!(
        "{LLAMA}mem_fraction_static = '0.8'\nkv = 'fp8'\nmax_seqs = 16\nenforce_eager = true"
    );
    let deployment = resolved(&text).unwrap();
    let document = Document::new(&deployment, &answer(&deployment).unwrap());
    let ada = ComputeCapability { major: 8, minor: 9 };
    let said = emit(&document, Target::Sglang, None, ada).unwrap();
    for flag in [
        "--context-length ",
        "--max-running-requests 16",
        "--chunked-prefill-size 4096",
        "--kv-cache-dtype fp8_e4m3",
        "--mem-fraction-static 0.8",
        "--disable-cuda-graph",
    ] {
        assert!(said.contains(flag), "{flag}: {said}");
    }
}

#[test]
fn a_plan_says_how_many_requests_run_together() {
    let text = shown(&with("0.8".parse().unwrap()));
    assert!(text.contains(" tokens by its own count, "), "{text}");
    assert!(text.contains(" requests together; `--mem-fraction-static` below"), "{text}");
}

fn cells(model: &str, gpu: &str, ranks: u64) -> Cells {
    let catalog = Catalog::built_in();
    let (model, gpu) = (catalog.model(model).unwrap(), catalog.gpu(gpu).unwrap());
    let version = SglangVersion::NEWEST;
    let kept = Kept {
        model: &model,
        gpu: &gpu,
        kv: KvFormat::Bf16,
        ranks,
        version,
        page: None,
        predicting: Predicting::default(),
        copies: 1,
        requests: None,
        chunk: 8192,
    };
    Cells::of(&kept, &(0..model.shape.n_layers)).unwrap()
}

#[test]
fn tokens_are_those_that_logs_print() {
    // 54.26 GiB of Llama 3.1 8B are 444,500 tokens of 128 KiB, 11.39 GiB of a rank of Qwen3 14B 298,447 of 40 KiB.
    let llama = cells("llama-3.1-8b", "H100", 1);
    assert_eq!((llama.full, llama.page), (Bytes::new(128 << 10), 1));
    let of = |cells: &Cells, tokens: u64| cells.holds(cells.size_of(tokens).unwrap()).unwrap();
    assert_eq!(of(&llama, 444_500), Holds { tokens: 444_500, states: 0 });
    assert_eq!(cells("qwen3-14b", "RTX 4090", 4).full, Bytes::new(40 << 10));
    // Pages of 64 tokens on Blackwell: 117.28 GiB each of keys and values of Qwen3 8B are 1,707,904 tokens.
    let qwen = cells("qwen3-8b", "B200", 1);
    assert_eq!((qwen.full, qwen.page), (Bytes::new(144 << 10), 64));
    assert_eq!(of(&qwen, 1_707_904 + 63).tokens, 1_707_904);
}

#[test]
fn requests_are_those_that_logs_print() {
    // `max_running_requests=3730, context_len=40960` and 4096 of public logs.
    let qwen = cells("qwen3-14b", "RTX 4090", 4);
    let of = |tokens, asked| qwen.requests(Holds { tokens, states: 0 }, 40_960, asked);
    assert_eq!((of(298_447, None), of(38_141, None), of(1_707_904, None)), (3730, 2048, 4096));
    assert_eq!((of(298_447, Some(7)), of(10, None)), (7, 5));
}

#[test]
fn a_server_starts_with_the_smallest_pool_and_not_with_less() {
    for (model, gpu) in
        [("llama-3.1-8b", "L4"), ("gpt-oss-20b", "H100"), ("qwen3-next-80b-a3b", "H200")]
    {
        let cells = cells(model, gpu, 1);
        let smallest = cells.smallest().unwrap();
        let runs = |pool: Bytes| {
            let holds = cells.holds(pool).unwrap();
            // Layers of windows have 0.8 of the tokens of the others.
            let window = holds.tokens * 8 / 10;
            let windows = cells.window.is_zero() || window > cells.window_size + cells.page;
            holds.tokens > 0 && windows && cells.requests(holds, 8192, None) > 0
        };
        assert!(runs(smallest), "{model}");
        assert!(!runs(smallest.scale(9, 10).unwrap()), "{model}");
    }
}
