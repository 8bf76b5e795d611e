//! SGLang's own functions, asked without a GPU (`evidence/sglang`), beside the planner's.

use vramplan_planner::deployment::{Deployment, Question, resolve};
use vramplan_planner::estimate::sglang::pool::{Cells, Kept, Predicting};
use vramplan_planner::estimate::sglang::{ByCard, Reserved};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{Drafter, Runtime, SglangVersion, Tower, Vision};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};

const COMPRESSED: &str = include_str!("../../../../evidence/sglang/compressed.csv");
const OPTIONS: &str = include_str!("../../../../evidence/sglang/options.csv");
const OPTIONS_SHARES: &str = include_str!("../../../../evidence/sglang/options_shares.csv");
const POOLS: &str = include_str!("../../../../evidence/sglang/pools.csv");
const SHARES: &str = include_str!("../../../../evidence/sglang/shares.csv");

fn version(row: &Row) -> SglangVersion {
    row.text("sglang").parse().unwrap()
}

fn is_given(row: &Row, column: &str) -> bool {
    !row.text(column).is_empty()
}

/// What is left for the pool: the share of what was free, less what loading took.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn pool(row: &Row) -> Bytes {
    let (pre, available) = (row.number("pre_bytes"), row.number("available_bytes"));
    let fraction: f64 = row.text("fraction").parse().unwrap();
    let left = available as f64 - pre as f64 * (1.0 - fraction);
    Bytes::new(left.max(0.0) as u64)
}

/// Which share of rows lies below each of these: for the failing test's message, and for who runs it with `--nocapture`.
fn distribution(errors: &mut [f64]) -> String {
    errors.sort_by(f64::total_cmp);
    let at = |share: usize| errors[(errors.len() - 1) * share / 100];
    format!(
        "{} rows: median {:.6}, 95% {:.6}, largest {:.6}",
        errors.len(),
        at(50),
        at(95),
        at(100)
    )
}

#[test]
fn pools_hold_as_many_tokens_states_and_requests_as_the_engine_says() {
    let catalog = Catalog::built_in();
    let (mut errors, mut refused) = (Vec::new(), 0);
    for row in rows(POOLS) {
        let line = row.line();
        let (model, gpu) =
            (catalog.model(row.text("model")).unwrap(), catalog.gpu(row.text("card")).unwrap());
        let (kv, ranks) = (row.text("kv").parse().unwrap(), row.number("tp"));
        let kept = Kept {
            model: &model,
            gpu: &gpu,
            kv,
            ranks,
            version: version(&row),
            page: None,
            predicting: Predicting::default(),
            copies: 1,
            requests: None,
            chunk: 8192,
        };
        let cells = Cells::of(&kept, &(0..model.shape.n_layers)).unwrap();
        assert_eq!(cells.page, row.number("page"), "{line}");
        let holds = cells.holds(pool(&row)).unwrap();
        let (asked, context) = (row.maybe("max_requests").unwrap(), model.shape.context_len);
        let tokens = row.number("tokens");
        if tokens == 0 {
            let runs = holds.tokens > 0 && cells.requests(holds, context, asked) > 0;
            assert!(!runs || cells.smallest().unwrap() > pool(&row), "{line}: {holds:?}");
            refused += 1;
            continue;
        }
        #[allow(clippy::cast_precision_loss)]
        let error = holds.tokens.abs_diff(tokens) as f64 / tokens as f64;
        assert!(error < 0.01, "{line}: {holds:?}");
        errors.push(error);
        if let Some(states) = row.maybe::<u64>("states").unwrap() {
            assert!(holds.states.abs_diff(states) <= 1, "{line}: {holds:?}");
        }
        let requests = cells.requests(holds, context, asked);
        assert!(requests.abs_diff(row.number("requests")) <= 1, "{line}: {requests}");
    }
    let said = distribution(&mut errors);
    println!("{said}; {refused} do not start");
    assert!(errors.len() > 400 && refused > 20, "{said}; {refused}");
    // Not merely within 1%: nearly all to the token.
    assert!(errors[errors.len() * 95 / 100] < 1e-4, "{said}");
}

#[test]
fn pools_of_compressed_keys_hold_as_many_tokens_as_the_engine_says() {
    let catalog = Catalog::built_in();
    let mut errors = Vec::new();
    for row in rows(COMPRESSED) {
        let (line, tokens) = (row.line(), row.number("tokens"));
        let (model, gpu) =
            (catalog.model(row.text("model")).unwrap(), catalog.gpu("H200").unwrap());
        let (kv, verify) = ("fp8".parse().unwrap(), row.number("verify"));
        let asked = row.maybe("max_requests").unwrap();
        let layers = u64::from(verify > 0);
        let kept = Kept {
            model: &model,
            gpu: &gpu,
            kv,
            ranks: 8,
            version: row.text("version").parse().unwrap(),
            page: None,
            predicting: Predicting { layers, tokens: verify, requests: asked.unwrap_or(256) },
            copies: 1,
            requests: asked,
            chunk: row.number("chunk"),
        };
        let cells = Cells::of(&kept, &(0..model.shape.n_layers)).unwrap();
        let available = Bytes::new(row.number("available_bytes"));
        let holds = cells.holds(available).unwrap();
        if tokens == 0 {
            assert!(cells.smallest().unwrap() > available, "{line}: {holds:?}");
            continue;
        }
        assert!(cells.smallest().unwrap() <= available, "{line}");
        errors.push(holds.tokens.abs_diff(tokens));
        // Its division is of floating point: a page may fall on the other side.
        assert!(holds.tokens.abs_diff(tokens) <= 256, "{line}: {holds:?}");
    }
    assert!(errors.len() > 180 && errors.iter().filter(|off| **off == 0).count() > 180);
}

/// The requests that a row's server was told to run together, or takes of itself where it predicts.
fn asked_requests(row: &Row) -> Option<u64> {
    let predicting = (row.number("verify") > 0).then_some(48);
    row.maybe("max_requests").unwrap().or(predicting)
}

#[test]
fn pools_with_predictions_copies_and_chosen_pages_hold_what_the_engine_says() {
    let catalog = Catalog::built_in();
    let (mut errors, mut refused) = (Vec::new(), 0);
    for row in rows(OPTIONS) {
        let line = row.line();
        let (model, gpu) =
            (catalog.model(row.text("model")).unwrap(), catalog.gpu(row.text("card")).unwrap());
        let (kv, ranks) = (row.text("kv").parse().unwrap(), row.number("tp") / row.number("dp"));
        let asked = asked_requests(&row);
        let predicting = Predicting {
            layers: row.number("draft_layers"),
            tokens: row.number("verify"),
            requests: asked.unwrap_or_default() / row.number("dp"),
        };
        let page = Some(row.number("page"));
        let kept = Kept {
            model: &model,
            gpu: &gpu,
            kv,
            ranks,
            version: version(&row),
            page,
            predicting,
            copies: row.number("dp"),
            requests: None,
            chunk: 8192,
        };
        let cells = Cells::of(&kept, &(0..model.shape.n_layers)).unwrap();
        let holds = cells.holds(pool(&row)).unwrap();
        let copies = if version(&row).divides_requests() { row.number("dp") } else { 1 };
        let asked = asked.map(|requests| (requests / copies).max(1));
        let requests = cells.requests(holds, model.shape.context_len, asked);
        let tokens = row.number("tokens");
        if tokens == 0 {
            let runs = holds.tokens > 0 && requests > 0;
            assert!(!runs || cells.smallest().unwrap() > pool(&row), "{line}: {holds:?}");
            refused += 1;
            continue;
        }
        #[allow(clippy::cast_precision_loss)]
        let error = holds.tokens.abs_diff(tokens) as f64 / tokens as f64;
        assert!(error < 0.01, "{line}: {holds:?}");
        errors.push(error);
        if let Some(states) = row.maybe::<u64>("states").unwrap() {
            assert!(holds.states.abs_diff(states) <= 1, "{line}: {holds:?}");
        }
        assert!(requests.abs_diff(row.number("requests")) <= 1, "{line}: {requests}");
    }
    let said = distribution(&mut errors);
    println!("{said}; {refused} do not start");
    assert!(errors.len() > 250, "{said}; {refused}");
    assert!(errors[errors.len() * 95 / 100] < 2e-4, "{said}");
}

#[test]
fn shares_with_copies_and_predictions_are_those_that_the_engine_takes() {
    let catalog = Catalog::built_in();
    let models = ["llama-3.1-8b", "deepseek-v2-lite"].map(|name| catalog.model(name).unwrap());
    let mut compared = 0;
    for row in rows(OPTIONS_SHARES) {
        let line = row.line();
        let drafter = match row.text("drafter") {
            "EAGLE" => Some(Drafter::Layer),
            "EAGLE3" => Some(Drafter::Eagle3),
            "STANDALONE" => Some(Drafter::Model),
            _ => None,
        };
        let ranks = row.number("tp");
        let reserved = Reserved {
            version: version(&row),
            gpu: &catalog.gpu(row.text("card")).unwrap(),
            model: &models[usize::from(row.text("latent") == "1")],
            tower: None,
            ranks,
            gpus: ranks,
            chunk: row.maybe("chunk").unwrap(),
            max_requests: drafter.map(|_| 48),
            eager: false,
            copies: row.number("dp"),
            drafter,
            largest_batch: None,
        };
        let ours: f64 = reserved.fraction().to_string().parse().unwrap();
        let theirs: f64 = row.text("fraction").parse().unwrap();
        if theirs > 0.0 {
            assert!((ours - theirs).abs() <= 1e-9, "{line}: {ours}");
            compared += 1;
        } else {
            assert!(ours < 0.002, "{line}: {ours}");
        }
    }
    assert!(compared > 140, "{compared}");
}

/// A tower of so many layers of such a width.
fn tower(row: &Row) -> Option<Vision> {
    let n_layers = row.maybe("tower_layers").unwrap()?;
    let hidden_size = row.number("tower_hidden");
    Some(Vision {
        tower: Tower::Siglip,
        n_layers,
        hidden_size,
        ffn_size: 4 * hidden_size,
        n_heads: 16,
        patch_size: 14,
        merge: 1,
        max_patches: 4096,
        positions: 0,
        deepstack: 0,
        projector_bias: false,
    })
}

#[test]
fn shares_steps_and_batches_are_those_that_the_engine_takes() {
    let catalog = Catalog::built_in();
    let models = ["llama-3.1-8b", "deepseek-v2-lite"].map(|name| catalog.model(name).unwrap());
    let mut compared = 0;
    for row in rows(SHARES) {
        let line = row.line();
        let gpu = catalog.gpu(row.text("card")).unwrap();
        let (version, ranks) = (version(&row), row.number("tp"));
        let by_card = ByCard::of(&gpu, version, ranks);
        if row.text("chunk").is_empty() {
            assert_eq!(by_card.chunk, row.number("step"), "{line}");
        }
        let asked: Option<u64> = row.maybe("max_requests").unwrap();
        if let Some(largest) = row.maybe::<u64>("largest_batch").unwrap() {
            let of_asked = asked.filter(|_| version.reserves_for_asked_only()).unwrap_or(u64::MAX);
            assert_eq!(by_card.largest_batch.min(of_asked), largest, "{line}");
        }
        let reserved = Reserved {
            version,
            gpu: &gpu,
            model: &models[usize::from(row.text("latent") == "1")],
            tower: tower(&row),
            ranks,
            gpus: ranks * row.number("pp"),
            chunk: row.maybe("chunk").unwrap(),
            max_requests: asked,
            eager: row.text("eager") == "1",
            copies: 1,
            drafter: None,
            largest_batch: None,
        };
        let ours: f64 = reserved.fraction().to_string().parse().unwrap();
        let theirs: f64 = row.text("fraction").parse().unwrap();
        if theirs <= 0.0 {
            // A reserve larger than the card: the engine would not start, ours is the least share that there is.
            assert!(ours < 0.002, "{line}: {ours}");
            continue;
        }
        // To the digit without a tower; with one SGLang does not round again.
        let most = if reserved.tower.is_some() { 2e-4 } else { 1e-9 };
        assert!((ours - theirs).abs() <= most, "{line}: {ours}");
        compared += 1;
    }
    assert!(compared > 280, "{compared}");
}

const LOGS: &str = include_str!("../../../../tests/corpus/sglang.csv");

const GIB: f64 = 1_073_741_824.0;

/// The page of a log's pool where no card is named: that of every card but Blackwell's.
const ANY_CARD: &str = "H100";

#[test]
fn logs_have_the_tokens_that_follow_from_what_they_had_free() {
    let catalog = Catalog::built_in();
    let mut errors = Vec::new();
    for row in rows(LOGS).filter(|row| is_given(row, "before_gib") && is_given(row, "fraction")) {
        let card = if is_given(&row, "gpu") { row.text("gpu") } else { ANY_CARD };
        let (model, gpu) =
            (catalog.model(row.text("profile")).unwrap(), catalog.gpu(card).unwrap());
        let (kv, ranks) = (row.text("kv").parse().unwrap(), row.number("gpus"));
        let version = row.text("version").parse().unwrap();
        let kept = Kept {
            model: &model,
            gpu: &gpu,
            kv,
            ranks,
            version,
            page: None,
            predicting: Predicting::default(),
            copies: 1,
            requests: None,
            chunk: 8192,
        };
        let cells = Cells::of(&kept, &(0..model.shape.n_layers)).unwrap();
        let number = |column: &str| row.text(column).parse::<f64>().unwrap();
        let left = number("after_gib") - number("before_gib") * (1.0 - number("fraction"));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let holds = cells.holds(Bytes::new((left * GIB) as u64)).unwrap();
        let tokens = row.number("tokens");
        #[allow(clippy::cast_precision_loss)]
        let error = holds.tokens.abs_diff(tokens) as f64 / tokens as f64;
        // Two digits of a GiB, twice, of pools from 2.8 GiB on.
        assert!(error < 0.005, "{}: {holds:?}", row.line());
        errors.push(error);
        if let Some(requests) = row.maybe::<u64>("requests").unwrap() {
            let ours = cells.requests(holds, model.shape.context_len, None);
            // 2049 before 0.4.9, where the table had one row more.
            assert!(ours.abs_diff(requests) <= 3 + requests / 300, "{}: {ours}", row.line());
        }
    }
    println!("{}", distribution(&mut errors));
    assert!(errors.len() >= 9, "{}", errors.len());
}

/// A log's question, from the card, the model and the flags alone.
fn deployment(row: &Row) -> Deployment {
    let question = Question {
        gpu: Some(row.text("gpu").to_owned()),
        gpus: Some(row.number("gpus")),
        model: Some(row.text("profile").to_owned()),
        runtime: Some(Runtime::Sglang),
        runtime_version: Some(row.text("version").to_owned()),
        weights: Some(row.get("weights").unwrap()),
        prefill_chunk: row.maybe("chunk").unwrap(),
        mem_fraction_static: row.maybe("fraction").unwrap(),
        enforce_eager: row.text("eager") == "1",
        cache_tokens: Some(1024),
        max_model_len: Some(0),
        ..Question::default()
    };
    let catalog = Catalog::built_in();
    let context = catalog.model(row.text("profile")).unwrap().shape.context_len;
    let question = Question { max_model_len: Some(context), ..question };
    resolve(&question, &catalog, &MemoryFiles::default(), None).unwrap()
}

#[test]
fn plans_have_the_tokens_that_logs_print() {
    let (mut errors, mut outside) = (Vec::new(), Vec::new());
    for row in rows(LOGS).filter(|row| is_given(row, "gpu")) {
        let deployment = deployment(&row);
        let answer = answer(&deployment).unwrap();
        let pool = answer.plan.pool.unwrap();
        let tokens = row.number("tokens");
        #[allow(clippy::cast_precision_loss)]
        let error = pool.tokens as f64 / tokens as f64 - 1.0;
        println!(
            "{} {}: {} of {tokens}, {:+.2}%; peak {} to {} MiB, left {} GiB",
            row.text("id"),
            row.text("profile"),
            pool.tokens,
            100.0 * error,
            answer.plan.peak.expected.get() >> 20,
            answer.plan.peak.high.get() >> 20,
            row.text("left_gib"),
        );
        errors.push(error.abs());
        let has = pool.start.has;
        let within =
            [has.low, has.high].map(|has| has.get() / pool.block.get() * pool.block_tokens);
        if !(within[0]..=within[1]).contains(&tokens) {
            outside.push(row.text("id").to_owned());
        }
    }
    println!("{}; outside of the bounds: {outside:?}", distribution(&mut errors));
    assert!(outside.is_empty());
    assert!(errors.len() >= 7, "{}", errors.len());
    assert!(errors[errors.len() / 2] < 0.0125 && errors[errors.len() - 2] < 0.03, "{errors:?}");
}
