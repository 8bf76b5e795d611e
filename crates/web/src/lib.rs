//! The planner for a browser: a [`Session`] is asked in JSON and answers in JSON.
//!
//! A question may say its values as people write them, all as texts (`{"gpu": "2xL4", "context": "32k"}`); what comes of
//! it is the command's own `Question`, and every figure is the command's. Files are known by their beginnings: where a
//! reader needs more of one, the answer says so (`needs`), and whoever asked hands over more and asks again.
//!
//! ```
//! use vramplan_web::Session;
//!
//! let mut session = Session::default();
//! let answer = session.answer(br#"{"ask": "plan", "question": {"gpu": "L4", "model": "qwen2.5-14b"}}"#);
//! assert!(answer.starts_with(r#"{"ok":{"#));
//! assert!(answer.contains("vramplan budget --gpu L4 --model qwen2.5-14b"));
//! ```
//!
//! The page is in `page/`; `scripts/build-web` puts both into one file. `docs/web.md` describes it.

#[cfg(target_family = "wasm")]
mod abi;
mod ask;
mod heads;
mod session;

pub use ask::{Answer, Ask};
pub use heads::{Heads, Missing};
pub use session::Session;
pub use vramplan_planner::form::{Given, Lists, Problem, change_of, command, parse, question};
