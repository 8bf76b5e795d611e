//! Published `config.json` files, and those of the classes' own defaults, read: beside what the classes of transformers
//! make of them (`evidence/families`).

use std::path::{Path, PathBuf};

use crate::support::Case;
use vramplan_disk::Disk;
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::estimate::{Component, weights_of};
use vramplan_planner::read::{Catalog, MemoryFiles, model};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{ModelSpec, OwnFormat, Runtime};
use vramplan_planner::units::Bytes;

fn evidence() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../evidence/families")
}

fn read(path: &Path) -> ModelSpec {
    let found = model(&Disk, path.to_str().unwrap(), &Catalog::built_in());
    found.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Elements of a class: parameters, buffers that a checkpoint holds, and the tower.
struct Row {
    name: String,
    text: u64,
    buffers: u64,
    tower: u64,
}

fn rows(file: &str) -> Vec<Row> {
    let text = fs_err::read_to_string(evidence().join(file)).unwrap();
    let row = |line: &str| {
        let fields: Vec<_> = line.split(',').collect();
        let number = |index: usize| fields[index].parse().unwrap();
        Row { name: fields[0].to_owned(), text: number(2), buffers: number(3), tower: number(4) }
    };
    text.lines().skip(1).map(row).collect()
}

/// Whether a file describes a tower or an encoder.
fn has_tower(path: &Path) -> bool {
    let text = fs_err::read_to_string(path).unwrap();
    text.contains("\"vision_config\": {") || text.contains("\"audio_config\": {")
}

/// Compares a folder of configurations with what their classes are.
fn compare(folder: &str, csv: &str) {
    let rows = rows(csv);
    assert!(rows.len() >= 30, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let path = evidence().join(folder).join(format!("{}.json", row.name));
        let model = match model(&Disk, path.to_str().unwrap(), &Catalog::built_in()) {
            Ok(model) => model,
            Err(error) => {
                wrong.push(format!("{}: {error}", row.name));
                continue;
            }
        };
        let (own, class) = (model.parameters(), row.text + row.buffers);
        if own != class {
            wrong.push(format!(
                "{}: {own} here, {class} there: {}",
                row.name,
                i128::from(own) - i128::from(class)
            ));
        }
        let tower = model.vision_parameters();
        let is_uncounted = model.remarks.iter().any(|remark| remark.contains("not counted"));
        // A class with a tower stands for language models that only it holds.
        let is_inside = row.name.ends_with("_text") || !has_tower(&path);
        if tower != row.tower && !is_uncounted && !is_inside {
            wrong.push(format!("{}: tower of {tower} here, {} there", row.name, row.tower));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn published_configurations_have_the_elements_of_their_classes() {
    compare("configs", "configs.csv");
}

#[test]
fn defaults_have_the_elements_of_their_classes() {
    compare("defaults", "defaults.csv");
}

#[test]
fn variations_have_the_elements_of_their_classes() {
    compare("variations", "variations.csv");
}

/// transformers writes of a nested configuration what differs from its class, so that one may say nothing but which class
/// it is of.
#[test]
fn a_nested_language_model_is_completed_by_its_class() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for row in rows("defaults.csv") {
        let path = evidence().join("defaults").join(format!("{}.json", row.name));
        if has_tower(&path) {
            continue;
        }
        let text = format!(
            r#"{{"model_type": "llava", "text_config": {{"model_type": "{}"}},
                "tie_word_embeddings": {}}}"#,
            row.name,
            read(&path).shape.tied_embeddings,
        );
        let files = MemoryFiles::from([(PathBuf::from("m/config.json"), text.into_bytes())]);
        let Ok(nested) = model(&files, "m/config.json", &Catalog::built_in()) else { continue };
        compared += 1;
        if nested.parameters() != row.text + row.buffers {
            wrong.push(format!("{}: {}", row.name, nested.parameters()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 80, "{compared}");
}

/// Families that transformers has no class for, or none that its defaults build: counts as they are published.
#[test]
fn configurations_of_older_families_have_their_published_elements() {
    for (name, published) in [
        ("baichuan", 7_505_973_248),
        ("chatglm", 6_243_584_000),
        ("dbrx", 131_596_523_520),
        ("deepseek", 16_375_728_128),
        ("ministral", 8_019_808_256),
        ("qwen", 7_721_324_544),
    ] {
        let model = read(&evidence().join("variations").join(format!("{name}.json")));
        assert_eq!(model.parameters(), published, "{name}");
    }
}

/// Language model and tower together, as the repositories' files hold them.
#[test]
fn published_files_have_the_elements_of_their_repositories() {
    let text = fs_err::read_to_string(evidence().join("published.csv")).unwrap();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let model = read(&evidence().join("published").join(format!("{}.json", fields[0])));
        let elements = model.parameters() + model.vision_parameters();
        assert_eq!(elements.to_string(), fields[2], "{line}");
    }
    // google/gemma-4-E4B-it, whose files hold keys and values of layers that read those of others, too.
    let model = read(&evidence().join("published/gemma-4-e4b.json"));
    let unread = 15 * (2 * 2560 * 512 + 256) + 3 * (2 * 2560 * 1024 + 512);
    assert_eq!(model.parameters() + model.vision_parameters() + unread, 7_996_156_490);
    // 8352 of some 2.8 trillion are not known.
    let model = read(&evidence().join("configs/moonshotai__Kimi-K3.json"));
    let elements = model.parameters() + model.vision_parameters();
    assert!(2_779_931_837_184 - elements < 10_000, "{elements}");
}

#[test]
fn every_configuration_is_read_in_its_own_format() {
    let mut quantized = 0;
    for entry in fs_err::read_dir(evidence().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs_err::read_to_string(&path).unwrap();
        let model = read(&path);
        let listed = matches!(&model.own_format, Some(OwnFormat::Listed(_)));
        assert_eq!(listed, text.contains("\"quantization_config\""), "{}", model.name);
        quantized += usize::from(listed);
        let is_compressed = model.shape.extras.compressed.is_some();
        if is_compressed {
            let case = |runtime| Case::new("H200", "qwen2.5-14b", runtime).of(model.clone());
            let refused = answer(&case(Runtime::Transformers)).unwrap_err().to_string();
            assert!(refused.contains("compressed keys is not modelled"), "{refused}");
            let refused = answer(&case(Runtime::Sglang)).unwrap_err().to_string();
            assert!(refused.contains("SGLang's compressed keys are planned in `fp8`"), "{refused}");
            assert!(answer(&case(Runtime::Sglang).kv("fp8")).is_ok(), "{}", model.name);
        }
        let case = Case::new("H200", "qwen2.5-14b", Runtime::Vllm).of(model);
        if listed {
            let weights = Case(case.0.clone()).cache(16);
            let weights = if is_compressed { weights.kv("fp8") } else { weights };
            let mut weights = weights;
            weights.0.weights = WeightFormat::AsStored;
            let listed = weights.buffers();
            let size = listed.iter().filter(|buffer| buffer.component == Component::Weights);
            let bytes = Bytes::sum(size.map(|buffer| buffer.size.expected)).unwrap();
            let parameters = weights.model.parameters() + weights.model.vision_parameters();
            let bits = bytes.scale(8, parameters).unwrap().get();
            // From MXFP4's experts to blocks of 8-bit floats beside 16-bit latents that are kept twice.
            assert!((4..=11).contains(&bits), "{}: {bits} bits", weights.model.name);
        }
    }
    assert!(quantized >= 20, "{quantized}");
}

/// Families whose caches are keys and values, latent vectors and keys of indexers alone.
const CACHED: [&str; 16] = [
    "apertus",
    "arcee",
    "deepseek_v2",
    "dots1",
    "ernie4_5_moe",
    "falcon_rw",
    "glm4_moe",
    "glm_moe_dsa",
    "granitemoeshared",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "internvl",
    "minicpm3",
    "minimax_m3_vl_text",
    "nemotron",
    "sarvam_mla",
];

#[test]
fn caches_hold_what_those_of_the_classes_hold() {
    let text = fs_err::read_to_string(evidence().join("cache.csv")).unwrap();
    let mut compared = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        if !CACHED.contains(&fields[0]) {
            continue;
        }
        let path = evidence().join("variations").join(format!("{}.json", fields[0]));
        let tokens = fields[1].parse().unwrap();
        let case = Case::new("H200", "qwen2.5-14b", Runtime::Transformers);
        let case = case.of(read(&path)).weights("bf16").kv("bf16").pinned(0).cache(tokens);
        let listed = case.buffers();
        let cache = listed.iter().filter(|buffer| buffer.component == Component::ConversationCache);
        let ours = Bytes::sum(cache.map(|buffer| buffer.size.expected)).unwrap();
        assert_eq!(ours, Bytes::new(fields[2].parse().unwrap()), "{line}");
        compared += 1;
    }
    assert_eq!(compared, CACHED.len());
}

/// Values that a key of a damaged file may have.
fn damaged() -> Vec<serde_json::Value> {
    use serde_json::json;
    vec![
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(3),
        json!(1u64 << 40),
        json!(u64::MAX),
        json!(0.5),
        json!("7"),
        json!("text"),
        json!(true),
        json!([]),
        json!([1, 2]),
        json!({}),
    ]
}

/// The same with one key less, or with another value for it: of the file's own keys, and of those of its parts.
fn changed(whole: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    let mut paths: Vec<Vec<String>> = Vec::new();
    let keys = |value: &serde_json::Value| {
        value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>())
    };
    for key in keys(whole).unwrap_or_default() {
        for inner in keys(&whole[&key]).unwrap_or_default() {
            paths.push(vec![key.clone(), inner]);
        }
        paths.push(vec![key]);
    }
    for path in paths {
        for value in damaged().into_iter().map(Some).chain([None]) {
            let mut copy = whole.clone();
            let (last, outer) = path.split_last().unwrap();
            let place = outer.iter().fold(&mut copy, |place, key| &mut place[key]);
            let place = place.as_object_mut().unwrap();
            match value {
                Some(value) => drop(place.insert(last.clone(), value)),
                None => drop(place.remove(last)),
            }
            found.push(copy);
        }
    }
    found
}

/// A file of which one key is damaged is read or refused, and what is read can be sized.
#[test]
fn damaged_configurations_are_read_or_refused() {
    let base = Case::new("H200", "qwen2.5-14b", Runtime::Transformers).weights("bf16");
    let (mut read, mut refused) = (0, 0);
    for entry in fs_err::read_dir(evidence().join("published")).unwrap() {
        let path = entry.unwrap().path();
        let whole = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
        for copy in changed(&whole) {
            let files = [(PathBuf::from("m/config.json"), copy.to_string().into_bytes())];
            match model(&MemoryFiles::from(files), "m/config.json", &Catalog::built_in()) {
                Ok(model) => {
                    read += 1;
                    // What it states may be more than can be sized, which is said and nothing else.
                    drop(weights_of(&model, base.weights, &base.runtime));
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().starts_with("`m/config.json`: "), "{error}");
                }
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
