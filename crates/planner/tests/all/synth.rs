//! Synthetic files are the models that they are shaped after, as vramplan's own reader sees them.

use std::path::Path;

use vramplan_planner::dtype::{FileType, WeightFormat};
use vramplan_planner::estimate::runtimes::file_size;
use vramplan_planner::read::{Catalog, Kind, gguf};
use vramplan_planner::spec::{Architecture, ModelShape, ModelSpec, Runtime};
use vramplan_planner::synth::{SynthError, SynthModel};

fn catalog() -> Catalog {
    Catalog::built_in()
}

fn models() -> Vec<ModelSpec> {
    let catalog = catalog();
    let listed = catalog.list(Kind::Model).unwrap();
    listed.iter().map(|listing| catalog.model(&listing.name).unwrap()).collect()
}

/// The header of a synthetic file, with a hole for the weights, read back.
fn read_back(model: &ModelSpec, format: WeightFormat, folder: &Path) -> ModelSpec {
    let synthetic = SynthModel::new(model, format, 0).unwrap();
    let path = folder.join("m.gguf");
    let header = synthetic.header();
    fs_err::write(&path, &header).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(header.len() as u64 + synthetic.data_size().get()).unwrap();
    gguf::model(&vramplan_disk::Disk, &path).unwrap()
}

/// What a GGUF file can say about a shape: it calls Mistral a Llama, and llama.cpp's files state windows
/// of a few families only.
fn as_a_file_says(shape: &ModelShape) -> ModelShape {
    let mut shape = shape.clone();
    if shape.architecture == Architecture::Mistral {
        shape.architecture = Architecture::Llama;
    }
    if !matches!(
        shape.architecture,
        Architecture::Gemma2 | Architecture::Gemma3 | Architecture::GptOss | Architecture::Olmo2
    ) {
        shape.window = None;
    }
    // A vision tower is a file of its own.
    shape.vision = None;
    shape.parts.clear();
    shape
}

#[test]
fn every_model_is_read_back_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let format = WeightFormat::Gguf(FileType::Q4KM);
    for model in models().into_iter().filter(is_named) {
        let mut read = read_back(&model, format, folder.path());
        // Files say of the router what a shape leaves to its family.
        if let Some(moe) = &mut read.shape.moe {
            moe.router = None;
        }
        if read.shape.architecture == Architecture::Other {
            continue;
        }
        assert_eq!(read.shape, as_a_file_says(&model.shape), "{}", model.name);
        assert_eq!(read.unexplained_elements(), Some(0), "{}", model.name);
        let stored = read.stored.unwrap();
        assert_eq!(stored.label, "q4_k_m");
        let size = file_size(&model, format, Runtime::LlamaCpp).unwrap();
        assert_eq!(stored.size().unwrap(), size, "{}", model.name);
    }
}

/// Families whose tensors llama.cpp names in ways that are not known here.
fn is_named(model: &ModelSpec) -> bool {
    let synthetic = SynthModel::new(model, WeightFormat::Gguf(FileType::Q4KM), 0);
    !matches!(synthetic, Err(SynthError::Unnamed { .. }))
}

#[test]
fn other_families_are_refused_by_name() {
    use Architecture as A;
    let (mut refused, format) = (Vec::new(), WeightFormat::Gguf(FileType::Q4KM));
    for model in models().into_iter().filter(|model| !is_named(model)) {
        let error = SynthModel::new(&model, format, 0).unwrap_err().to_string();
        assert!(error.contains(&model.shape.architecture.to_string()), "{error}");
        refused.push(model.shape.architecture);
    }
    for family in [A::Gemma4, A::GraniteHybrid, A::Qwen2Vl, A::Qwen3Vl, A::Qwen3VlMoe] {
        assert!(refused.contains(&family), "{family}");
    }
}

#[test]
fn every_file_type_is_the_size_that_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let types = FileType::ALL.iter().map(|file_type| WeightFormat::Gguf(*file_type));
    let formats = types.chain([WeightFormat::Bf16, WeightFormat::F16, WeightFormat::F32]);
    let names = ["smollm2-135m", "qwen2.5-14b", "mixtral-8x7b", "deepseek-v2-lite", "gpt-oss-20b"];
    for format in formats {
        for name in names {
            let model = catalog().model(name).unwrap();
            let stored = read_back(&model, format, folder.path()).stored.unwrap();
            assert_eq!(stored.label, format.to_string());
            let size = file_size(&model, format, Runtime::LlamaCpp).unwrap();
            assert_eq!(stored.size().unwrap(), size, "{name} as {format}");
        }
    }
}
