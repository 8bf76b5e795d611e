//! What the fuzz targets share: a file in memory with the bytes at hand, and a plan of what was read.

pub mod arbitrary_plan;

use std::cell::RefCell;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Request, answer};
use vramplan_planner::spec::{
    Headroom, LlamaCppVersion, Logits, ModelSpec, Runtime, Split, Workload,
};
use vramplan_planner::units::Bytes;

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// A file of these bytes, for a reader that is handed its files.
pub fn file_of(name: &str, bytes: &[u8]) -> (MemoryFiles, PathBuf) {
    let path = PathBuf::from(name);
    (MemoryFiles::from([(path.clone(), bytes.to_vec())]), path)
}

/// Calls `read` with a file of these bytes, on a memory file system where there is one: for what takes paths.
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
    let catalog = Catalog::built_in();
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
                images: None,
                serving: None,
            },
            capacity,
            others: &[],
            split: Split::default(),
            fixed_cache: false,
            min_decode_speed: None,
            siblings: &[],
        });
    }
}
