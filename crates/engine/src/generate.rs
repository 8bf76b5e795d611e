//! Generating text, token by token.

use std::ops::ControlFlow;

use super::{Backend, Engine, EngineError, Sampler, Sampling};

/// How long and how to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// Tokens at most.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

impl<B: Backend> Engine<B> {
    /// Continues the conversation with `prompt` and then with tokens of its own, each of which
    /// `visit` sees as it comes and may stop at. Ends at a token that `is_stop` names, which is not
    /// visited, at `max_tokens`, or where the context ends. Returns how many tokens were visited.
    ///
    /// # Errors
    /// Where the prompt is empty or does not fit the context.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        generation: Generation,
        is_stop: impl Fn(u32) -> bool,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<usize, EngineError> {
        let mut sampler = Sampler::new(generation.sampling);
        let mut next = sampler.choose(self.prefill(prompt)?);
        for count in 0..generation.max_tokens {
            let Some(token) = next.filter(|&token| !is_stop(token)) else { return Ok(count) };
            if visit(token).is_break() || count + 1 == generation.max_tokens || self.room() == 0 {
                return Ok(count + 1);
            }
            next = sampler.choose(self.step(token)?);
        }
        Ok(0)
    }
}
