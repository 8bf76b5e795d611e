//! How fast the engine decodes beside candle's stock `quantized_llama`, and loads beside a plain read.
//!
//! `cargo bench -p vramplan-beside-stock`, or for some numbers of cached tokens alone, `… -- 128 8192`.
//! Results and conditions are in `docs/benchmarks.md`. Both engines decode in turns in one process, so
//! that whatever else the machine does slows both.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "benchmark")]

#[path = "../../support/skip.rs"]
mod skip;
#[path = "../../support/smollm2.rs"]
mod smollm2;

use std::path::Path;
use std::time::{Duration, Instant};

use vramplan_beside_stock::Stock;
use vramplan_engine::{Cpu, Engine, GgufSource, Settings, Source as _};
use vramplan_planner::spec::Logits;

/// Decoded tokens of a round, and rounds.
const TOKENS: u32 = 8;
const ROUNDS: usize = 7;
const CHUNK: usize = 256;
/// Positions that candle's `quantized_llama` has angles for (`MAX_SEQ_LEN`).
const STOCK_POSITIONS: usize = 4096;

fn main() {
    // `cargo test --benches` runs this too.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let Some(path) = smollm2::gguf() else { return };
    let asked: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if asked.is_empty() {
        load(&path);
    }
    for &cached in if asked.is_empty() { &[128, 2048, 8192][..] } else { &asked } {
        decode(&path, cached);
    }
}

fn load(path: &Path) {
    let mut ratios = Vec::new();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let plain = time(|| drop(fs_err::read(path).unwrap()));
        let ours = time(|| drop(ours(path, 128)));
        let stock = time(|| drop(Stock::load(path).unwrap()));
        ratios.push(ours.as_secs_f64() / plain.as_secs_f64());
        times.push([plain, ours, stock]);
    }
    let [plain, ours, stock] = [0, 1, 2].map(|index| median(times.iter().map(|t| t[index])));
    println!("load: ours {ours:.1?}, plain read {plain:.1?}, stock {stock:.1?}");
    println!("load: {:.2} × a plain read (median of ratios)", middle(ratios));
}

fn decode(path: &Path, cached: usize) {
    let mut ours = ours(path, cached as u64 + 512);
    let mut stock = Stock::load(path).unwrap();
    for start in (0..cached).step_by(CHUNK) {
        let chunk: Vec<u32> = (start..start + CHUNK.min(cached)).map(token).collect();
        ours.prefill(&chunk).unwrap();
        fill(&mut stock, start, &chunk);
    }
    println!("behind {cached}: both caches are full");
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let of_ours = time(|| {
            for id in 0..TOKENS {
                ours.step(1000 + id).unwrap();
            }
        });
        let of_stock = time(|| {
            for id in 0..TOKENS {
                stock.step(&[1000 + id], position(cached)).unwrap();
            }
        });
        ratios.push(of_stock.as_secs_f64() / of_ours.as_secs_f64());
        times.push([of_ours, of_stock]);
    }
    let [a, b] = [0, 1].map(|index| median(times.iter().map(|t| t[index])) / TOKENS);
    let ratio = middle(ratios);
    println!("decode behind {cached}: ours {a:.1?}, stock {b:.1?} a token; {ratio:.2} × as fast");
}

/// The stock model's angles and masks end at 4096 positions, its cache does not: it takes later
/// tokens one at a time, half an hour of them up to 8192 on two cores.
fn fill(stock: &mut Stock, start: usize, chunk: &[u32]) {
    if start + chunk.len() <= STOCK_POSITIONS {
        stock.step(chunk, start).unwrap();
        return;
    }
    for &token in chunk {
        stock.step(&[token], position(start)).unwrap();
    }
}

/// Where a token is said to be. Past the last position that changes what the model says, not how
/// long it takes.
fn position(token: usize) -> usize {
    token.min(STOCK_POSITIONS - 1)
}

/// Some token for each position.
fn token(index: usize) -> u32 {
    u32::try_from(100 + index * 7919 % 40_000).unwrap()
}

fn ours(path: &Path, cache: u64) -> Engine {
    let mut source = GgufSource::open(path).unwrap();
    let settings = Settings {
        system_tokens: 0,
        max_cache_tokens: cache,
        recent_window: cache / 2,
        prefill_chunk: (CHUNK as u64).min(cache / 2),
        logits: Logits::Last,
    };
    let table = settings.table_with_context(source.spec(), 1 << 14).unwrap();
    Engine::load(Cpu, &mut source, &table).unwrap()
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times[times.len() / 2]
}

fn middle(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
