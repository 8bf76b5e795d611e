//! Layers, experts, tensors and caches in main memory: what is solved, what adds up, and what is refused.

use crate::support::Case;
use vramplan_planner::deployment::{DeploymentError, Question, resolve};
use vramplan_planner::estimate::{BufferId, Component};
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::{Catalog, Kind, MemoryFiles};
use vramplan_planner::recommend::{Answer, LEAST_CONTEXT, RecommendError, Solver, answer};
use vramplan_planner::render::{Document, Target, emit, to_json, to_table, verdict_words};
use vramplan_planner::sweep::Sweep;
use vramplan_planner::units::Bytes;

/// The sparse model and the card that users ask about.
const SPARSE: &str = "gpu = 'RTX 3060'\nmodel = 'qwen3-30b-a3b'\nruntime = 'llama.cpp'\n";

fn case(more: &str) -> Case {
    Case::asked(&toml::from_str::<Question>(&format!("{SPARSE}{more}")).unwrap())
}

/// The message of a question that is refused, wherever that is noticed.
fn refusal(text: &str) -> String {
    let question: Question = match toml::from_str(text) {
        Ok(question) => question,
        Err(error) => return error.message().to_owned(),
    };
    let resolved: Result<_, DeploymentError> =
        resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None);
    match resolved {
        Err(error) => error.to_string(),
        Ok(deployment) => answer(&deployment).unwrap_err().to_string(),
    }
}

fn sum(answer: &Answer, id: BufferId) -> u64 {
    let buffers = answer.devices.iter().flat_map(|device| &device.plan.buffers);
    buffers.filter(|buffer| buffer.id == id).map(|buffer| buffer.size.expected.get()).sum()
}

#[test]
fn a_model_that_does_not_fit_gets_the_fastest_placement_that_does() {
    let case = case("ram = '32GiB'");
    let answer = case.answer();
    let settlement = answer.settlement.as_ref().unwrap();
    assert!(settlement.placement.fits);
    assert_eq!(settlement.placement.tokens, LEAST_CONTEXT);
    assert_ne!(answer.verdict, Verdict::DoesNotFit);
    assert!(answer.cache_tokens >= LEAST_CONTEXT, "{}", answer.cache_tokens);
    // The card and main memory, each with its part of the weights.
    assert_eq!(answer.devices.len(), 2);
    assert!(answer.devices[1].part.is_host);
    // One layer more is one too many.
    let flags = settlement.placement.flags();
    let (gpu_layers, cpu_moe) = (settlement.placement.gpu_layers, settlement.placement.cpu_moe);
    let tighter = match cpu_moe {
        0 => format!("ngl = {}\ncache_tokens = {LEAST_CONTEXT}", gpu_layers + 1),
        n => format!("n_cpu_moe = {}\ncache_tokens = {LEAST_CONTEXT}", n - 1),
    };
    assert_ne!(self::case(&tighter).answer().verdict, Verdict::Fits, "{flags}");
    let document = Document::new(&case, &answer);
    assert!(to_table(&document).contains(&format!("\n`{flags}`: ")), "{flags}");
}

#[test]
fn what_was_solved_is_what_its_flags_plan() {
    let case = case("ram = '32GiB'\ncache_tokens = 8192");
    let first = case.answer();
    let document = Document::new(&case, &first);
    let again = Case::asked(&document.deployment.resolved);
    let second = again.answer();
    assert!(second.settlement.is_none());
    let peaks = |answer: &Answer| -> Vec<_> {
        answer.devices.iter().map(|device| device.plan.peak).collect()
    };
    assert_eq!(peaks(&first), peaks(&second));
    assert!(to_json(&document).unwrap().contains("\"placement\""));
}

/// What the text says a verdict rests on stands beside it for programs, too.
#[test]
fn a_verdict_that_rests_on_main_memory_says_on_how_much() {
    let document = |case: &Case| Document::new(case, &case.answer());
    let open = case("");
    let needed = document(&open).main_memory_needed.unwrap();
    let words = format!("fits if {needed} of main memory is free");
    assert_eq!(verdict_words(&document(&open)), words);
    assert_eq!(document(&case("ram = '32GiB'")).main_memory_needed, None);
    let whole = "gpu = 'RTX 3060'\nmodel = 'qwen3-8b'\nruntime = 'llama.cpp'";
    let whole = Case::asked(&toml::from_str::<Question>(whole).unwrap());
    assert_eq!(document(&whole).main_memory_needed, None);
    let sweep = Sweep { rows: vec![vec![open.0.clone()]], largest: true };
    let cell = sweep.answer().remove(0).remove(0).unwrap();
    assert!(cell.placement.is_some());
    // Both plan what fits beside the same placement.
    assert_eq!(cell.main_memory, Some(needed));
}

#[test]
fn a_model_that_fits_stays_on_the_gpu() {
    let question = "gpu = 'L4'\nmodel = 'llama-3.1-8b'\nruntime = 'llama.cpp'";
    let case = Case::asked(&toml::from_str::<Question>(question).unwrap());
    let answer = case.answer();
    assert!(answer.settlement.is_none() && answer.devices.is_empty());
    let solved =
        Case::asked(&toml::from_str::<Question>(&format!("{question}\nngl = 'auto'")).unwrap());
    let solved = solved.answer();
    assert_eq!(solved.settlement.unwrap().placement.flags(), "-ngl all");
}

#[test]
fn weights_and_caches_of_every_placement_add_up() {
    let whole = case("ngl = 'all'\nram = '64GiB'\ncache_tokens = 4096").answer();
    let (weights, caches) = (sum(&whole, BufferId::Weights), sum(&whole, BufferId::KeysAndValues));
    for more in [
        "ngl = 20",
        "ngl = 0",
        "n_cpu_moe = 30",
        "cpu_moe = true",
        "ngl = 40\nn_cpu_moe = 35",
        "override_tensor = ['blk\\.1\\.=CPU', 'exps=CPU']",
        "no_kv_offload = true",
    ] {
        let answer = case(&format!("{more}\nram = '64GiB'\ncache_tokens = 4096")).answer();
        // Rows are padded on GPUs only, by less than a part in a thousand.
        let found = sum(&answer, BufferId::Weights);
        assert!(found.abs_diff(weights) * 1000 <= weights, "{more}: {found} for {weights}");
        assert_eq!(sum(&answer, BufferId::KeysAndValues), caches, "{more}");
    }
}

#[test]
fn an_explicit_placement_that_does_not_fit_is_not_changed() {
    let answer = case("ngl = 49\ncache_tokens = 4096").answer();
    assert_eq!(answer.verdict, Verdict::DoesNotFit);
    assert!(answer.settlement.is_none());
}

#[test]
fn main_memory_that_is_too_small_does_not_fit() {
    let answer = case("ram = '4GiB'\ncache_tokens = 4096").answer();
    assert_eq!(answer.verdict, Verdict::DoesNotFit);
    assert!(answer.devices[answer.binding].part.is_host);
}

#[test]
fn two_cards_of_different_sizes_get_a_split_that_fits() {
    let question = "gpu = 'RTX 3090,RTX 3060'\nmodel = 'llama-3.1-70b'\nruntime = 'llama.cpp'\n\
                    weights = 'q3_k_m'\nram = '64GiB'";
    let case = Case::asked(&toml::from_str::<Question>(question).unwrap());
    let answer = case.answer();
    let placement = answer.settlement.as_ref().map(|settlement| &settlement.placement);
    assert!(placement.is_none_or(|placement| placement.fits));
    assert_ne!(answer.verdict, Verdict::DoesNotFit);
}

/// `--n-cpu-moe 99` of the commands that ggml-org/llama.cpp#18049 and many others show.
#[test]
fn more_layers_than_there_are_mean_all_of_them() {
    let peaks = |more: &str| {
        let question = toml::from_str::<Question>(&format!("{SPARSE}{more}")).unwrap();
        let answer = Case::asked(&question).answer();
        answer.devices.iter().map(|device| device.plan.peak.expected).collect::<Vec<_>>()
    };
    assert_eq!(peaks("n_cpu_moe = 99"), peaks("n_cpu_moe = 48"));
    assert_eq!(peaks("ngl = 57\nn_cpu_moe = 3"), peaks("ngl = 49\nn_cpu_moe = 3"));
}

#[test]
fn what_cannot_be_placed_is_named() {
    for (more, expected) in [
        ("override_tensor = ['blk\\.99\\.=CPU']", "matches no tensor"),
        ("override_tensor = ['exps=CUDA1']", "`CUDA1` is not a device here"),
        ("override_tensor = ['ex(ps=CPU']", "no regular expression"),
        ("override_tensor = ['exps']", "overrides no tensor"),
        ("tensor_split = '3,1'", "2 proportions, for 1 GPU"),
        ("ngl = 'most'", "not a number of layers"),
        ("main_gpu = 1", "`--main-gpu 1` is out of range"),
        ("batch_size = 0", "`--batch-size 0` is out of range"),
        ("ram = '100MiB'", "leaves nothing"),
    ] {
        let message = refusal(&format!("{SPARSE}{more}"));
        assert!(message.contains(expected), "{more}: {message}");
    }
    let dense = "gpu = 'RTX 3060'\nmodel = 'llama-3.1-8b'\nruntime = 'llama.cpp'\nn_cpu_moe = 3";
    assert!(refusal(dense).contains("has no experts"));
    let vllm = "gpu = 'RTX 3060'\nmodel = 'llama-3.1-8b'\nruntime = 'vllm'\nngl = 3";
    assert!(refusal(vllm).contains("the `vllm` runtime has no `--ngl`"));
}

#[test]
fn settings_say_the_placement() {
    let case =
        case("ngl = 30\nn_cpu_moe = 20\ncache_tokens = 4096\nkv = 'q8_0/q4_0'\nram = '64GiB'");
    let document = Document::new(&case, &case.answer());
    let capability = case.cards.first().gpu.compute_capability;
    let text = emit(&document, Target::LlamaCpp, Some("m.gguf"), capability).unwrap();
    assert!(text.starts_with("llama-server -m m.gguf -c 4096 -np 1"), "{text}");
    for flag in ["-ngl 30", "--n-cpu-moe 20", "-ctk q8_0", "-ctv q4_0"] {
        assert!(text.contains(flag), "{flag}: {text}");
    }
    let error = emit(&document, Target::Ollama, None, capability).unwrap_err();
    assert!(error.to_string().contains("q8_0/q4_0") || error.to_string().contains("--n-cpu-moe"));
    let text = emit(&document, Target::LmStudio, None, capability).unwrap();
    assert!(text.contains("\"ratio\": 0.6122"), "{text}");
}

/// What a device holds of a component that is named so, in MiB as logs print it.
fn printed(answer: &Answer, device: usize, wanted: &[Component]) -> String {
    let rows = wanted.iter().filter_map(|id| answer.devices[device].plan.component(*id));
    let total: u64 = rows.map(|row| row.at_peak.expected.get()).sum();
    format!("{:.2}", Bytes::new(total).as_mib())
}

/// Public logs: lmstudio-ai/lmstudio-bug-tracker#1360 with 20 layers on the GPU, ollama/ollama#8377 with 40 of 64 layers
/// on the first of two.
#[test]
fn public_logs_of_offloaded_runs_come_out() {
    let question = "gpu = 'RTX 4070'\nmodel = 'deepseek-r1-distill-qwen-14b'\nruntime = 'llama.cpp'\n\
                    weights = 'q4_k_m'\ncache_tokens = 8192\nngl = 20";
    let answer = Case::asked(&toml::from_str::<Question>(question).unwrap()).answer();
    assert_eq!(printed(&answer, 0, &[Component::Weights]), "3621.44");
    let question = "gpu = 'RTX 3090'\ngpus = 2\nmodel = 'qwen2.5-32b'\nruntime = 'llama.cpp'\n\
                    runtime_version = '2025'\nattention = 'eager'\nkv = 'f16'\n\
                    cache_tokens = 32768\ntensor_split = '40,25'";
    let answer = Case::asked(&toml::from_str::<Question>(question).unwrap()).answer();
    assert_eq!(printed(&answer, 0, &[Component::ConversationCache]), "5120.00");
    let compute = [
        Component::AttentionTransients,
        Component::Activations,
        Component::Logits,
        Component::SmallBuffers,
    ];
    assert_eq!(printed(&answer, 0, &compute), "2896.01");
    assert_eq!(printed(&answer, 1, &compute), "2896.02");
}

/// Public figures of offloaded runs: source, card, model, placement, tokens a second.
const SPEEDS: &str = include_str!("../../../../evidence/llama_cpp/offload_speeds.csv");

/// What is planned for a row.
fn speed_of(row: &csv::StringRecord, columns: &csv::StringRecord) -> (f64, [f64; 3]) {
    let get = |name: &str| &row[columns.iter().position(|column| column == name).unwrap()];
    let key = |name: &str, value: &str| match value {
        "" => String::new(),
        value => format!("{name} = {value}\n"),
    };
    let quoted = |value: &str| if value.is_empty() { String::new() } else { format!("'{value}'") };
    // Of the same memory as its sibling, but for width.
    let is_2080 = get("gpu") == "RTX 2080";
    let gpu = if is_2080 { "RTX 2080 Ti" } else { get("gpu") };
    let text = format!(
        "gpu = '{gpu}'\nmodel = '{}'\nruntime = 'llama.cpp'\nweights = '{}'\ncache_tokens = {}\n{}{}{}",
        get("model"),
        get("weights"),
        get("context"),
        key("ngl", get("ngl")),
        key("n_cpu_moe", get("n_cpu_moe")),
        key("ram_bandwidth", &quoted(get("ram_bandwidth"))),
    );
    let mut case = Case::asked(&toml::from_str::<Question>(&text).unwrap());
    if is_2080 {
        let mut card = case.cards.first().clone();
        card.gpu.bandwidth.value = Bytes::new(448_000_000_000);
        case = case.on(card, Vec::new());
    }
    let tokens = get("context").parse().unwrap();
    let speed = Solver::new(&case).unwrap().speed(tokens).unwrap();
    (get("measured_tok_s").parse().unwrap(), [speed.low, speed.expected, speed.high])
}

#[test]
fn public_speeds_are_in_their_ranges() {
    let mut reader = csv::Reader::from_reader(SPEEDS.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let (mut errors, mut outside) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.unwrap();
        let (measured, [low, expected, high]) = speed_of(&row, &columns);
        println!("{measured:5.1} {low:5.1} {expected:5.1} {high:5.1} {row:?}");
        errors.push((expected / measured - 1.0).abs());
        if !(low..=high).contains(&measured) {
            outside.push(format!("{measured} is not in {low:.1} to {high:.1}: {row:?}"));
        }
    }
    errors.sort_by(f64::total_cmp);
    println!(
        "median error {:.0}%, {} of {} outside",
        errors[errors.len() / 2] * 100.0,
        outside.len(),
        errors.len()
    );
    assert!(outside.len() * 10 <= errors.len(), "{}", outside.join("\n"));
    assert!(errors[errors.len() / 2] < 0.25, "{errors:?}");
}

#[test]
fn every_known_model_is_planned_under_llama_cpp() {
    let catalog = Catalog::built_in();
    for name in catalog.names(Kind::Model).unwrap() {
        let question = format!(
            "gpu = 'H200'\ngpus = 8\nmodel = '{name}'\nruntime = 'llama.cpp'\ncache_tokens = 1024"
        );
        let found =
            resolve(&toml::from_str(&question).unwrap(), &catalog, &MemoryFiles::default(), None);
        let answer = answer(&found.unwrap());
        let is_several = |error: &RecommendError| error.to_string().contains("GPUs under");
        assert!(answer.is_ok() || answer.as_ref().is_err_and(is_several), "{name}: {answer:?}");
    }
}

/// A placement asked for by numbers that does not fit is answered by the one that does.
#[test]
fn a_placement_that_does_not_fit_is_mended() {
    let question: Question = toml::from_str(
        "gpu = 'RTX 5090'\nmodel = 'gpt-oss-120b'\nruntime = 'llama.cpp'\nngl = '99'\nn_cpu_moe = '17'\ncontext = 131072",
    )
    .unwrap();
    let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    let planned = answer(&found).unwrap();
    assert_eq!(planned.verdict, Verdict::DoesNotFit);
    let advised = planned.advice.iter().find(|advice| advice.code == "other-placement").unwrap();
    let flag = advised.text.split('`').nth(1).unwrap();
    let moved = flag.strip_prefix("--n-cpu-moe ").unwrap();
    let mended = Question { n_cpu_moe: Some(moved.parse().unwrap()), ..question };
    let found = resolve(&mended, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    assert_eq!(answer(&found).unwrap().verdict, Verdict::Fits, "{flag}");
}

/// llama.cpp takes a main GPU where every GPU has layers of its own, and nothing depends on it.
#[test]
fn a_main_gpu_changes_nothing_where_layers_are_dealt_out() {
    let plan = |more: &str| {
        let text =
            format!("gpu = '2xRTX 3060'\nmodel = 'qwen3-30b-a3b'\nruntime = 'llama.cpp'\n{more}");
        let answer = Case::asked(&toml::from_str::<Question>(&text).unwrap()).answer();
        answer.devices.iter().map(|device| device.plan.peak).collect::<Vec<_>>()
    };
    let without = plan("");
    assert_eq!(without.len(), 2);
    for more in ["main_gpu = 0", "main_gpu = 1", "main_gpu = 1\nsplit_mode = 'layer'"] {
        assert_eq!(plan(more), without, "{more}");
    }
    assert_ne!(plan("main_gpu = 1\nsplit_mode = 'none'"), without);
}
