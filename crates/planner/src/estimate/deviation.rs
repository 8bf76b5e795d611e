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
pub struct Deviation {
    below: u64,
    above: u64,
}

const fn percent(below: u64, above: u64) -> Deviation {
    Deviation { below: 100 * below, above: 100 * above }
}

impl Deviation {
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

    /// What graphs allocate of `PyTorch` under a recent vLLM. Virtual cards.
    pub const VLLM_CAPTURED: Self = percent(50, 100);

    /// The same under versions before 0.16, of which no two take the same. Logs: 0.2 to 7.1 times what
    /// is expected.
    pub const VLLM_OLD_GRAPHS: Self = percent(90, 600);

    /// The scan of state-space layers in vLLM's profile run. Assumed: no log has one.
    pub const VLLM_SCAN: Self = percent(30, 30);

    /// What `SGLang` loads. Logs: 0 to +1.3%, what libraries take meanwhile included.
    pub const SGLANG_WEIGHTS: Self = percent(1, 2);

    /// CUDA graphs of dense models under `SGLang`. Logs: 0.5 to 3 times what is expected.
    pub const SGLANG_GRAPHS: Self = percent(60, 200);

    /// The same of models with experts. One log of 51 batches on eight B200 has 144 MiB a batch.
    pub const SGLANG_EXPERT_GRAPHS: Self = percent(60, 900);

    /// A layer under `SGLang`. Assumed: by vLLM's, whose kernels are the same; no log has its peak.
    pub const SGLANG_LAYER: Self = percent(25, 25);

    /// A vision encoder in vLLM's profile run, of the releases and towers that were asked on meta tensors.
    pub const VLLM_ENCODER: Self = percent(10, 10);

    /// The same of others, whose source was read.
    pub const VLLM_ENCODER_READ: Self = percent(30, 30);

    /// A layer of a vision encoder. Assumed: in no log does it bind.
    pub const ENCODER_LAYER: Self = percent(30, 15);

    /// Scores of a vision encoder's eager attention. Assumed.
    pub const ENCODER_SCORES: Self = percent(25, 25);

    /// llama.cpp's compute buffer where routing by groups is not told by the shape. Library: +2.9%.
    pub const LLAMA_CPP_GRAPH: Self = percent(3, 3);

    /// The same under Apple's backend, which reorders a graph before it is laid out (`ggml_graph_optimize` in
    /// `ggml-metal-common.cpp`). Public logs: four models to the byte, gpt-oss-20b +1.6%.
    pub const LLAMA_CPP_METAL: Self = percent(3, 5);

    /// The same on several devices, where weights or caches are in main memory. Library, 3258 random placements under three
    /// releases: all but two to the byte, those +0.1 and +0.8%.
    pub const LLAMA_CPP_SPLITS: Self = percent(5, 5);

    /// The same for builds before 0.5.0: assumed, no placement was asked of them.
    pub const LLAMA_CPP_OLD_SPLITS: Self = percent(15, 15);

    /// The same for what few models have. Library: −16 to +8%.
    pub const LLAMA_CPP_RARE: Self = percent(18, 12);

    /// The same where scores are computed because no kernel fuses attention. Library: +4 to +7%.
    pub const LLAMA_CPP_UNFUSED: Self = percent(2, 9);

    /// The same for models that give images to several layers, under 0.6.0. Library: +17 to +56%.
    pub const LLAMA_CPP_IMAGES: Self = percent(5, 65);

    /// The same for state-space hybrids. Library: −3.4 to +0.7%, most to the byte.
    pub const LLAMA_CPP_HYBRID: Self = percent(6, 6);

    /// The same for architectures whose graph is Llama's at a guess. Library: −97 to +134%.
    pub const LLAMA_CPP_OTHER: Self = percent(97, 150);

    /// The same for those whose attention chooses what it reads. Library: −13 to +1640%.
    pub const LLAMA_CPP_INDEXED: Self = percent(30, 1700);

    /// Caches of an architecture whose rules are not known wholly. Library: −92 to +21%.
    pub const LLAMA_CPP_CACHES: Self = percent(95, 100);

    /// The same for architectures whose graph is known of later versions. Library, 0.5.0: −18 to +11%.
    pub const LLAMA_CPP_EARLIER: Self = percent(20, 15);

    /// The same for versions after the newest that was looked at: assumed, nothing was measured of them.
    pub const LLAMA_CPP_BEYOND: Self = percent(30, 40);

    /// A forward pass of transformers. Tracked passes: −8.5 to +0.6%, 97% of them −0.4 to +0.2%.
    pub const TRANSFORMERS_PASS: Self = percent(2, 1);

    /// Scores of eager attention, which live beside parts of a layer. Tracked passes: −2 to +2%.
    pub const TRANSFORMERS_SCORES: Self = percent(2, 2);

    /// The card from which on a run of transformers ends, beside what is known to differ from start to start and with a
    /// few tokens more or less. Of 365 rehearsed runs 98% end on the card of the high bound.
    pub const SMALLEST_CARD: Self = Self { below: 80, above: 80 };

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
        assert!(Deviation::VLLM_OLD_GRAPHS.around(Bytes::new(u64::MAX)).is_err());
    }
}
