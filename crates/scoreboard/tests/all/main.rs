//! Predictions beside what engines were recorded to answer: most to the byte.

#![allow(clippy::unwrap_used, reason = "test code")]

mod generated;
mod llama_cpp;
mod pipelines;
mod quantized_passes;
mod rehearsed;
mod scoreboard;
mod sglang;
mod storage;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod vllm;
mod vllm_compressed;
mod vllm_encoder;
mod vllm_options;
mod vllm_reports;
