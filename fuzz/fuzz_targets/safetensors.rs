//! Bytes as the header of a safetensors file, and as a whole file.
#![no_main]

use vramplan::source::safetensors;
use vramplan_fuzz::with_file;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(bytes);
    file.resize(file.len() + 64, 0);
    with_file(".safetensors", &file, |path| {
        let _ = safetensors::read(path);
    });
    with_file(".safetensors", bytes, |path| {
        let _ = safetensors::read(path);
    });
});
