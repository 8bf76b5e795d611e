//! Bytes as a `config.json`.
#![no_main]

use vramplan_fuzz::{file_of, plan};
use vramplan_planner::read::hf_config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (files, path) = file_of("config.json", bytes);
    if let Ok(model) = hf_config::model(&files, &path) {
        plan(&model);
    }
});
