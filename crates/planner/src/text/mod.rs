//! Text: what makes it safe to show, breaks it into lines, quotes it, and says where in it something is.
//!
//! Names, messages and values come from files, programs and drivers, that is from strangers. Whatever
//! of it is shown goes through [`printable`] or one of its kin first: a terminal must not take it for a
//! command (ESC, OSC, C1), a reader must not be misled by it (text that runs the other way, or is not
//! seen at all), and a CI log must not take a line of it for one of ours.

mod escape;
mod layout;
mod markup;
mod names_of_modules;
mod place;

pub use escape::{one_line, printable, printable_lines, printable_message, printable_path};
pub use layout::{shell_word, wrap, wrap_lines};
pub use markup::{html, markdown, spreadsheet_text};
pub use names_of_modules::{ModuleNames, within_model};
pub use place::{excerpt, line_at};
