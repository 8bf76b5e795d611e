//! What the fuzz targets share: a file in memory with the bytes at hand, and a plan of what was read.

pub mod arbitrary_plan;

use std::cell::RefCell;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;
use vramplan::plan::Capacity;
use vramplan::recommend::{Request, answer};
use vramplan::source::Catalog;
use vramplan::spec::{
    Headroom, LlamaCppVersion, Logits, ModelSpec, Runtime, TransformersVersion, Workload,
};
use vramplan::units::Bytes;

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// Calls `read` with a file of these bytes, on a memory file system where there is one.
pub fn with_file(suffix: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    FILE.with_borrow_mut(|slot| {
        let file = slot.get_or_insert_with(|| {
            let folder = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
            NamedTempFile::with_suffix_in(suffix, folder).expect("a temporary file")
        });
        let handle = file.as_file_mut();
        handle.set_len(0).expect("truncate");
        handle.seek(SeekFrom::Start(0)).expect("seek");
        handle.write_all(bytes).expect("write");
        read(file.path());
    });
}

/// Plans a model that was read: whatever a file claims, planning must answer or refuse.
pub fn plan(model: &ModelSpec) {
    let catalog = Catalog::without_configuration(&[]);
    let gpu = catalog.gpu("L4").expect("a profile");
    let (total, reserved) = (gpu.total.value, gpu.reserved.value);
    let capacity =
        Capacity::new(total, reserved, Bytes::ZERO, Headroom::Default).expect("a capacity");
    for kind in [Runtime::Vramplan, Runtime::Transformers, Runtime::LlamaCpp] {
        let runtime = catalog.runtime(kind).expect("a profile");
        let (weights, kv) = match kind {
            Runtime::Transformers => ("nf4", "hqq8"),
            _ => ("q4_k_m", if kind == Runtime::Vramplan { "int8" } else { "q8_0" }),
        };
        let _ = answer(&Request {
            model,
            gpu: &gpu,
            runtime: &runtime,
            weights: weights.parse().expect("a format"),
            kv: kv.parse().expect("a format"),
            workload: Workload {
                system_tokens: 100,
                cache_tokens: 1,
                recent_window: None,
                prefill_chunk: 64,
                batch: 1,
                context: model.shape.context_len,
                attention: kind.default_attention(),
                capture: None,
                logits: Logits::All,
                grown_cache: kind == Runtime::Transformers,
                llama_cpp: LlamaCppVersion::default(),
                transformers: TransformersVersion::default(),
                serving: None,
            },
            capacity,
            fixed_cache: false,
            min_decode_speed: None,
            siblings: &[],
        });
    }
}
