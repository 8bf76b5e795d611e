//! The same model, asked for by its name and by a file, gets one answer.
//!
//! The file is the one that `synth` writes from the profile: its header, read back by the reader of GGUF files.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::Case;
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::estimate::Component;
use vramplan_planner::plan::Plan;
use vramplan_planner::read::{Catalog, Kind, gguf};
use vramplan_planner::recommend::{Answer, answer, decode_speed};
use vramplan_planner::recommend::{Solver, Speed};
use vramplan_planner::spec::{Architecture as A, ModelSpec, Runtime, Window};
use vramplan_planner::synth::{SynthError, SynthModel};
use vramplan_planner::units::Bytes;

const FORMAT: &str = "q4_k_m";
const CACHE: u64 = 8192;

/// Families whose tensors llama.cpp names in ways that are not known here: `synth` refuses them by name.
const UNNAMED: [A; 5] = [A::Gemma4, A::GraniteHybrid, A::Qwen2Vl, A::Qwen3Vl, A::Qwen3VlMoe];

fn profiles() -> Vec<ModelSpec> {
    let catalog = Catalog::built_in();
    let names = catalog.names(Kind::Model).unwrap();
    names.map(|name| catalog.model(name).unwrap()).collect()
}

/// The model of the file that `synth` writes.
fn by_file(model: &ModelSpec) -> Result<ModelSpec, SynthError> {
    let format: WeightFormat = FORMAT.parse().unwrap();
    let synthetic = SynthModel::new(model, format, 0)?;
    let header = synthetic.header();
    let size = synthetic.data_size().plus(Bytes::new(header.len() as u64)).unwrap();
    let path = Path::new("m.gguf");
    let file = gguf::read_header(&header, size, path).unwrap();
    Ok(gguf::spec(path, &file).unwrap())
}

fn case(model: ModelSpec, runtime: Runtime, weights: &str) -> Case {
    let mut case = Case::new("B200", "qwen2.5-0.5b", runtime).weights(weights).cache(CACHE);
    case.workload.context = 1 << 20;
    case.of(model)
}

/// What a plan says without what a file knows better: every buffer that is expected, in order.
fn expected(plan: &Plan) -> Vec<(String, Bytes)> {
    let name = |buffer: &vramplan_planner::estimate::Buffer| {
        format!("{:?}: {}, {:?}", buffer.component, buffer.id, buffer.life)
    };
    plan.buffers.iter().map(|buffer| (name(buffer), buffer.size.expected)).collect()
}

fn speed(case: &Case) -> Speed {
    decode_speed(&[Solver::new(case).unwrap().scenario(CACHE)]).unwrap()
}

#[test]
fn every_profile_is_planned_as_its_file_is() {
    let (mut compared, mut unnamed) = (0, BTreeSet::new());
    for model in profiles() {
        let file = match by_file(&model) {
            Ok(file) => file,
            Err(error) => {
                assert!(error.to_string().contains("no names in GGUF files"), "{error}");
                assert!(error.to_string().contains(model.shape.architecture.name()), "{error}");
                unnamed.insert(model.shape.architecture);
                continue;
            }
        };
        // What has no graph by name is read from a file as the library reads it, and nothing is compared.
        let no_graph = case(model.clone(), Runtime::LlamaCpp, FORMAT);
        if answer(&no_graph).is_err_and(|error| error.to_string().contains("graph of")) {
            assert!(answer(&case(file, Runtime::LlamaCpp, "as-stored")).is_ok(), "{}", model.name);
            continue;
        }
        for runtime in [Runtime::LlamaCpp, Runtime::Vramplan] {
            let mut named = case(model.clone(), runtime, FORMAT);
            let mut filed = case(file.clone(), runtime, "as-stored");
            named.set_launch(all_on_gpu(runtime));
            filed.set_launch(all_on_gpu(runtime));
            let by_name: Answer = answer(&named).unwrap();
            let of_file = answer(&filed).unwrap();
            let about = format!("{} under {runtime}", model.name);
            assert_eq!(expected(&by_name.plan), expected(&of_file.plan), "{about}");
            assert_eq!(by_name.plan.peak.expected, of_file.plan.peak.expected, "{about}");
            assert_eq!(speed(&named), speed(&filed), "{about}");
            compared += 1;
        }
    }
    assert!(compared >= 2 * 140, "{compared}");
    assert!(UNNAMED.iter().all(|family| unnamed.contains(family)), "{unnamed:?}");
}

/// A placement is solved by bounds, which a file's weights do not have: here everything stays on the GPU.
fn all_on_gpu(runtime: Runtime) -> vramplan_planner::spec::Launch {
    let all = vramplan_planner::spec::Count::All;
    let gpu_layers = (runtime == Runtime::LlamaCpp).then_some(all);
    vramplan_planner::spec::Launch { gpu_layers, ..Default::default() }
}

/// The table by which Llama 3.1 and later stretch their context is a vector of a frequency for each pair.
#[test]
fn every_llama_3_has_the_table_of_frequencies_that_loaders_expect() {
    let mut stretched = Vec::new();
    // The pruned one and those that see have no names in GGUF files here.
    let is_another = |name: &str| name.contains("super") || name.contains("vision");
    let is_llama =
        |model: &ModelSpec| model.name.starts_with("llama-3") && !is_another(&model.name);
    for model in profiles().into_iter().filter(is_llama) {
        let synthetic = SynthModel::new(&model, FORMAT.parse().unwrap(), 0).unwrap();
        let tables = synthetic.tensors.iter().filter(|t| t.entry.name == "rope_freqs.weight");
        for table in tables {
            assert_eq!(table.entry.dims, [model.shape.head_dim / 2], "{}", model.name);
            stretched.push(model.name.clone());
        }
    }
    // Llama 3 itself is not stretched.
    assert_eq!(
        stretched,
        [
            "llama-3.1-405b-fp8",
            "llama-3.1-405b",
            "llama-3.1-70b",
            "llama-3.1-8b",
            "llama-3.1-nemotron-70b",
            "llama-3.1-nemotron-nano-8b",
            "llama-3.1-tulu-3-70b",
            "llama-3.2-1b",
            "llama-3.2-3b",
            "llama-3.3-70b",
        ]
    );
}

/// What no other runtime takes as it is stored is refused, and not planned in another format.
#[test]
fn files_are_refused_where_no_runtime_takes_them_as_they_are() {
    let model = profiles().into_iter().find(|model| model.name == "mistral-7b-v0.1").unwrap();
    let file = by_file(&model).unwrap();
    for runtime in [Runtime::Transformers, Runtime::Vllm] {
        let case = case(file.clone(), runtime, "as-stored");
        let error = answer(&case).unwrap_err().to_string();
        assert!(error.contains("GGUF"), "{error}");
    }
}

/// llama.cpp knows windows of some families only, as does an engine that loads its files.
#[test]
fn windows_that_files_do_not_state_save_nothing() {
    let mut windowed = 0;
    for model in profiles().into_iter().filter(|model| model.window_layers() > 0) {
        let case = case(model.clone(), Runtime::Vramplan, FORMAT).cache(6000);
        let mut case = case;
        case.workload.system_tokens = 0;
        let plan = answer(&case).unwrap().plan;
        let rows = expected(&plan);
        let has_windows = rows.iter().any(|(name, _)| name.contains("windowed layers"));
        let known = model.shape.architecture.caches_windows();
        assert_eq!(has_windows, known, "{}", model.name);
        windowed += 1;
    }
    assert!(windowed >= 60, "{windowed}");
}

/// Ministral 8B has windows of 32,768 tokens in three of four layers, which its profile leaves out: within its
/// context of as many tokens they save nothing under any runtime.
#[test]
fn windows_as_long_as_the_context_save_nothing() {
    let model = profiles().into_iter().find(|model| model.name == "ministral-8b-2410").unwrap();
    let context = model.shape.context_len;
    let mut shape = model.shape.clone();
    shape.window = Some(Window { size: context, full_every: Some(4) });
    let ragged = ModelSpec::new("ragged", shape, "test").unwrap();
    for runtime in Runtime::ALL {
        let cache = |model: &ModelSpec| {
            let mut case = Case::new("H200", "qwen2.5-0.5b", runtime).cache(context - 1);
            case.workload.system_tokens = 0;
            case.workload.context = context;
            case.workload.grown_cache = false;
            let case = case.of(model.clone());
            let plan = answer(&case).unwrap().plan;
            let held = plan.component(Component::ConversationCache).unwrap().at_peak.expected;
            // vLLM's pool is as large as there is room: what of it is needed counts.
            plan.pool.map_or(held, |pool| pool.need.expected)
        };
        let difference = cache(&model).diff(cache(&ragged));
        // vLLM fills its pool up with blocks, whose number is another one for two groups of layers.
        let blocks = if runtime == Runtime::Vllm { 4 << 20 } else { 0 };
        assert!(difference.abs() <= blocks, "{runtime}: {difference} B");
    }
}
