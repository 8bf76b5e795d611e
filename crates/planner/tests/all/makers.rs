//! Cards of other makers: their own usable memory, the runtimes that run on them, and a bare name's runtime.

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, to_table};
use vramplan_planner::spec::{Maker, Runtime};

fn asked(gpu: &str, more: &str) -> Question {
    toml::from_str(&format!("gpu = '{gpu}'\nmodel = 'qwen2.5-14b'\n{more}")).unwrap()
}

fn text(question: &Question) -> (Runtime, Verdict, String) {
    let files = MemoryFiles::default();
    let found = resolve(question, &Catalog::built_in(), &files, None).unwrap();
    let answer = answer(&found).unwrap();
    let text = to_table(&Document::new(&found, &answer));
    (found.kind(), answer.verdict, text)
}

fn refusal(question: &Question) -> String {
    let files = MemoryFiles::default();
    resolve(question, &Catalog::built_in(), &files, None).unwrap_err().to_string()
}

#[test]
fn a_bare_name_is_planned_for_what_runs_there() {
    for gpu in ["RX 7900 XTX", "MI300X", "Arc B580", "M3 Max 64GB", "Strix Halo"] {
        let (runtime, verdict, text) = text(&asked(gpu, ""));
        assert_eq!((runtime, verdict), (Runtime::LlamaCpp, Verdict::Fits), "{gpu}: {text}");
        assert!(text.contains("plans are checked on NVIDIA GPUs"), "{gpu}: {text}");
    }
    let (_, _, mixed) = text(&asked("RX 7900 XTX,L4", ""));
    assert!(mixed.contains("plans are checked on NVIDIA GPUs"), "{mixed}");
    let (runtime, _, nvidia) = text(&asked("L4", ""));
    assert_eq!(runtime, Runtime::Vramplan);
    assert!(!nvidia.contains("are checked on NVIDIA"), "{nvidia}");
}

#[test]
fn what_runs_on_no_such_card_is_refused() {
    for (gpu, runtime) in [
        ("M3 Max 64GB", "vllm"),
        ("M3 Max 64GB", "transformers"),
        ("MI300X", "vramplan"),
        ("Arc A770", "vllm"),
    ] {
        let error = refusal(&asked(gpu, &format!("runtime = '{runtime}'")));
        assert!(error.contains("is not planned on GPUs of"), "{gpu} {runtime}: {error}");
    }
    assert_eq!(text(&asked("MI300X", "runtime = 'vllm'")).0, Runtime::Vllm);
}

#[test]
fn a_chip_needs_its_memory() {
    let error = refusal(&asked("M4 Max", ""));
    assert!(error.contains("comes with different memories"), "{error}");
}

#[test]
fn a_name_is_planned_for_its_own_engine_only_where_that_runs_it() {
    let of = |model: &str| {
        let question = Question { model: Some(model.to_owned()), ..asked("H100", "") };
        let files = MemoryFiles::default();
        resolve(&question, &Catalog::built_in(), &files, None).unwrap().kind()
    };
    assert_eq!(of("llama-3.1-8b"), Runtime::Vramplan);
    for model in ["gemma-3-12b", "gpt-oss-20b", "qwen3-30b-a3b", "mixtral-8x7b"] {
        assert_eq!(of(model), Runtime::LlamaCpp, "{model}");
    }
}

#[test]
fn every_card_says_who_makes_it() {
    let catalog = Catalog::built_in();
    let maker = |name: &str| catalog.gpu(name).unwrap().maker;
    assert_eq!(maker("AMD Radeon RX 7900 XTX"), Maker::Amd);
    assert_eq!(maker("Intel Arc A770"), Maker::Intel);
    assert_eq!(maker("Apple M1 16GB"), Maker::Apple);
    for name in ["DGX Spark", "H20", "B300", "GB200"] {
        assert_eq!(maker(name), Maker::Nvidia);
    }
}

/// A machine's memory is its GPU's: what layers in main memory take comes out of what the GPU leaves.
#[test]
fn one_memory_is_counted_once() {
    let large = |gpu: &str| {
        let question =
            format!("gpu = '{gpu}'\nmodel = 'kimi-k2'\nruntime = 'llama.cpp'\nweights = 'q4_k_m'");
        text(&toml::from_str(&question).unwrap())
    };
    // 578 GiB of weights: on a machine of 512 GB they do not fit, beside a card of 24 GB they may.
    for gpu in ["M3 Ultra 512GB", "Strix Halo", "DGX Spark"] {
        let (_, verdict, text) = large(gpu);
        assert_eq!(verdict, Verdict::DoesNotFit, "{gpu}: {text}");
    }
    let (_, verdict, text) = large("RTX 3090");
    assert_ne!(verdict, Verdict::DoesNotFit, "{text}");
    assert!(text.contains(" if ") && text.contains(" of main memory is free: "), "{text}");
    let small = asked("Strix Halo", "ram = '128GiB'\n");
    let (_, _, text) = self::text(&small);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("the memory of Strix Halo 128GB is the machine's"), "{text}");
}
