//! One forward pass of transformers, and what its layers see.

use crate::estimate::{Phase, Scenario};
use crate::spec::Attention;
use crate::units::Overflow;

/// A forward pass over `rows` tokens of every sequence behind `past` cached ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardPass {
    /// The phase it belongs to.
    pub phase: Phase,
    /// New tokens of a sequence.
    pub rows: u64,
    /// Tokens in the cache before.
    pub past: u64,
    /// Sequences processed together.
    pub sequences: u64,
}

/// What the layers of one kind attend to in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Keys, those of the new tokens included.
    pub seen: u64,
    /// Whether SDPA needs an explicit mask for it (`masking_utils.py`, `_ignore_causal_mask_sdpa`).
    pub masked: bool,
    /// Whether SDPA is given keys and values repeated for every query head.
    pub repeats: bool,
    /// Whether these are layers with a window.
    pub windowed: bool,
}

impl ForwardPass {
    /// New tokens of all sequences.
    pub fn all_rows(&self) -> Result<u64, Overflow> {
        self.rows.checked_mul(self.sequences).ok_or(Overflow)
    }

    /// Tokens of a sequence once the pass is done.
    pub fn seen(&self) -> Result<u64, Overflow> {
        self.past.checked_add(self.rows).ok_or(Overflow)
    }

    /// Tokens that a windowed layer of a grown cache holds while it attends: it keeps
    /// `window − 1`, and all of the new ones (`cache_utils.py`, `DynamicSlidingWindowLayer.update`).
    pub fn seen_in(&self, window: u64) -> u64 {
        self.past.min(window - 1) + self.rows
    }

    /// What full layers see, and what windowed layers see, where the model has such layers.
    pub fn views(&self, scenario: &Scenario<'_>) -> Result<Vec<View>, Overflow> {
        let version = scenario.runtime.options.stack().transformers;
        let behind = self.rows > 1 && self.past > 0;
        let whole = !scenario.workload.grown_cache && version.masks_whole_cache();
        let view = |seen, masked, windowed| {
            let repeats = version.repeats_heads(masked, self.rows);
            View { seen, masked, repeats, windowed }
        };
        let mut views = Vec::with_capacity(2);
        if scenario.full_layers() > 0 {
            views.push(view(self.seen_in_full(scenario, whole)?, behind || whole, false));
        }
        if let (Some(window), true) = (scenario.model.shape.window, scenario.window_layers() > 0) {
            let seen = if cached_window(scenario).is_some() {
                self.seen_in_windowed(scenario, window.size, whole)?
            } else {
                self.seen_in_full(scenario, whole)?
            };
            views.push(view(seen, behind || whole || seen >= window.size, true));
        }
        Ok(views)
    }

    /// Keys of a windowed layer: as long as a pre-allocated one is not full, it is attended to as a whole, too
    /// (`StaticSlidingWindowLayer.update`).
    fn seen_in_windowed(
        &self,
        scenario: &Scenario<'_>,
        window: u64,
        whole: bool,
    ) -> Result<u64, Overflow> {
        let seen = self.seen_in(window);
        let first = self.past == 0 && method(scenario) != Attention::Eager && !whole;
        if scenario.workload.grown_cache || first || self.seen()? > window {
            return Ok(seen);
        }
        Ok(scenario.full_tokens()?.min(window).max(seen))
    }

    /// Keys of a full layer: a pre-allocated cache is attended to as a whole, except by the kernel
    /// for the first chunk where that has no mask.
    fn seen_in_full(&self, scenario: &Scenario<'_>, whole: bool) -> Result<u64, Overflow> {
        let first = self.past == 0 && method(scenario) != Attention::Eager && !whole;
        if scenario.workload.grown_cache || first {
            return self.seen();
        }
        Ok(scenario.full_tokens()?.max(self.seen()?))
    }

    /// Tokens that a windowed layer holds beside its window until the next pass: the cache is a view
    /// of the tensor that attention used (`DynamicSlidingWindowLayer.update`).
    pub fn kept_beside_window(&self, window: u64) -> Result<u64, Overflow> {
        Ok(self.seen_in(window) - self.seen()?.min(window - 1))
    }
}

/// Tokens that the cache of a windowed layer keeps; nothing where it keeps all, as quantized ones do
/// (4.57.6 `QuantizedCache`; later versions refuse models with such layers).
pub fn cached_window(scenario: &Scenario<'_>) -> Option<u64> {
    let version = scenario.runtime.options.stack().transformers;
    let keeps_window = version.windows_caches() && !scenario.kv.is_quantized();
    scenario.model.shape.window.filter(|_| keeps_window).map(|window| window.size)
}

/// How attention is computed in the end: families whose `_supports_sdpa` is false run eager.
pub fn method(scenario: &Scenario<'_>) -> Attention {
    let eager_only = scenario.model.shape.architecture.family().transformers.eager_only;
    match scenario.workload.attention {
        Attention::Sdpa if eager_only => Attention::Eager,
        asked => asked,
    }
}
