//! Reading a log: bytes in, evidence out.

use super::Evidence;
use super::grammar::Grammar;
use super::lines::{Lines, MOST_BYTES};

/// Reads a log as its bytes come. What it keeps is bounded, whatever the log holds.
///
/// ```
/// use vramplan_planner::why::{Engine, Log};
///
/// let mut log = Log::default();
/// log.feed(b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n");
/// assert_eq!(log.finish().engine, Some((Engine::PyTorch, 1)));
/// ```
#[derive(Debug, Default)]
pub struct Log {
    lines: Lines,
    grammar: Grammar,
    evidence: Evidence,
    read: u64,
}

impl Log {
    /// Takes bytes; nothing past [`MOST_BYTES`] is read. Whether more are wanted.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let left = MOST_BYTES.saturating_sub(self.read);
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let Self { lines, grammar, evidence, .. } = self;
        lines.feed(bytes.get(..taken).unwrap_or_default(), &mut |number, text| {
            grammar.line(number, text, evidence);
        });
        self.read = self.read.saturating_add(taken as u64);
        let all = taken == bytes.len();
        self.evidence.cut |= !all;
        all
    }

    /// Something of the log is left out here: lines behind it are counted without it.
    pub fn skip(&mut self) {
        self.feed(b"\n");
        self.evidence.cut = true;
    }

    /// What the log says.
    pub fn finish(mut self) -> Evidence {
        let Self { lines, grammar, evidence, .. } = &mut self;
        lines.finish(&mut |number, text| grammar.line(number, text, evidence));
        grammar.finish(evidence);
        evidence.lines = lines.number;
        evidence.cut_lines = lines.cut;
        evidence.finish();
        self.evidence
    }
}
