//! What is committed of the kernels belongs to their sources. `scripts/build-kernels --check` compiles them
//! again; this needs no compiler.

use std::path::{Path, PathBuf};

use vramplan_engine::launch::{Gpu, ops};

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels")
}

fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_wanted = |path: &PathBuf| {
        path.extension().and_then(|ending| ending.to_str()).is_some_and(|e| endings.contains(&e))
    };
    let mut files: Vec<_> = entries.filter(is_wanted).collect();
    files.sort();
    files
}

#[test]
fn ptx_is_of_these_sources() {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for path in files(&kernels(), &["cu", "cuh"]) {
        let name = path.file_name().unwrap().to_str().unwrap().as_bytes();
        for byte in [name, &[0], &fs_err::read(&path).unwrap()].concat() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
    let recorded = fs_err::read_to_string(kernels().join("sources.fnv")).unwrap();
    let hint = "run `scripts/build-kernels` and commit what it writes";
    assert_eq!(recorded.trim(), format!("{hash:016x}"), "the kernels have changed: {hint}");
}

#[test]
fn every_kernel_has_ptx_and_figures() {
    let table = fs_err::read_to_string(kernels().join("resources.csv")).unwrap();
    let newest = Gpu { multiprocessors: 1, capability: (9, 0) };
    let built = ops(128, newest);
    for path in files(&kernels(), &["cu"]) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(built.iter().any(|op| op.name == stem), "{stem} has no PTX");
        for gpu in ["sm_80", "sm_89", "sm_90"] {
            let row = |line: &str| line.starts_with(&format!("{stem},")) && line.contains(gpu);
            assert!(table.lines().any(row), "{stem} was not measured for {gpu}");
        }
    }
}
