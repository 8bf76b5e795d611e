//! Resources that name a model themselves and leave the command to who deploys them: `KServe`'s, vLLM's production stack, `KubeAI`.

use super::container::{Container, image, of_text, words};
use crate::read::yaml::Yaml;

/// Where `KServe` lays the files of a model.
const MOUNTED: &str = "/mnt/models";

/// The variable in which `KServe`'s presets take further flags.
const MORE: &str = "VLLM_ADDITIONAL_ARGS";

/// The container that such a resource comes to; nothing where it is none.
pub(super) fn container(map: &Yaml) -> Option<Container> {
    let found = kserve(map).or_else(|| stack(map)).or_else(|| kubeai(map));
    found.map(Container::expanded)
}

/// A model's address without its scheme, where that is a repository's.
fn repository(address: &str) -> Option<&str> {
    address.strip_prefix("hf://").or_else(|| address.strip_prefix("huggingface://"))
}

/// `spec.predictor.model` of an `InferenceService`, whose server of Hugging Face's format hands flags on to vLLM
/// (`huggingfaceserver/__main__.py`).
fn kserve(map: &Yaml) -> Option<Container> {
    let format = map.at(&["modelFormat", "name"])?.text()?.to_ascii_lowercase();
    let runtime = map.get("runtime").and_then(Yaml::text).unwrap_or_default();
    let is_sglang = runtime.contains("sglang") || format.contains("sglang");
    let is_vllm = format == "huggingface" || format.contains("vllm") || runtime.contains("vllm");
    let described = Container::of(map, false).unwrap_or_default();
    let address = map.get("storageUri").and_then(Yaml::text).and_then(repository);
    let (program, flag): (&[&str], _) = if is_sglang {
        (&["sglang.launch_server"], "--model-path")
    } else if is_vllm {
        (&["vllm", "serve"], "--model")
    } else {
        return None;
    };
    let entry = if described.entry.is_empty() { owned(program) } else { described.entry.clone() };
    let mut arguments = of_kserve(&described.arguments, address.unwrap_or(MOUNTED));
    let is_named = arguments.iter().any(|word| word.starts_with(flag));
    if let Some(model) = address.filter(|_| !is_named) {
        arguments.splice(0..0, owned(&[flag, model]));
    }
    Some(Container { entry, arguments, ..described })
}

/// Arguments of `KServe`'s server in vLLM's words; what it mounts is the model at `address`.
fn of_kserve(arguments: &[String], address: &str) -> Vec<String> {
    let mut meant = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (flag, value) =
            word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
        let flag = flag.replace('_', "-");
        let flag = match flag.as_str() {
            "--model-id" | "--model-dir" => "--model".to_owned(),
            "--max-length" => "--max-model-len".to_owned(),
            "--model-name" => "--served-model-name".to_owned(),
            "--model-revision" => "--revision".to_owned(),
            // vLLM is what it takes where it can.
            "--backend" | "--task" => {
                if value.is_none() {
                    words.next();
                }
                continue;
            }
            _ if flag.starts_with("--") => flag,
            _ => word.clone(),
        };
        meant.push(flag);
        meant.extend(value.map(str::to_owned));
    }
    for word in &mut meant {
        if word.starts_with(MOUNTED) {
            address.clone_into(word);
        }
    }
    meant
}

/// The flags that a preset of `KServe`'s hands over to vLLM, and the model that its resource names: `spec.model.uri` of an
/// `LLMInferenceService`.
pub(super) fn preset(container: &Container, model: Option<&str>) -> Option<Container> {
    let more = container.variable(MORE);
    if !container.entry.is_empty() || (more.is_none() && model.is_none()) {
        return None;
    }
    let mut arguments = owned(&["serve"]);
    arguments.extend(model.map(|address| repository(address).unwrap_or(address).to_owned()));
    arguments.extend(container.arguments.iter().cloned());
    arguments.extend(more.map(of_text).unwrap_or_default());
    let mut variables = container.variables.clone();
    variables.retain(|(name, _)| name != MORE);
    Some(Container { entry: owned(&["vllm"]), arguments, variables, ..container.clone() })
}

/// An entry of `servingEngineSpec.modelSpec` in the values of vLLM's production stack (`deployment-vllm-multi.yaml`).
fn stack(map: &Yaml) -> Option<Container> {
    const FLAGS: [(&str, &str); 6] = [
        ("maxModelLen", "--max-model-len"),
        ("dtype", "--dtype"),
        ("tensorParallelSize", "--tensor-parallel-size"),
        ("maxNumSeqs", "--max-num-seqs"),
        ("gpuMemoryUtilization", "--gpu-memory-utilization"),
        ("maxLoras", "--max-loras"),
    ];
    const TRUE: Option<&str> = Some("true");
    let model = map.get("modelURL")?.text()?;
    let mut arguments = owned(&["serve", model]);
    if map.get("enableLoRA").and_then(Yaml::text) == TRUE {
        arguments.extend(owned(&["--enable-lora"]));
    }
    if let Some(settings) = map.get("vllmConfig") {
        let is_shared = settings.get("enablePrefixCaching").and_then(Yaml::text) == TRUE;
        let prefixes =
            if is_shared { "--enable-prefix-caching" } else { "--no-enable-prefix-caching" };
        arguments.extend(owned(&[prefixes]));
        for (key, flag) in FLAGS {
            if let Some(value) = settings.get(key).and_then(Yaml::text) {
                arguments.extend(owned(&[flag, value]));
            }
        }
        arguments.extend(settings.get("extraArgs").map(words).unwrap_or_default());
    }
    let image = image(Some(map));
    Some(Container { image, entry: owned(&["vllm"]), arguments, variables: Vec::new() })
}

/// `spec` of a `Model` of `KubeAI`'s: an address, an engine, and flags for that.
fn kubeai(map: &Yaml) -> Option<Container> {
    let (address, engine) = (map.get("url")?.text()?, map.get("engine")?.text()?);
    let described = Container::of(map, false).unwrap_or_default();
    let (entry, model) = match engine {
        "VLLM" => (owned(&["vllm", "serve"]), repository(address)?),
        "OLlama" => (owned(&["ollama", "run"]), address.strip_prefix("ollama://")?),
        _ => return None,
    };
    let model = model.split('?').next().unwrap_or(model);
    let mut arguments = owned(&[model]);
    arguments.extend(described.arguments.iter().cloned());
    Some(Container { entry, arguments, ..described })
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
