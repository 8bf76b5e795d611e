//! Bytes as a GGUF file.
#![no_main]

use vramplan_fuzz::{file_of, plan};
use vramplan_planner::read::gguf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (files, path) = file_of("model.gguf", bytes);
    if let Ok(model) = gguf::model(&files, &path) {
        plan(&model);
    }
});
