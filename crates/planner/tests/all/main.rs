//! The planner from outside: plans, recommendations, files and documents.

#![allow(clippy::unwrap_used, reason = "test code")]

mod adds_up;
mod beside;
mod configs;
mod deployments;
mod estimates;
mod every_profile;
mod evidence;
mod fleet;
mod html;
mod layers;
mod llama_cpp_reports;
mod makers;
mod names_and_files;
mod offload;
mod ollama;
mod own_formats;
mod profiles;
mod properties;
mod quants;
mod questions;
mod real_files;
mod segments;
mod servers;
mod several_gpus;
mod sglang;
#[path = "../../../../tests/support/skip.rs"]
mod skip;
#[path = "../../../../tests/support/smollm2.rs"]
mod smollm2;
mod starting;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod sweep;
mod synth;
mod transformers;
mod users;
mod why;
