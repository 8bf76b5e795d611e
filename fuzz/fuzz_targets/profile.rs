//! Bytes as a profile of a model or a GPU.
#![no_main]

use vramplan_fuzz::{file_of, plan};
use vramplan_planner::read::profile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (files, path) = file_of("profile.toml", bytes);
    if let Ok(model) = profile::read_model(&files, &path) {
        plan(&model);
    }
    let _ = profile::read_gpu(&files, &path);
});
