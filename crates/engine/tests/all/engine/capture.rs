//! What a capture shows is what the pass computed, and it takes what the plan says.

use vramplan_engine::{Captured, Cpu, Engine, GgufSource, Observer, Settings, Source, Tokenizer};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::Component;
use vramplan_planner::spec::{Architecture, Capture, Logits, ModelShape};

use crate::decoder::{shape, source};
use crate::engine::settings;
use crate::smollm2;

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|n| (n * n + 3) % 47).collect()
}

fn engine(capture: Capture) -> Engine {
    let shape = ModelShape { n_layers: 3, ..shape(Architecture::Llama) };
    let mut model = source(shape, "f32", 3);
    let settings = Settings { recent_window: 8, ..settings(5, 20, 8, Logits::Last) };
    let table = settings.table_with_capture(model.spec(), capture).unwrap();
    let mut engine = Engine::load(Cpu, &mut model, &table).unwrap();
    engine.prefill_system(&tokens(5)).unwrap();
    engine.track_positions().unwrap();
    // Long enough for eviction.
    engine.prefill(&tokens(40)).unwrap();
    engine
}

fn wanted(tokens: u64, layers: u64, keep: bool) -> Capture {
    Capture { layers, tokens, attention: true, keep }
}

#[test]
fn captures_take_what_the_plan_lists() {
    for keep in [false, true] {
        let engine = engine(wanted(4, 2, keep));
        let held = |id: BufferId| {
            let of = |entry: &&vramplan_engine::Entry| {
                entry.component == Component::ActivationCapture && entry.id == id
            };
            engine.memory().entries.iter().find(of).unwrap().size.get()
        };
        let (layers, config) = (if keep { 2 } else { 1 }, engine.config());
        assert_eq!(held(BufferId::HiddenStates), layers * 4 * config.hidden as u64 * 4);
        assert_eq!(
            held(BufferId::AttentionWeights),
            layers * 4 * config.heads as u64 * (5 + 20) * 4
        );
    }
}

#[test]
fn a_chunk_shows_what_its_tokens_show_one_by_one() {
    let chunk = [7, 1, 30, 12];
    let mut together = engine(wanted(4, 3, true));
    let mut alone = engine(wanted(1, 3, false));
    let whole = together.capture(&chunk, &[0, 1, 2]).unwrap();
    assert_eq!((whole.first, whole.tokens, whole.columns), (45, 4, 25));
    // The first token of a chunk sees what the chunk has not evicted yet: compare by position where
    // both hold it, in the last token's step.
    let mut last = None;
    for token in chunk {
        last = Some(alone.capture(&[token], &[0, 2]).unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(last.first, 48);
    check(&whole);
    check(&last);
}

#[test]
fn without_eviction_chunks_and_single_tokens_attend_alike() {
    let load = |count| {
        let shape = ModelShape { n_layers: 2, ..shape(Architecture::Llama) };
        let mut model = source(shape, "f32", 9);
        let table = settings(3, 40, 8, Logits::Last);
        let table = table.table_with_capture(model.spec(), wanted(count, 2, false)).unwrap();
        let mut engine = Engine::load(Cpu, &mut model, &table).unwrap();
        engine.prefill_system(&tokens(3)).unwrap();
        engine.track_positions().unwrap();
        engine.prefill(&tokens(10)).unwrap();
        engine
    };
    let chunk = [5, 6, 7, 8];
    let whole = load(4).capture(&chunk, &[0, 1]).unwrap();
    let mut single = load(1);
    for (index, token) in chunk.into_iter().enumerate() {
        let one = single.capture(&[token], &[0, 1]).unwrap();
        for (whole, one) in whole.layers.iter().zip(&one.layers) {
            let width = one.hidden.len();
            near(&whole.hidden[index * width..][..width], &one.hidden);
            let heads = one.attention.chunks_exact(43);
            for (head, weights) in heads.enumerate() {
                near(&whole.attention[(head * 4 + index) * 43..][..43], weights);
            }
        }
    }
}

fn near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 2e-3 * a.abs().max(1.0), "{a} {b}");
    }
}

/// Probabilities of what is there and not later.
fn check(captured: &Captured) {
    for layer in &captured.layers {
        let kv_heads = layer.positions.len() / captured.columns;
        let query_heads = layer.attention.len() / (captured.tokens * captured.columns);
        for (row, weights) in layer.attention.chunks_exact(captured.columns).enumerate() {
            let (head, token) = (row / captured.tokens, row % captured.tokens);
            let kv_head = head / (query_heads / kv_heads);
            let positions = &layer.positions[kv_head * captured.columns..][..captured.columns];
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            for (&weight, &position) in weights.iter().zip(positions) {
                let seen = position >= 0 && position <= (captured.first + token) as i64;
                assert_eq!(weight > 0.0, seen, "{weight} at {position}");
            }
            let mut live: Vec<_> = positions.iter().filter(|&&position| position >= 0).collect();
            live.sort_unstable();
            live.dedup();
            assert_eq!(live.len(), captured.columns);
        }
    }
}

#[test]
fn hidden_states_are_those_that_an_observer_sees() {
    struct Last(Vec<f32>);
    impl Observer for Last {
        fn wants(&self, layer: usize) -> bool {
            layer == 1
        }
        fn hidden(&mut self, _: usize, _: usize, states: &[f32]) {
            self.0 = states.to_vec();
        }
    }
    let mut observer = Last(Vec::new());
    engine(wanted(3, 1, false)).prefill_observed(&[1, 2, 3], &mut observer).unwrap();
    let captured = engine(wanted(3, 1, false)).capture(&[1, 2, 3], &[1]).unwrap();
    assert_eq!(captured.layers[0].hidden, observer.0);
}

#[test]
fn captures_that_the_plan_has_no_room_for_are_refused() {
    let mut engine = engine(wanted(2, 1, false));
    let mut refused =
        |tokens: &[u32], layers: &[usize]| engine.capture(tokens, layers).unwrap_err().to_string();
    assert!(refused(&[1, 2, 3], &[0]).contains("at most 2"));
    assert!(refused(&[1], &[0, 1]).contains("at most 1 layers"));
    assert!(refused(&[1], &[3]).contains("in ascending order"));
    assert!(refused(&[], &[0]).contains("expected tokens"));
}

#[test]
fn a_dump_holds_the_same_numbers() {
    let captured = engine(wanted(2, 2, false)).capture(&[4, 5], &[0, 2]).unwrap();
    let bytes = captured.to_safetensors().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names().len(), 6);
    let hidden = file.tensor("layer.2.hidden").unwrap();
    assert_eq!(hidden.shape()[0], 2);
    let floats: Vec<f32> = hidden
        .data()
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(floats, captured.layers[1].hidden);
    assert_eq!(file.tensor("layer.0.attention").unwrap().shape()[1..], [2, 25]);
}

#[test]
fn a_real_model_attends_to_its_first_token() {
    let Some(path) = smollm2::gguf() else { return };
    let mut source = GgufSource::open(&path).unwrap();
    let tokenizer = Tokenizer::of_gguf(&source).unwrap();
    let text =
        tokenizer.encode("The quick brown fox jumps over the lazy dog. The quick brown").unwrap();
    let capture = Capture { layers: 30, tokens: 1, attention: true, keep: false };
    let table =
        settings(0, 64, 16, Logits::Last).table_with_capture(source.spec(), capture).unwrap();
    let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
    engine.track_positions().unwrap();
    let (before, last) = text.split_at(text.len() - 1);
    engine.prefill(before).unwrap();
    let captured = engine.capture(last, &(0..30).collect::<Vec<_>>()).unwrap();
    assert_eq!(tokenizer.decode(&[most_likely(&captured.logits)]).unwrap(), " fox");
    // The first token is a sink: above the lowest layers it draws most of the attention.
    let mass = |layer: usize| -> f32 {
        let layer = &captured.layers[layer];
        let first = layer.positions[..64].iter().position(|&position| position == 0).unwrap();
        layer.attention.chunks_exact(64).map(|weights| weights[first]).sum::<f32>() / 9.0
    };
    let middle: f32 = (10..20).map(mass).sum::<f32>() / 10.0;
    eprintln!("attention on the first token, layers 10 to 19: {middle}");
    assert!(middle > 0.3, "{middle}");
}

fn most_likely(logits: &[f32]) -> u32 {
    vramplan_engine::most_likely(logits).unwrap()
}
