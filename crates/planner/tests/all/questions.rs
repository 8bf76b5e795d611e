//! The question as it is resolved: what engines do by themselves, and that it reads back as itself.

use crate::support::Case;
use vramplan_planner::deployment::{
    CacheAllocation, CacheSize, CaptureLayers, Deployment, DeploymentError, Question, resolve,
};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::render::{Document, from_json, to_json};
use vramplan_planner::spec::{Headroom, Logits, Runtime, Split};
use vramplan_planner::units::Bytes;

fn asked(text: &str) -> Result<Deployment, DeploymentError> {
    let question: Question = toml::from_str(text).unwrap();
    resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None)
}

/// Questions with every key somewhere.
const QUESTIONS: [&str; 8] = [
    "gpu = 'L4'\nmodel = 'qwen2.5-14b'",
    "gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'llama.cpp'\nruntime_version = 'b8193'\nkv = 'q8_0'",
    "gpu = 'L4,T4'\nmodel = 'llama-3.1-8b'\nruntime = 'llama.cpp'\nlogits = 'all'\nbatch = 3",
    "gpu = 'A100-80GB'\ngpus = 4\nmodel = 'llama-3.1-70b'\nruntime = 'vllm'\nmax_seqs = 64\n\
     gpu_memory_utilization = 0.85\nimages = 0",
    "gpu = 'A100-80GB'\ngpus = 2\nsplit = 'layer'\nmodel = 'llama-3.1-70b'\nruntime = 'vllm'\n\
     weights = 'awq-int4'\nkv = 'fp8'\nruntime_version = '0.11.2'",
    "gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime = 'transformers'\nweights = 'nf4-dq'\nkv = 'hqq4-g32'\n\
     runtime_version = '4.57,bitsandbytes=0.45'\ncache = 'preallocated'\ncapture_layers = 'all'\n\
     capture_tokens = 7\ncapture_attention = true\ncapture_keep = true\nattention = 'eager'",
    "gpu = 'H100-3g.40gb'\nmodel = 'qwen2.5-7b'\nheadroom = '5%'\nother_use = '600 MiB'\n\
     min_decode_speed = 12.5\ncontext = 40000\nprefill_chunk = 256\nsystem_tokens = 100",
    "gpu = 'L4'\nmodel = 'qwen2.5-7b'\nheadroom = '700 MiB'\ncache_tokens = 3000\nrecent_window = 800",
];

#[test]
fn what_was_resolved_reads_back_as_itself() {
    for text in QUESTIONS {
        let first = asked(text).unwrap();
        let resolved = first.resolved();
        let written = toml::to_string(&resolved).unwrap();
        assert_eq!(toml::from_str::<Question>(&written).unwrap(), resolved, "{written}");
        let again = asked(&written).unwrap();
        assert_eq!(Deployment { given: first.given.clone(), ..again }, first, "{written}");
    }
}

#[test]
fn a_plan_in_json_is_a_question_with_the_same_plan() {
    for text in QUESTIONS {
        let case = Case(asked(text).unwrap());
        let document = Document::new(&case, &case.answer());
        let read = from_json(&to_json(&document).unwrap()).unwrap();
        assert_eq!(read, document);
        assert_eq!(read.deployment.given, toml::from_str(text).unwrap());
        let again = Case::asked(&read.deployment.resolved);
        let then = Document::new(&again, &again.answer());
        assert_eq!((then.peak, then.phases), (document.peak, document.phases), "{text}");
    }
}

#[test]
fn a_phase_adds_up_and_every_component_is_there() {
    for text in QUESTIONS {
        let case = Case(asked(text).unwrap());
        let document = Document::new(&case, &case.answer());
        assert_eq!(document.components.len(), 10);
        assert!(document.devices.iter().all(|device| device.components.len() == 10));
        for phase in &document.phases {
            let sum = Bytes::sum([phase.persistent, phase.transient, phase.held]).unwrap();
            assert_eq!(sum, phase.total.expected, "{text}: {}", phase.id);
        }
    }
}

#[test]
fn engines_do_what_they_do_where_nothing_is_said() {
    let of = |runtime| Case::new("L4", "qwen2.5-7b", runtime);
    let vramplan = of(Runtime::Vramplan);
    assert_eq!(
        (vramplan.weights.to_string(), vramplan.kv.to_string()),
        ("q4_k_m".into(), "int8".into())
    );
    assert_eq!(vramplan.workload.system_tokens, 6000);
    let llama = of(Runtime::LlamaCpp);
    assert_eq!((llama.kv.to_string(), llama.workload.logits), ("f16".into(), Logits::Last));
    let vllm = of(Runtime::Vllm);
    assert_eq!((vllm.weights.to_string(), vllm.workload.prefill_chunk), ("bf16".into(), 2048));
    assert_eq!((vllm.split, vllm.headroom), (Split::Tensor, Headroom::Size(Bytes::ZERO)));
    let transformers = of(Runtime::Transformers);
    assert_eq!(transformers.weights.to_string(), "bf16");
    assert_eq!(
        (transformers.kv.to_string(), transformers.workload.grown_cache),
        ("bf16".into(), true)
    );
    for case in [llama, vllm, transformers] {
        assert_eq!((case.workload.system_tokens, case.cache), (0, CacheSize::Solve));
    }
    // A context without room for twice the pinned prompt has none.
    let small = asked("gpu = 'L4'\nmodel = 'qwen2.5-7b'\ncontext = 8192").unwrap();
    assert_eq!(small.workload.system_tokens, 0);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    for (rest, part) in [
        ("gpu = 'L4'", "`--model` is missing"),
        ("model = 'qwen2.5-7b'", "`--gpu` is missing"),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\nbatch = 0", "`--batch 0` is out of range"),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\ngpus = 65", "`--gpus 65` is out of range"),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\nsplit = 'layer'", "`--split` says how"),
        (
            "gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime = 'vramplan'\nmax_seqs = 3",
            "has no `--max-seqs`",
        ),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime_version = '1'", "cannot be chosen"),
        ("gpu = 'auto'\nmodel = 'qwen2.5-7b'", "no card of this machine"),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\ncapture_keep = true", "no `--capture-layers`"),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\ncontext = 5000000000", "expected at most"),
        ("gpu = 'L4'\nmodel = 'qwen2.5-7b'\nother_use = '30 GiB'", "nothing of `L4` is left"),
    ] {
        let error = asked(rest).unwrap_err().to_string();
        assert!(error.contains(part), "{rest}: {error}");
    }
    let keys = Question { capture_layers: Some(CaptureLayers::All), ..Question::default() };
    assert_eq!(toml::to_string(&keys).unwrap(), "capture_layers = \"all\"\n");
    assert_eq!(CacheAllocation::of(true), CacheAllocation::Grown);
}
