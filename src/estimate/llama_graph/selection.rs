//! Which layers have to be placed: layers repeat, and once the buffer is in the same state before and
//! after a period of them, more periods change nothing.

use crate::spec::ModelShape;

/// The layers `..head` and `tail..`: those between are whole periods of equal layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Layers from the start. The last `period` of them are compared with what is left out.
    pub(super) head: u64,
    /// The first layer after those left out.
    pub(super) tail: u64,
    /// Layers after which kinds repeat.
    pub(super) period: u64,
}

/// How many periods are placed before one is expected to change nothing.
const TRIES: [u64; 3] = [3, 6, 12];

impl Selection {
    /// Every layer.
    pub(super) const ALL: Self = Self { head: 0, tail: 0, period: 0 };

    /// Ever longer selections that leave something out; try [`Self::ALL`] after them.
    pub(super) fn shorter(shape: &ModelShape) -> impl Iterator<Item = Self> {
        let windows = shape.window.and_then(|window| window.full_every);
        let states = shape.recurrent.map(|recurrent| recurrent.full_attention_every);
        // Without a rule for where attention is, every layer is placed.
        let is_regular = shape.ssm.is_none();
        let period = windows.or(states).unwrap_or(1).max(1);
        let dense = shape.moe.map_or(0, |moe| moe.leading_dense_layers);
        let last = shape.n_layers.saturating_sub(1);
        TRIES.into_iter().filter_map(move |periods| {
            let head = dense.next_multiple_of(period).checked_add(periods.checked_mul(period)?)?;
            let left_out = last.checked_sub(head)? / period;
            let tail = head + left_out * period;
            (left_out > 0 && is_regular).then_some(Self { head, tail, period })
        })
    }

    /// Whether a layer is selected.
    pub(super) const fn holds(self, index: u64) -> bool {
        index < self.head || index >= self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::llama_8b;

    #[test]
    fn whole_periods_are_left_out_and_the_last_layer_is_not() {
        let mut shape = llama_8b().shape;
        let first = |shape: &ModelShape| Selection::shorter(shape).next();
        assert_eq!(first(&shape), Some(Selection { head: 3, tail: 31, period: 1 }));
        shape.window = Some(crate::spec::Window { size: 512, full_every: Some(6) });
        assert_eq!(first(&shape), Some(Selection { head: 18, tail: 30, period: 6 }));
        shape.n_layers = 18;
        assert_eq!(first(&shape), None);
    }
}
