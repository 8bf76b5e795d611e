//! How far what is measured lies from what is expected: every bound that is a share of a size.
//!
//! Set from the rows of a fixed half of the models (a hash of the name decides); the scoreboard
//! (`cargo run -p vramplan-scoreboard`) prints how the other half lies within them. Rows are public logs
//! (`tests/corpus`) and the engines' own answers (`evidence`). A share covers what those rows spread over,
//! rounded up; what is not here is exact, or a constant of a profile with its own range.

use crate::spec::Bounds;
use crate::units::{Bytes, Overflow};

/// Hundredths of a percent below and above an expected size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    below: u64,
    above: u64,
}

const fn percent(below: u64, above: u64) -> Spread {
    Spread { below: 100 * below, above: 100 * above }
}

impl Spread {
    /// Published files of a quantized file type against llama.cpp's rule: smaller and larger with an
    /// importance matrix, or with a few tensors overridden, as many uploads are. Logs: −0.4 to +1.6%.
    pub const GGUF_FILES: Self = percent(2, 2);

    /// What vLLM loads: kernels pad MXFP4 experts and repack AWQ. Logs: −0.2 to +1.6%.
    pub const VLLM_WEIGHTS: Self = percent(1, 2);

    /// A layer or the experts in vLLM's profile run. Logs: −0.2 to +6.0%.
    pub const VLLM_LAYER: Self = percent(7, 7);

    /// vLLM's sampler in the profile run. Logs: −0.2 to +6.0%, the inputs of a step included.
    pub const VLLM_SAMPLER: Self = percent(5, 6);

    /// CUDA graphs under a recent vLLM on Hopper, split results apart. Logs: −7 to +4%.
    pub const VLLM_GRAPHS: Self = percent(10, 8);

    /// The same on other cards, whose kernels differ. Assumed: one log of 0.18 whose card is not named.
    pub const VLLM_OTHER_GRAPHS: Self = percent(40, 20);

    /// The same under versions before 0.16, of which no two take the same. Logs: 0.2 to 7.1 times what
    /// is expected.
    pub const VLLM_OLD_GRAPHS: Self = percent(90, 600);

    /// The scan of state-space layers in vLLM's profile run. Assumed: no log has one.
    pub const VLLM_SCAN: Self = percent(30, 30);

    /// A layer of a vision encoder. Assumed: in no log does it bind.
    pub const ENCODER_LAYER: Self = percent(30, 15);

    /// Scores of a vision encoder's eager attention. Assumed.
    pub const ENCODER_SCORES: Self = percent(25, 25);

    /// llama.cpp's compute buffer where routing by groups is not told by the shape. Library: +2.9%.
    pub const LLAMA_CPP_GRAPH: Self = percent(3, 3);

    /// The same for state-space hybrids. Library: −3.4%, with logits of every position.
    pub const LLAMA_CPP_HYBRID: Self = percent(4, 4);

    /// A forward pass of transformers. Tracked passes: −8.5 to +0.6%, 97% of them −0.4 to +0.2%.
    pub const TRANSFORMERS_PASS: Self = percent(2, 1);

    /// Scores of eager attention, which live beside parts of a layer. Tracked passes: −2 to +2%.
    pub const TRANSFORMERS_SCORES: Self = percent(2, 2);

    /// Holes in the segments of a grown cache, beside one of an MLP's results. Played conversations:
    /// −63 to +50%.
    pub const GROWN_SEGMENTS: Self = percent(70, 60);

    /// The bounds of an expected size.
    pub fn around(self, expected: Bytes) -> Result<Bounds, Overflow> {
        self.beyond(Bounds::exactly(expected))
    }

    /// The same where the size has bounds already: these are taken from there.
    pub fn beyond(self, size: Bounds) -> Result<Bounds, Overflow> {
        let low = size.low.scale(10_000u64.saturating_sub(self.below), 10_000)?;
        Ok(Bounds::new(low, size.expected, size.high.scale(10_000 + self.above, 10_000)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_lies_between_its_bounds() {
        let bounds = percent(10, 20).around(Bytes::new(1000)).unwrap();
        assert_eq!(bounds, Bounds::new(Bytes::new(900), Bytes::new(1000), Bytes::new(1200)));
        assert!(Spread::VLLM_OLD_GRAPHS.around(Bytes::new(u64::MAX)).is_err());
    }
}
