//! `SmolLM2-135M-Instruct`: sensible answers, and what int8 and eviction cost.

use std::ops::ControlFlow;

use vramplan::engine::{
    ChatTemplate, Cpu, Engine, Generation, GgufSource, Sampling, Source, Tokenizer,
};
use vramplan::spec::Logits;

use crate::{settings, smollm2};

#[test]
fn it_knows_the_capital_of_france() {
    let Some(path) = smollm2::gguf() else { return };
    let mut source = GgufSource::open(&path).unwrap();
    let tokenizer = Tokenizer::of_gguf(&source).unwrap();
    let table = settings(64, 512, 64, Logits::Last).table(source.spec()).unwrap();
    let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
    let template = ChatTemplate::of(&tokenizer).unwrap().unwrap();
    let [system, turn] = template
        .system_and_turn("You are a helpful AI assistant.", "The capital of France is")
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
