//! Bytes as the header of a safetensors file, and as a whole file.
#![no_main]

use vramplan_fuzz::file_of;
use vramplan_planner::read::safetensors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(bytes);
    file.resize(file.len() + 64, 0);
    for whole in [&file[..], bytes] {
        let (files, path) = file_of("model.safetensors", whole);
        let _ = safetensors::read(&files, &path);
    }
});
