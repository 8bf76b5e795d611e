//! Bytes as a manifest: the engines in it, and their commands.
#![no_main]

use vramplan_planner::deployment::manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = manifest(text);
    }
});
