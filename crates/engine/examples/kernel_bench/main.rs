//! Times the kernels on an NVIDIA GPU: attention over a full cache, its scores, eviction, chunks.
//!
//! `cargo run --release -p vramplan-engine --features cuda --example kernel_bench -- --json kernels.jsonl`
//!
//! Every layer of a model has memory of its own, so that no layer finds its keys in L2. All layers' launches
//! are one CUDA graph; a figure is the median over replays, timed by CUDA events, divided by the layers.
//! Bandwidths count the bytes that a kernel has to move (`bytes` in `work.rs`), beside the bandwidth
//! of copying device memory, measured in the same run.

#![allow(clippy::print_stdout, reason = "a program that measures prints")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and bandwidths"
)]

mod cache;
mod graph;
mod report;
mod work;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use vramplan_engine::cuda::Cuda;

use crate::cache::{MODELS, Model};
use crate::report::Report;

/// Times the kernels on an NVIDIA GPU.
#[derive(Debug, Parser)]
struct Options {
    /// Which GPU, as CUDA counts them.
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Tokens in the cache.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 7000, 13_000, 32_768, 131_072])]
    tokens: Vec<usize>,
    /// Tokens of a chunk of the prompt.
    #[arg(long, default_value_t = 512)]
    chunk: usize,
    /// Only this model.
    #[arg(long)]
    model: Option<String>,
    /// Replays of which the median is taken.
    #[arg(long, default_value_t = 25)]
    replays: usize,
    /// Writes every figure as a line of JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let cuda = Cuda::new(options.device)?;
    let mut report = Report::begin(&cuda, &options)?;
    let is_wanted = |model: &&Model| options.model.as_ref().is_none_or(|name| name == model.name);
    for model in MODELS.iter().filter(is_wanted) {
        for &tokens in &options.tokens {
            work::measure(&cuda, model, tokens, &options, &mut report)?;
        }
    }
    Ok(())
}
