//! A question as texts, and what there is to choose from: for a form in a browser or a terminal, an address, an agent's
//! call of a tool. What comes of the texts is the command's own [`Question`](crate::deployment::Question), and every
//! figure is the command's.

mod flags;
mod lists;
mod problem;

pub use flags::{Given, change_of, command, parse, question};
pub use lists::{ComponentEntry, GpuEntry, Lists, ModelEntry, PhaseEntry, RuntimeEntry};
pub use problem::Problem;
