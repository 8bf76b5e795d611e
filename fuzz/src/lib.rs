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
use vramplan_planner::spec::{ModelSpec, Runtime};
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

/// Plans a model that was read under every runtime: whatever a file claims, planning must answer or refuse.
pub fn plan(model: ModelSpec) {
    let catalog = Catalog::built_in();
    let model = Arc::new(model);
    for kind in Runtime::ALL {
        let question = Question { system_tokens: Some(100), ..Question::default() };
        let gpu = catalog.gpu("L4").expect("a profile");
        let card = card_on(&question, gpu, kind, Bytes::ZERO).expect("a card with room");
        let runtime = Arc::new(catalog.runtime(kind).expect("a profile"));
        let (model, cards, siblings) = (Arc::clone(&model), Cards::one(card), Arc::from([]));
        let found = Found { model, file: None, runtime, cards, siblings };
        if let Ok(deployment) = Deployment::new(question, found) {
            let _ = answer(&deployment);
        }
    }
}
