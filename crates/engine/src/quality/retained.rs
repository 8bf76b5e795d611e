//! How much of the full cache's attention falls on tokens that an evicting cache still has.
//!
//! The change of a layer's output is bounded by what is missing, up to a constant (Ada-KV, arXiv
//! 2407.11550): retained mass says where eviction hurts, without saying how much.

use super::RetainedMass;
use crate::backend::Backend;
use crate::{Captured, CapturedLayer, Engine, EngineError, Positions};

/// Mass by layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Retained {
    layers: Vec<Mass>,
}

#[derive(Clone, Copy, Debug)]
struct Mass {
    layer: usize,
    min: f64,
    sum: f64,
    count: usize,
}

impl Retained {
    /// Adds what the full cache attended to, as far as `engine` has it too.
    pub(super) fn add<B: Backend>(
        &mut self,
        seen: &Captured,
        engine: &Engine<B>,
    ) -> Result<(), EngineError> {
        let untracked = || EngineError::Order("positions are not followed");
        for layer in &seen.layers {
            let positions = engine.positions(layer.layer).ok_or_else(untracked)?;
            self.add_layer(layer, seen.columns, positions, engine.pinned_tokens());
        }
        Ok(())
    }

    fn add_layer(&mut self, seen: &CapturedLayer, columns: usize, kept: &Positions, pinned: usize) {
        let query_heads = seen.attention.len() / columns.max(1);
        let group = (query_heads / kept.kv_heads()).max(1);
        for (head, weights) in seen.attention.chunks_exact(columns).enumerate() {
            let kv_head = head / group;
            let at = &seen.positions[kv_head * columns..][..columns];
            let mass = retained(weights, at, kept.of_head(kv_head), pinned);
            self.push(seen.layer, mass);
        }
    }

    fn push(&mut self, layer: usize, mass: f64) {
        let index = self.layers.iter().position(|known| known.layer == layer);
        let index = index.unwrap_or_else(|| {
            self.layers.push(Mass { layer, min: 1.0, sum: 0.0, count: 0 });
            self.layers.len() - 1
        });
        let known = &mut self.layers[index];
        known.min = known.min.min(mass);
        known.sum += mass;
        known.count += 1;
    }

    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2⁵² samples")]
    pub(super) fn report(&self) -> Vec<RetainedMass> {
        let line = |mass: &Mass| RetainedMass {
            layer: mass.layer,
            min: mass.min,
            mean: mass.sum / mass.count.max(1) as f64,
        };
        self.layers.iter().map(line).collect()
    }
}

/// The weight on columns whose positions are of the system prompt or among the conversation tokens `kept`.
fn retained(weights: &[f32], positions: &[i64], kept: &[u32], pinned: usize) -> f64 {
    let pinned = i64::try_from(pinned).unwrap_or(i64::MAX);
    let mut sorted: Vec<i64> = kept
        .iter()
        .filter(|&&token| token != Positions::EMPTY)
        .map(|&token| pinned + i64::from(token))
        .collect();
    sorted.sort_unstable();
    let is_kept =
        |position: i64| (0..pinned).contains(&position) || sorted.binary_search(&position).is_ok();
    let columns = weights.iter().zip(positions).filter(|(_, position)| is_kept(**position));
    columns.map(|(&weight, _)| f64::from(weight)).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_is_what_falls_on_the_system_prompt_and_on_kept_tokens() {
        let weights = [0.1, 0.2, 0.3, 0.0, 0.25, 0.15];
        // Two pinned columns of three, then tokens 1, 2 and 0 of the conversation.
        let positions = [0, 1, 3, -1, 4, 2];
        let kept = [0, Positions::EMPTY, 2];
        let mass = retained(&weights, &positions, &kept, 2);
        assert!((mass - (0.1 + 0.2 + 0.25 + 0.15)).abs() < 1e-6, "{mass}");
    }
}
