//! Bytes as a profile of a model or a GPU.
#![no_main]

use vramplan::source::profile;
use vramplan_fuzz::{plan, with_file};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_file(".toml", bytes, |path| {
        if let Ok(model) = profile::read_model(path) {
            plan(&model);
        }
        let _ = profile::read_gpu(path);
    });
});
