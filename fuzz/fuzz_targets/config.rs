//! Bytes as a `config.json`.
#![no_main]

use vramplan::source::hf_config;
use vramplan_fuzz::{plan, with_file};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_file(".json", bytes, |path| {
        if let Ok(model) = hf_config::model(path) {
            plan(&model);
        }
    });
});
