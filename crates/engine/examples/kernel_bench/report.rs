//! A table on standard output, and lines of JSON.

use std::io::Write as _;

use anyhow::Result;
use serde_json::json;
use vramplan_engine::cuda::Cuda;
use vramplan_engine::gpu::Device as _;

use crate::Options;
use crate::cache::Model;
use crate::graph::{Times, time_copy};

/// Bytes that are copied to measure bandwidth: more than any L2 holds.
const COPIED: usize = 1 << 30;

/// What was measured of one kernel, or of some that belong together.
pub struct Figure {
    pub kernels: &'static str,
    pub times: Times,
    /// That have to be moved in one layer.
    pub bytes: f64,
    /// Multiplications and additions in one layer, where arithmetic is what limits.
    pub operations: Option<f64>,
}

pub struct Report {
    json: Option<fs_err::File>,
    gpu: String,
    /// Bytes per microsecond of copying, read and written.
    bandwidth: f64,
}

impl Report {
    pub fn begin(cuda: &Cuda, options: &Options) -> Result<Self> {
        let context = cuda.device().runner().stream().context();
        let gpu = context.name()?;
        let (from, to) = (cuda.device().allocate(COPIED)?, cuda.device().allocate(COPIED)?);
        let (from, to) = (cuda.device().span(&from), cuda.device().span(&to));
        let times = time_copy(cuda, from, to, options.replays)?;
        let bandwidth = 2.0 * COPIED as f64 / times.median();
        println!("{gpu}: copying moves {:.0} GB/s\n", bandwidth / 1e3);
        println!(
            "{:<13} {:>7} {:<34} {:>9} {:>8} {:>8} {:>8}",
            "model", "tokens", "kernels", "µs/layer", "GB/s", "of copy", "TFLOP/s"
        );
        let json = options.json.as_ref().map(fs_err::File::create).transpose()?;
        Ok(Self { json, gpu, bandwidth })
    }

    pub fn add(&mut self, model: &Model, tokens: usize, figure: &Figure) -> Result<()> {
        let layers = model.layers as f64;
        let micros = figure.times.median() / layers;
        let moved = figure.bytes / micros;
        let rate = figure.operations.map(|operations| operations / micros / 1e6);
        println!(
            "{:<13} {tokens:>7} {:<34} {micros:>9.2} {:>8.0} {:>7.0}% {:>8}",
            model.name,
            figure.kernels,
            moved / 1e3,
            100.0 * moved / self.bandwidth,
            rate.map_or_else(String::new, |rate| format!("{rate:.1}")),
        );
        let Some(json) = &mut self.json else { return Ok(()) };
        let line = json!({
            "gpu": self.gpu,
            "model": model.name,
            "layers": model.layers,
            "tokens": tokens,
            "kernels": figure.kernels,
            "us_per_layer": micros,
            "us_per_layer_least": figure.times.least() / layers,
            "us_per_layer_most": figure.times.most() / layers,
            "bytes_per_layer": figure.bytes,
            "gb_per_s": moved / 1e3,
            "copy_gb_per_s": self.bandwidth / 1e3,
            "of_copy": moved / self.bandwidth,
            "tflop_per_s": rate,
        });
        Ok(writeln!(json, "{line}")?)
    }
}
