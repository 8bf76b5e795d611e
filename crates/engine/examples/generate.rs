//! Chats with a GGUF model over the evicting cache:
//! `cargo run --release -p vramplan-engine --example generate -- model.gguf`, then one line for each turn.

#![allow(clippy::print_stdout, reason = "a chat prints")]

use std::io::{BufRead as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result};
use vramplan_engine::{
    ChatTemplate, Cpu, Engine, Generation, GgufSource, Message, Role, Sampling, Settings,
    Source as _, Tokenizer,
};
use vramplan_planner::spec::Logits;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("expected the path of a GGUF file")?;
    let mut source = GgufSource::open(Path::new(&path))?;
    let tokenizer = Tokenizer::of_gguf(&source)?;
    let template = ChatTemplate::of(&tokenizer)?.context("the file has no chat template")?;
    let mut messages = vec![Message::new(Role::System, "You are a helpful AI assistant.")];
    let mut said = template.render(&messages, false)?;
    let system: Vec<u32> = tokenizer.start().into_iter().chain(tokenizer.encode(&said)?).collect();

    let settings = Settings {
        system_tokens: system.len() as u64,
        max_cache_tokens: 1024,
        recent_window: 512,
        prefill_chunk: 128,
        logits: Logits::Last,
    };
    let table = settings.table(source.spec())?;
    let mut engine = Engine::load(Cpu, &mut source, &table)?;
    engine.prefill_system(&system)?;

    let sampling = Sampling { temperature: 0.2, top_k: 40, top_p: 0.95, seed: 1 };
    let generation = Generation { max_tokens: 256, sampling };
    for line in std::io::stdin().lock().lines() {
        messages.push(Message::new(Role::User, line?));
        let text = template.render(&messages, true)?;
        let turn = text.strip_prefix(&said).context("the template rewrites earlier turns")?;
        let (mut tokens, mut shown) = (Vec::new(), String::new());
        let is_stop = |token| tokenizer.is_stop(token);
        engine.generate(&tokenizer.encode(turn)?, generation, is_stop, |token| {
            tokens.push(token);
            let text = tokenizer.decode(&tokens).unwrap_or_default();
            if let Some(new) = text.strip_prefix(&shown).filter(|new| !new.ends_with('\u{fffd}')) {
                print!("{new}");
                let _ = std::io::stdout().flush();
                shown = text;
            }
            ControlFlow::Continue(())
        })?;
        println!();
        said = text + &shown;
        messages.push(Message::new(Role::Assistant, shown));
    }
    Ok(())
}
