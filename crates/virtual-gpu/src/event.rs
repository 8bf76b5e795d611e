//! What the fakes report while the program runs: one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::shared::Kind;

/// Lines are written whole up to this length (`PIPE_BUF`), so those of several processes do not mix.
pub const LINE_LIMIT: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The process that says it.
    pub pid: i32,
    /// Microseconds since the rehearsal began.
    pub t: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A process uses the virtual GPU for the first time.
    Start {
        /// Its first argument.
        program: String,
    },
    /// Memory was taken.
    Take(Change),
    /// Memory was given back.
    Give(Change),
    /// A request was refused, as the card would.
    Refuse {
        /// Which card refused.
        card: usize,
        /// What was asked for.
        kind: Kind,
        /// How much, as the program asked.
        bytes: u64,
        /// What was free.
        free: u64,
        /// The function that was called.
        call: String,
    },
    /// A function was called that only succeeds: what it should have done did not happen.
    Stub {
        /// The library without `lib` and version.
        library: String,
        /// The function.
        function: String,
    },
    /// The process launches its first kernel or graph.
    Launch,
    /// The process reads what the card computed, for the first time: a copy to the host after a launch.
    Result,
    /// A part of the program that is known by name begins; without a name, the one before it ends. Said by
    /// what is put into Python beside the program, not by the fakes.
    Mark {
        /// Its name.
        phase: Option<String>,
    },
    /// What PyTorch's allocator says of a card, likewise.
    Torch(Torch),
    /// Something that the reader of the report should know, once each.
    Remark {
        /// A sentence.
        text: String,
    },
    /// The program cannot be rehearsed, for the reason given.
    Impossible {
        /// The reason, to follow "because".
        reason: String,
    },
    /// The process ends by itself.
    End {
        /// Kernels that it launched.
        launches: u64,
    },
}

/// Memory that was taken or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which card.
    pub card: usize,
    /// Which kind of memory.
    pub kind: Kind,
    /// In the driver's units. Small requests share a unit: only the one that opens it is told.
    pub bytes: u64,
    /// As the program asked for it.
    pub asked: u64,
    /// What all processes hold on the card after it, all kinds together; of the host's kinds what
    /// all hold of the kind.
    pub held: u64,
}

/// What PyTorch's allocator holds of a card (`torch.cuda.memory_stats`), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Torch {
    /// Which card.
    pub card: usize,
    /// What tensors asked for now.
    pub requested: u64,
    /// That, rounded to the allocator's blocks.
    pub allocated: u64,
    /// What the allocator took from the card.
    pub reserved: u64,
    /// The most that was asked for at once.
    pub requested_peak: u64,
    /// The most that was allocated at once.
    pub allocated_peak: u64,
    /// The most that was reserved at once.
    pub reserved_peak: u64,
    /// Free pieces of blocks that are partly used: what cannot be given back.
    pub inactive_split: u64,
    /// Times that it emptied its cache and tried again.
    pub retries: u64,
    /// Times that it had to say that memory ran out.
    pub ooms: u64,
}

impl Event {
    /// The line, its end included, within [`LINE_LIMIT`].
    pub fn line(&self) -> Option<Vec<u8>> {
        let mut line = serde_json::to_vec(self).ok()?;
        line.push(b'\n');
        (line.len() <= LINE_LIMIT).then_some(line)
    }

    /// Reads one line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let what = What::Take(Change {
            card: 1,
            kind: Kind::Malloc,
            bytes: 2 << 20,
            asked: 9,
            held: 5 << 20,
        });
        let event = Event { pid: 7, t: 12, what };
        let line = event.line().unwrap();
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            "{\"pid\":7,\"t\":12,\"event\":\"take\",\"card\":1,\"kind\":\"malloc\",\"bytes\":2097152,\"asked\":9,\"held\":5242880}\n"
        );
        assert_eq!(Event::parse(&line), Some(event));
    }

    #[test]
    fn a_line_that_would_be_torn_is_not_written() {
        let what = What::Remark { text: "x".repeat(LINE_LIMIT) };
        assert_eq!(Event { pid: 7, t: 12, what }.line(), None);
    }
}
