//! Bytes as a GGUF file.
#![no_main]

use vramplan::source::gguf;
use vramplan_fuzz::{plan, with_file};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_file(".gguf", bytes, |path| {
        if let Ok(model) = gguf::model(path) {
            plan(&model);
        }
    });
});
