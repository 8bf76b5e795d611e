//! The engine: its cache, its kernels on an emulator, whole models, and its memory beside the plan.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

#[path = "../../../../tests/support/decoder.rs"]
mod decoder;
mod engine;
mod h2o;
mod kernels;
#[path = "../../../../tests/support/logits.rs"]
mod logits;
#[path = "../../../../tests/support/skip.rs"]
mod skip;
#[path = "../../../../tests/support/smollm2.rs"]
mod smollm2;
#[path = "../../../../tests/support/mod.rs"]
mod support;
