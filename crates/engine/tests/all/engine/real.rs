//! `SmolLM2-135M-Instruct`: sensible answers, and what int8 and eviction cost.

use std::ops::ControlFlow;
use std::path::Path;

use vramplan_engine::{
    ChatTemplate, Cpu, Engine, Generation, GgufSource, Sampling, Settings, Source, Tokenizer,
    most_likely,
};
use vramplan_planner::spec::Logits;

use crate::engine::settings;
use crate::logits::{divergence, log_probability};
use crate::smollm2;

#[test]
fn it_knows_the_capital_of_france() {
    let Some(path) = smollm2::gguf() else { return };
    let mut source = GgufSource::open(&path).unwrap();
    let tokenizer = Tokenizer::of_gguf(&source).unwrap();
    let table = settings(64, 512, 64, Logits::Last).table(source.spec()).unwrap();
    let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
    let template = ChatTemplate::of(&tokenizer).unwrap().unwrap();
    let [system, turn] = template
        .system_and_turn("You are a helpful AI assistant.", "What is the capital of France?")
        .unwrap();
    engine.prefill_system(&tokenizer.encode(&system).unwrap()).unwrap();
    let mut answer = Vec::new();
    let generation = Generation { max_tokens: 16, sampling: Sampling::GREEDY };
    let prompt = tokenizer.encode(&turn).unwrap();
    engine
        .generate(
            &prompt,
            generation,
            |token| tokenizer.is_stop(token),
            |token| {
                answer.push(token);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    let answer = tokenizer.decode(&answer).unwrap();
    eprintln!("{system:?} {turn:?} {prompt:?} {answer:?}");
    assert!(answer.contains("Paris"), "{answer}");
}

/// A text that does not change: 2,100 tokens of it.
const TEXT: &str = include_str!("../../../../../LICENSE-APACHE");

fn ids(tokenizer: &Tokenizer, most: usize) -> Vec<u32> {
    let mut ids = tokenizer.encode(TEXT).unwrap();
    ids.truncate(most);
    ids
}

fn engine(path: &Path, settings: Settings) -> Engine {
    let mut source = GgufSource::open(path).unwrap();
    let table = settings.table(source.spec()).unwrap();
    Engine::load(Cpu, &mut source, &table).unwrap()
}

/// What a cache that evicts costs, beside one that holds everything.
struct Loss {
    perplexity: f64,
    /// Over the last quarter alone, where most was evicted.
    late: f64,
    kl: f64,
    same_top: f64,
}

/// Scores the text with a full cache and with one of `slots` slots for each recent window.
fn losses(path: &Path, tokens: usize, slots: u64, windows: &[u64]) -> (Loss, Vec<Loss>) {
    const CHUNK: usize = 64;
    const EVERY: usize = 4;
    let tokenizer = Tokenizer::of_gguf(&GgufSource::open(path).unwrap()).unwrap();
    let ids = ids(&tokenizer, tokens);
    let chunk = CHUNK as u64;
    let mut full = engine(path, settings(0, ids.len() as u64 + 8, chunk, Logits::All));
    let evicting = |&window: &u64| {
        let settings = settings(0, slots, chunk, Logits::All);
        (engine(path, Settings { recent_window: window, ..settings }), Tally::default())
    };
    let mut others: Vec<_> = windows.iter().map(evicting).collect();
    let mut reference = Tally::default();
    for (index, chunk) in ids.chunks(CHUNK).enumerate() {
        let first = index * CHUNK;
        let target = |row: usize| ids.get(first + row + 1).copied();
        let is_late = first >= ids.len() * 3 / 4;
        let mut expected = Vec::new();
        full.score(chunk, |row, logits| {
            reference.count(logits, target(row), is_late, None);
            expected.push(if row % EVERY == 0 { logits.to_vec() } else { Vec::new() });
        })
        .unwrap();
        for (engine, tally) in &mut others {
            engine
                .score(chunk, |row, logits| {
                    let beside = (row % EVERY == 0).then_some(&expected[row][..]);
                    tally.count(logits, target(row), is_late, beside);
                })
                .unwrap();
        }
    }
    (reference.loss(), others.iter().map(|(_, tally)| tally.loss()).collect())
}

#[derive(Default)]
struct Tally {
    surprise: [f64; 2],
    tokens: [f64; 2],
    kl: f64,
    same: f64,
    compared: f64,
}

impl Tally {
    fn count(&mut self, logits: &[f32], target: Option<u32>, late: bool, beside: Option<&[f32]>) {
        if let Some(target) = target {
            self.surprise[usize::from(late)] -= log_probability(logits, target);
            self.tokens[usize::from(late)] += 1.0;
        }
        if let Some(expected) = beside {
            self.kl += divergence(expected, logits);
            self.same += f64::from(most_likely(expected) == most_likely(logits));
            self.compared += 1.0;
        }
    }

    fn loss(&self) -> Loss {
        let ([early, late], [before, after]) = (self.surprise, self.tokens);
        Loss {
            perplexity: ((early + late) / (before + after)).exp(),
            late: (late / after).exp(),
            kl: self.kl / self.compared,
            same_top: self.same / self.compared,
        }
    }
}

#[test]
fn it_stays_coherent_while_it_forgets() {
    let Some(path) = smollm2::gguf() else { return };
    let (full, evicted) = losses(&path, 2048, 512, &[256]);
    let evicted = &evicted[0];
    eprintln!(
        "512 of 2048 tokens: perplexity {:.3} (full {:.3}), late {:.3} ({:.3}), KL {:.4}, same top {:.3}",
        evicted.perplexity, full.perplexity, evicted.late, full.late, evicted.kl, evicted.same_top
    );
    assert!(evicted.perplexity < 1.5 * full.perplexity, "{}", evicted.perplexity);
    assert!(evicted.late < 2.0 * full.late && evicted.kl < 0.5, "{} {}", evicted.late, evicted.kl);
}

/// `cargo test --release -p vramplan-engine --test all -- --ignored --nocapture recent_windows`
#[test]
#[ignore = "a report, not a check: several minutes"]
fn recent_windows_and_what_they_cost() {
    let Some(path) = smollm2::gguf() else { return };
    let windows = [64, 128, 256, 384, 504];
    let (full, losses) = losses(&path, 2048, 512, &windows);
    println!("| recent_window | of 512 | perplexity | last quarter | mean KL | same top |");
    println!("| full cache | – | {:.3} | {:.3} | – | – |", full.perplexity, full.late);
    for (window, loss) in windows.iter().zip(losses) {
        let share = *window as f64 / 512.0;
        let Loss { perplexity, late, kl, same_top } = loss;
        println!(
            "| {window} | {share:.2} | {perplexity:.3} | {late:.3} | {kl:.4} | {same_top:.3} |"
        );
    }
}

/// A text that the CPU continues, and what another device would say at each of its tokens.
#[cfg(feature = "cuda")]
mod on_gpu {
    use vramplan_engine::cuda::Cuda;

    use super::*;

    /// Products in 8 bits are summed in another order: where two tokens are nearly as likely, either
    /// may come first. Of the spread of the logits.
    const NEAR_TIE: f32 = 0.02;
    const TOKENS: usize = 200;

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn it_says_what_the_cpu_says() {
        let Some(path) = smollm2::gguf() else { return };
        let tokenizer = Tokenizer::of_gguf(&GgufSource::open(&path).unwrap()).unwrap();
        let prompt = ids(&tokenizer, 200);
        let settings = settings(32, 128, 64, Logits::Last);
        let mut cpu = engine(&path, settings);
        let mut source = GgufSource::open(&path).unwrap();
        let table = settings.table(source.spec()).unwrap();
        let mut gpu = Engine::load(Cuda::new(0).unwrap(), &mut source, &table).unwrap();
        cpu.prefill_system(&prompt[..32]).unwrap();
        gpu.prefill_system(&prompt[..32]).unwrap();
        let mut expected = cpu.prefill(&prompt[32..]).unwrap().to_vec();
        let mut found = gpu.prefill(&prompt[32..]).unwrap().to_vec();
        let (mut same, mut kl) = (0, 0.0);
        for _ in 0..TOKENS {
            let [next, said] = [&expected, &found].map(|logits| most_likely(logits).unwrap());
            same += usize::from(next == said);
            kl += divergence(&expected, &found) / TOKENS as f64;
            let (top, other) = (expected[next as usize], expected[said as usize]);
            let spread = expected.iter().fold(0.0f32, |top, x| top.max(x.abs()));
            assert!(top - other <= NEAR_TIE * spread, "{next} became {said}: {top} and {other}");
            expected = cpu.step(next).unwrap().to_vec();
            found = gpu.step(next).unwrap().to_vec();
        }
        eprintln!("{same} of {TOKENS} tokens are the CPU's, mean KL {kl:.1e}");
        assert!(kl < 0.01, "{kl}");
    }
}
