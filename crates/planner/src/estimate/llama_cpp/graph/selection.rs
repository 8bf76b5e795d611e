//! Which layers have to be placed: layers repeat, and once the buffer is in the same state before and
//! after a period of them, more periods change nothing.

use std::ops::Range;

use crate::spec::ModelShape;
use crate::spec::families::RopeLayers;

/// The layers of a run but those in gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// The run.
    pub(super) run: Range<u64>,
    /// What is left out, in order.
    pub(super) gaps: Vec<Gap>,
}

/// Layers that are left out: whole periods of equal layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first of them. The `period` layers before it are compared with what is left out.
    pub(super) head: u64,
    /// The first layer after them.
    pub(super) tail: u64,
    /// Layers after which kinds repeat.
    pub(super) period: u64,
}

/// How many periods are placed before one is expected to change nothing.
const TRIES: [u64; 3] = [3, 6, 12];

impl Selection {
    /// Every layer of a run.
    pub(super) const fn all(run: &Range<u64>) -> Self {
        Self { run: run.start..run.end, gaps: Vec::new() }
    }

    /// Ever longer selections of a run that leave something out; try [`Self::all`] after them.
    pub(super) fn shorter(shape: &ModelShape, run: &Range<u64>) -> impl Iterator<Item = Self> {
        let windows = shape.window.and_then(|window| window.full_every);
        let states = shape.recurrent.map(|recurrent| recurrent.full_attention_every);
        // Without a rule for where attention is, every layer is placed.
        let is_regular = shape.ssm.is_none();
        let unrotated = match shape.architecture.family().rope.layers {
            RopeLayers::AllBut(every) => Some(every),
            RopeLayers::All | RopeLayers::None | RopeLayers::Windowed => None,
        };
        let period = windows.or(states).or(unrotated).unwrap_or(1).max(1);
        let dense = shape.moe.map_or(0, |moe| moe.leading_dense_layers);
        let first = dense.max(run.start).next_multiple_of(period);
        let (run, last) = (run.clone(), run.end.saturating_sub(1));
        TRIES.into_iter().filter_map(move |periods| {
            let head = first.checked_add(periods.checked_mul(period)?)?;
            let left_out = last.checked_sub(head)? / period;
            let tail = head + left_out * period;
            let gaps = vec![Gap { head, tail, period }];
            (left_out > 0 && is_regular).then(|| Self { run: run.clone(), gaps })
        })
    }

    /// Whether a layer is selected.
    pub(super) fn holds(&self, index: u64) -> bool {
        let is_left_out = |gap: &Gap| (gap.head..gap.tail).contains(&index);
        self.run.contains(&index) && !self.gaps.iter().any(is_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::llama_8b;

    #[test]
    fn whole_periods_are_left_out_and_the_last_layer_is_not() {
        let mut shape = llama_8b().shape;
        let first = |shape: &ModelShape| {
            let found = Selection::shorter(shape, &(0..shape.n_layers)).next();
            found.map(|selection| {
                (selection.gaps[0].head, selection.gaps[0].tail, selection.gaps[0].period)
            })
        };
        assert_eq!(first(&shape), Some((3, 31, 1)));
        shape.window = Some(crate::spec::Window { size: 512, full_every: Some(6) });
        assert_eq!(first(&shape), Some((18, 30, 6)));
        shape.n_layers = 18;
        assert_eq!(first(&shape), None);
        shape.n_layers = 64;
        let second_half = Selection::shorter(&shape, &(7..64)).next().unwrap();
        assert!(!second_half.holds(6) && second_half.holds(7) && !second_half.holds(40));
    }
}
