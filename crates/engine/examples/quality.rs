//! What an evicting cache loses on a text of your own, and which recent window loses least.
//!
//! ```sh
//! cargo run --release -p vramplan-engine --example quality -- model.gguf text.txt --cache-tokens 1024
//! ```
//!
//! The text has to be longer than the cache. It is read once by a full cache and by one evicting cache
//! for each window, side by side, on one copy of the weights.

use std::path::PathBuf;

use clap::Parser;
use vramplan_engine::quality::{DEPTHS, FRACTIONS, Measurement, Probe};
use vramplan_engine::{Cpu, GgufSource, Tokenizer};

/// Measure what eviction loses on a text.
#[derive(Debug, Parser)]
struct Args {
    /// A GGUF file.
    model: PathBuf,
    /// The text.
    text: PathBuf,
    /// Tokens that the evicting caches keep.
    #[arg(long, value_name = "N")]
    cache_tokens: usize,
    /// A text that is pinned as the system prompt.
    #[arg(long, value_name = "FILE")]
    system: Option<PathBuf>,
    /// Tokens of a step: the prefill chunk, or 1 for decode.
    #[arg(long, value_name = "N", default_value_t = 64)]
    step: usize,
    /// The shortest window to try.
    #[arg(long, value_name = "N", default_value_t = 64)]
    floor: usize,
    /// Tokens of the text to read.
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Hide codes in the text and ask for them.
    #[arg(long)]
    passkeys: bool,
    /// `table`, `markdown` or `json`.
    #[arg(long, default_value = "table")]
    format: String,
}

#[allow(clippy::print_stdout, reason = "an example prints")]
fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut source = GgufSource::open(&args.model)?;
    let tokenizer = Tokenizer::of_gguf(&source)?;
    let system = match &args.system {
        Some(path) => tokenizer.encode(&fs_err::read_to_string(path)?)?,
        None => Vec::new(),
    };
    let mut text = tokenizer.encode(&fs_err::read_to_string(&args.text)?)?;
    text.truncate(args.tokens.unwrap_or(text.len()));
    let depths: &[usize] = if args.passkeys { &DEPTHS } else { &[] };
    let measurement = Measurement {
        fractions: FRACTIONS.to_vec(),
        step: args.step,
        floor: args.floor,
        probes: Probe::at_depths(&tokenizer, depths, 0)?,
        ..Measurement::new(system, text, args.cache_tokens)
    };
    let report = measurement.run(Cpu, &mut source)?;
    match args.format.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&report)?),
        "markdown" => print!("{}", report.markdown()),
        _ => print!("{}", report.table()),
    }
    Ok(())
}
