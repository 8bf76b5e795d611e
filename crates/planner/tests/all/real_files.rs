//! Files as others made them: a published GGUF, a published `config.json`, a header written by the
//! Python `gguf` package.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::smollm2;
use crate::support::Case;
use vramplan_disk::Disk;
use vramplan_planner::estimate::Component;
use vramplan_planner::read::{Catalog, gguf, model};
use vramplan_planner::spec::{ModelSpec, Runtime};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn planned(model: ModelSpec, runtime: Runtime) -> vramplan_planner::plan::Plan {
    let mut case = Case::new("L4", "qwen2.5-14b", runtime);
    case.workload.context = model.shape.context_len;
    case.workload.system_tokens = 500;
    let weights = if model.stored.is_some() { "as-stored" } else { "q4_k_m" };
    case.of(model).weights(weights).cache(1000).answer().plan
}

#[test]
fn the_published_smollm2_is_read_to_the_byte() {
    let Some(path) = smollm2::gguf() else { return };
    let model = gguf::model(&Disk, &path).unwrap();
    let profile = Catalog::built_in().model("smollm2-135m").unwrap();
    assert_eq!(model.shape, profile.shape);
    assert_eq!(model.unexplained_elements(), Some(0));
    assert_eq!(model.parameters(), 134_515_008);
    let stored = model.stored.as_ref().unwrap();
    assert_eq!((stored.tensors.len(), stored.label.as_str()), (272, "q4_1"));
    // 210 tensors in Q4_1, the embedding in Q8_0, 61 norms in f32
    let blocks = profile.parameters() - 49_152 * 576 - 61 * 576;
    let expected = blocks / 32 * 20 + 49_152 * 576 / 32 * 34 + 61 * 576 * 4;
    assert_eq!(stored.size().unwrap().get(), expected);
    let plan = planned(model, Runtime::Vramplan);
    assert_eq!(plan.component(Component::Weights).unwrap().at_peak.expected.get(), expected);
}

#[test]
fn a_published_config_is_the_model_of_that_name() {
    let catalog = Catalog::built_in();
    let path = fixture("qwen2.5-14b-config.json");
    let read = model(&Disk, path.to_str().unwrap(), &catalog).unwrap();
    assert_eq!(read.shape, catalog.model("qwen2.5-14b").unwrap().shape);
    assert_eq!(read.name, "qwen2.5-14b-config");
}

/// The header of a file of Qwen2.5-14B in `Q4_K_M` as the Python `gguf` package writes it
/// (`tests/fixtures/write_gguf_header.py`), as long as the real file: its tensors are a hole.
fn python_gguf(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("qwen2.5-14b-q4_k_m.gguf");
    let header = fs_err::read(fixture("qwen2.5-14b-q4_k_m.header")).unwrap();
    let mut file = fs_err::File::create(&path).unwrap();
    file.write_all(&header).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.set_len(header.len() as u64 + QWEN_14B_Q4_K_M).unwrap();
    path
}

/// Tensor bytes of Qwen2.5-14B in `Q4_K_M`, by llama.cpp's own quantizer.
const QWEN_14B_Q4_K_M: u64 = 8_982_142_976;

#[test]
fn a_header_by_the_python_package_is_read_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let model = gguf::model(&Disk, &python_gguf(folder.path())).unwrap();
    let profile = Catalog::built_in().model("qwen2.5-14b").unwrap();
    assert_eq!(model.shape, profile.shape);
    let plan = planned(model, Runtime::Vramplan);
    let weights = plan.component(Component::Weights).unwrap();
    assert_eq!(weights.at_peak.expected.get(), QWEN_14B_Q4_K_M);
}

#[test]
fn a_file_can_be_planned_in_another_format() {
    let folder = tempfile::tempdir().unwrap();
    let model = gguf::model(&Disk, &python_gguf(folder.path())).unwrap();
    let case = Case::new("L4", "qwen2.5-14b", Runtime::Vramplan);
    let case = case.of(model).weights("as-stored").cache(1000);
    let plan = case.weights("q8_0").answer().plan;
    let weights = plan.component(Component::Weights).unwrap();
    assert_eq!(weights.at_peak.expected.get(), 15_695_630_336);
}
