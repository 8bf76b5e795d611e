//! How long planning takes: `cargo bench -p vramplan-planner`. Results and conditions are in `docs/benchmarks.md`.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::io::Write as _;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::Case;
use vramplan_planner::plan::{demand, plan};
use vramplan_planner::read::{Catalog, gguf};
use vramplan_planner::recommend::{Solver, answer, solve};
use vramplan_planner::render::{Document, to_json, to_table};
use vramplan_planner::spec::Runtime;

fn plans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(1));
    for runtime in Runtime::ALL {
        let case = Case::new("L4", "qwen2.5-14b", runtime).cache(7000);
        let solver = Solver::new(&case).unwrap();
        let scenario = solver.scenario(7000);
        group.bench_function(format!("full/{runtime}"), |bencher| {
            bencher.iter(|| plan(black_box(&scenario), case.capacity()).unwrap());
        });
        group.bench_function(format!("demand/{runtime}"), |bencher| {
            bencher.iter(|| demand(black_box(&scenario)).unwrap());
        });
        let open = Case::new("L4", "qwen2.5-14b", runtime);
        group.bench_function(format!("answer/{runtime}"), |bencher| {
            bencher.iter(|| answer(black_box(&open)).unwrap());
        });
    }
    group.finish();
}

/// A model that does not fit on two cards: which layers and experts go to main memory.
fn placement(criterion: &mut Criterion) {
    let question = "gpu = 'RTX 4090,RTX 3060'\nmodel = 'qwen3-235b-a22b'\nruntime = 'llama.cpp'\n\
                    ram = '192GiB'\ncache_tokens = 16384";
    let case = Case::asked(&toml::from_str(question).unwrap());
    criterion.bench_function("place/94 layers of experts, two cards", |bencher| {
        bencher.iter(|| solve(black_box(&case)).unwrap().unwrap());
    });
}

fn output(criterion: &mut Criterion) {
    let case = Case::new("L4", "qwen2.5-14b", Runtime::Vramplan);
    let document = Document::new(&case, &case.answer());
    criterion.bench_function("render/table", |b| b.iter(|| to_table(black_box(&document))));
    criterion.bench_function("render/json", |b| b.iter(|| to_json(black_box(&document)).unwrap()));
}

fn reading(criterion: &mut Criterion) {
    let catalog = Catalog::built_in();
    criterion.bench_function("read/profile", |bencher| {
        bencher.iter(|| catalog.model(black_box("Qwen/Qwen2.5-14B-Instruct")).unwrap());
    });
    let header = include_bytes!("../../../tests/fixtures/qwen2.5-14b-q4_k_m.header");
    let mut file = tempfile::NamedTempFile::with_suffix(".gguf").unwrap();
    file.write_all(header).unwrap();
    file.as_file().set_len(header.len() as u64 + 8_982_142_976).unwrap();
    criterion.bench_function("read/gguf header, 579 tensors", |bencher| {
        bencher.iter(|| gguf::model(&vramplan_disk::Disk, black_box(file.path())).unwrap());
    });
}

criterion_group!(benches, plans, placement, output, reading);
criterion_main!(benches);
