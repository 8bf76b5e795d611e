//! Whether memory stays flat: loads and drops a model many times, then decodes with eviction at every
//! token.
//!
//! ```sh
//! cargo run --release -p vramplan-engine --example soak -- model.gguf --loads 50 --tokens 20000 [--device N]
//! ```
//!
//! Prints a line of JSON after every load, and one for every part of the tokens. Without a GPU the memory
//! is that of the process.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::json;
use vramplan_engine::{Backend, Cpu, Engine, GgufSource, Settings, Source as _, most_likely};
use vramplan_planner::spec::Logits;

/// Load, drop and decode, and see whether memory stays flat.
#[derive(Debug, Parser)]
struct Args {
    /// A GGUF file.
    model: PathBuf,
    /// A GPU, as CUDA counts them, or `cpu`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// How often the model is loaded.
    #[arg(long, default_value_t = 50)]
    loads: usize,
    /// Tokens to decode behind a full cache.
    #[arg(long, default_value_t = 20_000)]
    tokens: usize,
    /// Tokens that the cache keeps.
    #[arg(long, default_value_t = 512)]
    cache_tokens: usize,
}

const NO_LOGITS: &str = "logits that are no numbers";

/// What is in use, in bytes, by name.
type Memory = serde_json::Map<String, serde_json::Value>;

fn main() -> Result<()> {
    let args = Args::parse();
    if args.device == "cpu" {
        return soak(&args, &Cpu, &process_memory);
    }
    on_gpu(&args)
}

#[cfg(feature = "cuda")]
fn on_gpu(args: &Args) -> Result<()> {
    let cuda = vramplan_engine::cuda::Cuda::new(args.device.parse()?)?;
    let memory = || {
        cuda.device().synchronize()?;
        let (free, total) = cuda.memory_info()?;
        let mut memory = process_memory()?;
        memory.insert("gpu".into(), json!(total.get() - free.get()));
        if let Some((used, reserved)) = cuda.pool()? {
            memory.insert("pool_used_most".into(), json!(used.get()));
            memory.insert("pool_reserved_most".into(), json!(reserved.get()));
        }
        Ok(memory)
    };
    soak(args, &cuda, &memory)
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(args: &Args) -> Result<()> {
    anyhow::bail!("`--device {}` needs a build with the feature `cuda`", args.device)
}

/// What the process holds of main memory.
fn process_memory() -> Result<Memory> {
    let pages: u64 = fs_err::read_to_string("/proc/self/statm")?
        .split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .parse()?;
    let bytes = pages * rustix::param::page_size() as u64;
    Ok(Memory::from_iter([("process".to_owned(), json!(bytes))]))
}

fn soak<B: Backend + Clone>(
    args: &Args,
    backend: &B,
    memory: &dyn Fn() -> Result<Memory>,
) -> Result<()> {
    let chunk = args.cache_tokens / 2;
    let prompt: Vec<u32> =
        (0..u32::try_from(args.cache_tokens)?).map(|id| id % 1000 + 100).collect();
    let mut kept = None;
    for load in 1..=args.loads.max(1) {
        let mut source = GgufSource::open(&args.model)?;
        let settings = Settings {
            system_tokens: 0,
            max_cache_tokens: args.cache_tokens as u64,
            recent_window: chunk as u64,
            prefill_chunk: chunk as u64,
            logits: Logits::Last,
        };
        let context = (prompt.len() + args.tokens + 1) as u64;
        let table = settings.table_with_context(source.spec(), context)?;
        // The one before goes first.
        drop(kept.take());
        let mut engine = Engine::load(backend.clone(), &mut source, &table)?;
        let next = most_likely(engine.prefill(&prompt)?).context(NO_LOGITS)?;
        kept = Some((engine, next));
        println!("{}", json!({ "loads": load, "memory": memory()? }));
    }
    let Some((mut engine, mut next)) = kept else { return Ok(()) };
    let part = (args.tokens / 20).max(1);
    let begun = std::time::Instant::now();
    for token in 1..=args.tokens {
        let logits = engine.step(next)?;
        ensure!(
            logits.iter().all(|logit| logit.is_finite()),
            "token {token} has logits that are no numbers"
        );
        next = most_likely(logits).context(NO_LOGITS)?;
        if token % part == 0 {
            let seconds = begun.elapsed().as_secs_f64();
            println!("{}", json!({ "tokens": token, "seconds": seconds, "memory": memory()? }));
        }
    }
    Ok(())
}
