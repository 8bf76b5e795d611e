//! Evidence on a disk: where records are kept, how they are written by many at once, and what reports they are made of.

mod convert;
mod machine;
mod store;

#[cfg(target_os = "linux")]
pub use convert::of_rehearsal;
pub use convert::of_report;
pub use machine::machine;
pub use store::{Store, StoreError, gather};
