//! Codes hidden in a text: what gist and fluency do not show.

use super::statistics::Distribution;
use crate::backend::Backend;
use crate::{Engine, EngineError, Tokenizer};

/// A code, the sentence that hides it, and the question for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The code.
    pub code: String,
    /// Percent of the text before it.
    pub depth_percent: usize,
    needle: Vec<u32>,
    question: Vec<u32>,
    answer: Vec<u32>,
}

/// Depths at which codes are hidden, in percent.
pub const DEPTHS: [usize; 5] = [10, 30, 50, 70, 90];

impl Probe {
    /// A code of five digits at each of `depths`; `seed` says which.
    ///
    /// # Errors
    /// Where the tokenizer cannot encode them.
    pub fn at_depths(
        tokenizer: &Tokenizer,
        depths: &[usize],
        seed: u64,
    ) -> Result<Vec<Self>, EngineError> {
        let code = |index: usize| {
            let mixed = (seed + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            format!("{:05}", 10_000 + mixed % 90_000)
        };
        depths
            .iter()
            .enumerate()
            .map(|(index, &depth)| Self::new(tokenizer, code(index), depth))
            .collect()
    }

    fn new(tokenizer: &Tokenizer, code: String, depth_percent: usize) -> Result<Self, EngineError> {
        let needle =
            tokenizer.encode(&format!("\nThe pass key is {code}. Remember it: {code}.\n"))?;
        let question = tokenizer.encode("\nWhat is the pass key? The pass key is")?;
        let answer = tokenizer.encode(&format!(" {code}"))?;
        Ok(Self { code, depth_percent, needle, question, answer })
    }

    /// The text with the needle in it and the question behind it, at most `most` tokens with the answer;
    /// nothing where not even the needle fits.
    pub(super) fn prompt(&self, text: &[u32], most: usize) -> Option<Vec<u32>> {
        let beside = self.needle.len() + self.question.len() + self.answer.len();
        let filler = text.get(..most.checked_sub(beside)?.min(text.len()))?;
        let (before, after) = filler.split_at(filler.len() * self.depth_percent.min(100) / 100);
        Some([before, &self.needle, after, &self.question].concat())
    }

    /// Whether every token of the answer is the most likely one after `prompt` and those before it, and
    /// the natural logarithm of the probability of all of them.
    pub(super) fn ask<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        prompt: &[u32],
    ) -> Result<(bool, f64), EngineError> {
        engine.reset_conversation()?;
        let mut logits = engine.prefill(prompt)?.to_vec();
        let (mut recalls, mut log_probability) = (true, 0.0);
        for &token in &self.answer {
            let last = Distribution::new(&logits);
            recalls &= last.top() == token as usize;
            log_probability += last.log_probability(token as usize);
            logits = engine.step(token)?.to_vec();
        }
        Ok((recalls, log_probability))
    }
}
