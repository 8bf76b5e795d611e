//! What the supervisor and the worker that runs the engine tell each other: JSON, one object a line.
//!
//! The supervisor writes one [`Order`] to the worker's standard input and keeps it open: its end means
//! that the supervisor is gone, and the worker ends too. The worker writes [`Message`]s to its standard
//! output: `hello` first, then phases with what happens in them, `done` or `failed` last.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod stage;

pub use stage::Stage;

use crate::deployment::Question;
use crate::estimate::Component;
use crate::units::Bytes;

/// The version of the protocol; both sides must have the same.
pub const PROTOCOL: u32 = 3;

/// What the worker is to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Where: `cpu`, or `cuda`, of which the worker sees the one device that is measured.
    pub device: String,
    /// What is planned, with every key that counts. Of its cards none is looked for: it runs on `device`.
    pub deployment: Question,
    /// Whether weights are made up, in the shapes of the model.
    pub synthetic: bool,
    /// Tokens of the conversation before anything is generated; as many as its cache holds where none
    /// are given.
    pub prompt_tokens: Option<u64>,
    /// Tokens to generate behind them.
    pub decode_tokens: u64,
    /// How large the device is to look: on a GPU the rest of it is held as ballast, on the CPU the
    /// process may not take more.
    pub capacity: Option<Bytes>,
    /// What fixes weights that are made up.
    pub seed: u64,
    /// The text on which eviction is measured, instead of a run.
    pub quality: Option<PathBuf>,
    /// Directories with the user's own profiles.
    pub profiles: Vec<PathBuf>,
}

/// What a worker can do, as `vramplan-worker --about` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its [`PROTOCOL`].
    pub protocol: u32,
    /// Its version.
    pub version: String,
    /// The devices that it can run on.
    pub devices: Vec<String>,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// It is there.
    Hello {
        /// Its [`PROTOCOL`].
        protocol: u32,
        /// Its version.
        version: String,
    },
    /// A stage begins.
    Begin {
        /// Which.
        phase: Stage,
    },
    /// It ends.
    End {
        /// Which.
        phase: Stage,
    },
    /// What the engine's own accounting says that a component holds now.
    Holds {
        /// Which.
        component: Component,
        /// How much.
        bytes: Bytes,
    },
    /// The high-water marks of the allocator's pool.
    Pool {
        /// Of what was handed out.
        used: Bytes,
        /// Of what was taken from the device.
        reserved: Bytes,
    },
    /// How fast a stage was.
    Speed {
        /// Which.
        phase: Stage,
        /// Tokens.
        tokens: u64,
        /// In so many milliseconds.
        milliseconds: u64,
    },
    /// Something else that can be counted.
    Count {
        /// What.
        name: String,
        /// How much.
        value: u64,
    },
    /// What eviction loses on a text.
    Quality {
        /// Schema `vramplan/quality/v1`.
        report: serde_json::Value,
        /// The same for reading.
        text: String,
        /// The recent window that loses least.
        recent_window: u64,
    },
    /// Nothing is new, but it lives.
    Alive,
    /// It cannot go on.
    Failed {
        /// Why, for programs.
        kind: FailureKind,
        /// Why, for people.
        message: String,
    },
    /// It did everything.
    Done,
}

/// Why a worker cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The device's memory is exhausted.
    OutOfMemory,
    /// There is no such device, or its libraries are missing.
    NoDevice,
    /// The model cannot be read or run.
    Model,
    /// Anything else.
    Other,
}

impl Message {
    /// A line with its end.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|line| line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines_that_both_sides_understand() {
        for (message, line) in [
            (
                Message::Begin { phase: Stage::SystemPrefill },
                r#"{"type":"begin","phase":"system_prefill"}"#,
            ),
            (
                Message::Holds { component: Component::Weights, bytes: Bytes::KIB },
                r#"{"type":"holds","component":"weights","bytes":1024}"#,
            ),
            (
                Message::Failed { kind: FailureKind::OutOfMemory, message: "no".to_owned() },
                r#"{"type":"failed","kind":"out-of-memory","message":"no"}"#,
            ),
            (Message::Done, r#"{"type":"done"}"#),
        ] {
            assert_eq!(message.to_line().unwrap().trim_end(), line);
            assert_eq!(serde_json::from_str::<Message>(line).unwrap(), message);
        }
    }
}
