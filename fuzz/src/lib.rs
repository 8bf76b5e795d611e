//! What the fuzz targets share: a file in memory with the bytes at hand, and a plan of what was read.

pub mod arbitrary_plan;

use std::cell::RefCell;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;
use vramplan_planner::deployment::{Cards, Deployment, Found, Question, card_on};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{Logits, ModelSpec, Runtime};
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
    let model = Arc::new(model.clone());
    for kind in [Runtime::Vramplan, Runtime::Transformers, Runtime::LlamaCpp] {
        let (weights, kv) = match kind {
            Runtime::Transformers => ("nf4", "hqq8"),
            _ => ("q4_k_m", if kind == Runtime::Vramplan { "int8" } else { "q8_0" }),
        };
        let question = Question {
            weights: weights.parse().ok(),
            kv: kv.parse().ok(),
            system_tokens: Some(100),
            prefill_chunk: Some(64),
            logits: Some(Logits::All),
            ..Question::default()
        };
        let gpu = catalog.gpu("L4").expect("a profile");
        let card = card_on(&question, gpu, kind, Bytes::ZERO).expect("a card");
        let found = Found {
            model: Arc::clone(&model),
            file: None,
            runtime: Arc::new(catalog.runtime(kind).expect("a profile")),
            cards: Cards::one(card),
            siblings: Arc::new([]),
        };
        if let Ok(deployment) = Deployment::new(question, found) {
            let _ = answer(&deployment);
        }
    }
}
