//! The engine says what candle's stock model says.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]
#![allow(clippy::cast_precision_loss, reason = "counts of tokens")]

#[path = "../../support/logits.rs"]
mod logits;
#[path = "../../support/skip.rs"]
mod skip;
#[path = "../../support/smollm2.rs"]
mod smollm2;

use vramplan_beside_stock::Stock;
use vramplan_engine::{Cpu, Engine, GgufSource, Settings, Source as _, Tokenizer, most_likely};
use vramplan_planner::spec::Logits;

use crate::logits::divergence;

/// Where nothing is evicted, only int8 keys and values tell the engine from candle's stock model.
#[test]
fn it_says_what_stock_candle_says() {
    const BEFORE: usize = 64;
    const SCORED: usize = 96;
    let Some(path) = smollm2::gguf() else { return };
    let mut source = GgufSource::open(&path).unwrap();
    let tokenizer = Tokenizer::of_gguf(&source).unwrap();
    let mut ids = tokenizer.encode(include_str!("../../../LICENSE-APACHE")).unwrap();
    ids.truncate(BEFORE + SCORED);
    let settings = Settings {
        system_tokens: 0,
        max_cache_tokens: 512,
        recent_window: 256,
        prefill_chunk: 64,
        logits: Logits::All,
    };
    let table = settings.table(source.spec()).unwrap();
    let mut ours = Engine::load(Cpu, &mut source, &table).unwrap();
    let mut stock = Stock::load(&path).unwrap();
    stock.step(&ids[..BEFORE], 0).unwrap();
    ours.prefill(&ids[..BEFORE]).unwrap();
    let (mut agreed, mut kl) = (0, 0.0);
    ours.score(&ids[BEFORE..], |index, found| {
        let at = BEFORE + index;
        let expected: Vec<f32> = stock.step(&ids[at..=at], at).unwrap().to_vec1().unwrap();
        agreed += usize::from(most_likely(&expected) == most_likely(found));
        kl += divergence(&expected, found) / SCORED as f64;
    })
    .unwrap();
    let agreed = agreed as f64 / SCORED as f64;
    eprintln!("stock candle: {agreed:.3} of {SCORED} tokens agree, mean KL {kl:.5}");
    // Measured: 0.938 and 0.0101.
    assert!(agreed > 0.9 && kl < 0.02, "{agreed} {kl}");
}
