//! Every embedded profile is usable, and every fact in it holds together.

use std::collections::BTreeSet;

use vramplan_planner::read::{self, Catalog, Kind};
use vramplan_planner::spec::{Architecture, Basis, Ecc, Runtime};
use vramplan_planner::units::Bytes;

fn catalog() -> Catalog {
    Catalog::built_in()
}

#[test]
fn every_model_has_its_published_parameter_count() {
    let catalog = catalog();
    let (mut checked, mut towers, mut families) = (0, 0, BTreeSet::new());
    for listing in catalog.list(Kind::Model).unwrap() {
        let model = catalog.model(&listing.name).unwrap();
        families.insert(model.shape.architecture);
        assert!(!model.source.is_empty(), "{} names no source", model.name);
        if let Some(published) = &model.published_parameters {
            assert_eq!(model.parameters(), published.value, "{}", model.name);
            checked += 1;
        }
        if let Some(published) = &model.published_total {
            let total = model.parameters() + model.vision_parameters();
            assert_eq!(total, published.value, "{} with its tower", model.name);
            towers += 1;
        }
    }
    assert!(towers >= 10, "only {towers} towers");
    assert!(checked >= 40, "only {checked} models state a published count");
    assert!(families.len() >= 10, "only {families:?}");
}

#[test]
fn every_gpu_is_possible() {
    let catalog = catalog();
    let gpus = catalog.list(Kind::Gpu).unwrap();
    assert!(gpus.len() >= 35, "{} GPUs", gpus.len());
    for listing in gpus {
        let gpu = catalog.gpu(&listing.name).unwrap();
        let name = &gpu.name;
        let total = gpu.total.value;
        assert!(total > Bytes::GIB && total < Bytes::GIB.times(512).unwrap(), "{name}: {total}");
        // No driver was seen to keep more than a fifteenth; where the machine shares the memory its system has more.
        let is_shared =
            name == "GB10" || ["Strix Halo", "Jetson"].iter().any(|of| name.starts_with(of));
        assert!(
            is_shared || gpu.reserved.value.times(15).unwrap() < total,
            "{name}: {}",
            gpu.reserved.value
        );
        let bandwidth = gpu.bandwidth.value.as_f64() / 1e9;
        assert!((100.0..20_000.0).contains(&bandwidth), "{name}: {bandwidth} GB/s");
        assert!((5..=20).contains(&gpu.compute_capability.major), "{name}");
        assert!((1..=320).contains(&gpu.sm_count.value), "{name}");
        let context = gpu.context().value;
        assert!(context.low <= context.expected && context.expected <= context.high, "{name}");
        for source in [&gpu.total.source, &gpu.reserved.source, &gpu.bandwidth.source] {
            assert!(!source.is_empty(), "{name} lacks a source");
        }
    }
}

#[test]
fn in_band_ecc_costs_a_sixteenth() {
    let catalog = catalog();
    for (name, without) in [("L4", 24_570), ("T4", 16_384), ("L40S", 49_140)] {
        let gpu = catalog.gpu(name).unwrap();
        assert_eq!(gpu.ecc, Ecc::InbandOn, "{name}");
        let expected = Bytes::mib(without).unwrap().scale(15, 16).unwrap();
        let off = gpu.total.value.diff(expected).unsigned_abs();
        assert!(off <= 1 << 20, "{name}: {off} B off");
    }
}

#[test]
fn nvml_names_find_their_card() {
    let catalog = catalog();
    for (nvml, name) in [
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("nvidia l40s", "L40S"),
        ("rtx4090", "RTX 4090"),
        ("a100 80gb", "A100-80GB"),
    ] {
        assert_eq!(catalog.gpu(nvml).unwrap().name, name, "{nvml}");
    }
}

#[test]
fn hub_names_find_their_model() {
    let catalog = catalog();
    for (hub, name) in [
        ("Qwen/Qwen2.5-14B-Instruct", "qwen2.5-14b"),
        ("Qwen2.5-14B", "qwen2.5-14b"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct", "qwen2.5-coder-32b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3"),
        ("google/gemma-2-9b-it", "gemma-2-9b"),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
    ] {
        assert_eq!(catalog.model(hub).unwrap().name, name, "{hub}");
    }
}

/// Popular names, and the profile that each finds (`evidence/models`): those without one are the list of what is missing.
#[test]
fn popular_names_find_their_model() {
    let catalog = catalog();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../evidence/models/popular.csv");
    let text = fs_err::read_to_string(path).unwrap();
    let (mut found, mut all) = (0, 0);
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let model = catalog.model(fields[0]);
        let name = model.as_ref().map_or("", |model| model.name.as_str());
        assert_eq!(name, fields[2], "{}", fields[0]);
        all += 1;
        found += usize::from(!name.is_empty());
    }
    assert!(all >= 800 && found * 10 >= all * 7, "{found} of {all}");
    assert!(catalog.list(Kind::Model).unwrap().len() >= 500);
}

#[test]
fn every_runtime_states_what_its_constants_rest_on() {
    let catalog = catalog();
    for runtime in Runtime::ALL {
        let spec = catalog.runtime(runtime).unwrap();
        assert_eq!(spec.kind(), runtime);
        assert!(!spec.version.is_empty());
        let libraries = &spec.libraries;
        assert!(libraries.value.low <= libraries.value.high);
        assert_ne!(libraries.basis, Basis::Exact, "nobody has read it from a file");
    }
}

#[test]
fn every_family_has_a_model_or_a_configuration() {
    let catalog = catalog();
    let listings = catalog.list(Kind::Model).unwrap();
    let family = |name: &str| catalog.model(name).unwrap().shape.architecture;
    let mut have: BTreeSet<_> = listings.iter().map(|listing| family(&listing.name)).collect();
    for folder in ["configs", "defaults", "variations"] {
        let folder =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../evidence/families/").to_owned() + folder;
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let model = read::model(&vramplan_disk::Disk, path.to_str().unwrap(), &catalog);
            have.insert(model.unwrap().shape.architecture);
        }
    }
    // What stands for families that are not known has no model of its own.
    have.extend([Architecture::LikeLlama, Architecture::Other]);
    let missing: Vec<_> = Architecture::ALL.iter().filter(|f| !have.contains(f)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
