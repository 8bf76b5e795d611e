use std::path::PathBuf;

use crate::recognise::CannotRehearse;

/// Why a rehearsal could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be rehearsed at all.
    #[error("{0}")]
    CannotRehearse(#[from] CannotRehearse),
    /// No card, or more than the books have room for.
    #[error("a rehearsal needs 1 to {max} cards, got {got}", max = crate::shared::MAX_CARDS)]
    Cards {
        /// How many were described.
        got: usize,
    },
    /// A shared library of this crate is not installed.
    #[error(
        "the library `{name}` of the virtual GPU was not found beside the program (looked in {})\n\
         hint: `cargo build --release --workspace` places it beside the command; \
         `VRAMPLAN_VIRTUAL_GPU_LIBRARIES` names another folder",
        looked.iter().map(|p| format!("`{}`", p.display())).collect::<Vec<_>>().join(", ")
    )]
    Library {
        /// Its file name.
        name: &'static str,
        /// The folders that were tried.
        looked: Vec<PathBuf>,
    },
    /// The folder, its shims or the shared state could not be made.
    #[error("the private folder of the rehearsal: {0}")]
    Folder(#[from] std::io::Error),
}
