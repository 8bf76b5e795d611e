//! A GPU that is not there.
//!
//! An unmodified CUDA program runs against fake CUDA libraries. They account for memory as a
//! described card would and run no kernel, so that the program's own code says what it allocates,
//! and where it runs out. [`Rehearsal`] prepares the libraries for a [`std::process::Command`] and
//! turns what they report into a [`Report`]:
//!
//! ```no_run
//! use std::process::Command;
//! use vramplan_virtual_gpu::{Card, Machine, Rehearsal};
//!
//! let l4 = Card::new("NVIDIA L4", (8, 9), 58, 23_034 << 20).reserving(475 << 20).with_context(258 << 20);
//! let rehearsal = Rehearsal::new(&Machine::of(vec![l4]))?;
//! let mut server = Command::new("llama-server");
//! server.args(["-m", "model.gguf"]);
//! rehearsal.prepare(&mut server)?; // refuses what cannot be rehearsed, with the reason
//! let status = server.spawn()?.wait()?;
//! let report = rehearsal.finish();
//! println!("{status}: {} bytes at the peak", report.cards[0].peak.total());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is counted is what the program asks the driver for, in the driver's granularity, plus the
//! context that the card's description gives. What libraries and the driver take by themselves
//! (module images, local memory, NCCL's buffers) is not seen. Time never is.
#![cfg(target_os = "linux")]

pub mod contract;
pub mod elf;
mod error;
pub mod event;
mod folder;
mod launch;
mod listen;
mod python;
pub mod recognise;
mod report;
pub mod shared;
pub mod sonames;

pub use contract::{Card, Machine};
pub use error::Error;
pub use event::{Change, Event, Torch, What};
pub use launch::{Libraries, Progress, Rehearsal};
pub use recognise::CannotRehearse;
pub use report::{CardReport, Heard, KindBytes, Moment, ProcessReport, Refusal, Report};
pub use shared::Kind;
