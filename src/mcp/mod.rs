//! The Model Context Protocol over standard input and output: what agents call tools by. Knows messages and sessions; what
//! the tools are and do is handed in as [`Tools`].
//!
//! Written after the specifications of 2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25, which begin with a handshake,
//! and of 2026-07-28, whose requests each say their version (modelcontextprotocol.io/specification).
//!
//! ```text
//! lines ─→ message ─→ session ─→ {answer, call}        server: one thread reads, another calls
//! ```

mod lines;
mod message;
mod server;
mod session;

pub use server::serve;
pub use session::Identity;

use serde_json::{Map, Value};

/// A tool as clients are told of it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// The name by which it is called.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it answers, for a model that is to choose.
    pub description: &'static str,
    /// JSON Schema of its arguments.
    pub input: Value,
    /// JSON Schema of what it answers.
    pub output: Value,
    /// Whether it may ask servers.
    pub asks_servers: bool,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// For people and models: one text or several.
    pub texts: Vec<String>,
    /// The same as data, by the tool's schema.
    pub data: Value,
}

/// What a server offers. A call may take long and asks whatever it has to; nothing else waits for it.
pub trait Tools: Send {
    /// All of them.
    fn list(&self) -> Vec<Tool>;

    /// Calls one that [`list`](Self::list) names.
    ///
    /// # Errors
    /// In words that the model is to read, with what it could do about it.
    fn call(&self, name: &str, arguments: Map<String, Value>) -> Result<Reply, String>;
}
