//! What is alive at one instant of a pass, and the largest of several instants.
//!
//! A moment such as attention passes through several instants: a mask is padded, then a kernel runs.
//! Their buffers are not alive together; a plan lists those of the largest.

use crate::estimate::{Buffers, Component, Formula, Kind};
use crate::spec::Bounds;
use crate::units::{Bytes, Overflow};

/// Buffers that are alive together.
#[derive(Clone, Debug, Default)]
pub struct Instant(Vec<Item>);

#[derive(Clone, Debug)]
struct Item {
    component: Component,
    name: &'static str,
    size: Bounds,
    formula: Formula,
}

impl Instant {
    /// With a buffer whose size is the product of named factors.
    pub fn and(
        self,
        component: Component,
        name: &'static str,
        factors: &[(&'static str, u64)],
    ) -> Result<Self, Overflow> {
        let formula = Formula::product(factors);
        let size = Bounds::exactly(formula.value()?);
        Ok(self.and_sized(component, name, size, formula))
    }

    /// With a buffer of this size.
    pub fn and_sized(
        mut self,
        component: Component,
        name: &'static str,
        size: Bounds,
        formula: Formula,
    ) -> Self {
        self.0.push(Item { component, name, size, formula });
        self
    }

    fn total(&self) -> Result<Bounds, Overflow> {
        self.0.iter().try_fold(Bounds::ZERO, |sum, item| sum.plus(item.size))
    }

    /// Lists the buffers of the largest instant. Where another has a larger low or high bound, these
    /// are theirs: the most that is alive is at least what is alive at any instant.
    pub fn push_largest(
        instants: Vec<Self>,
        buffers: &mut Buffers,
        kind: Kind<'_>,
    ) -> Result<(), Overflow> {
        let mut largest = (Bounds::ZERO, Self::default());
        let mut most = Bounds::ZERO;
        for instant in instants {
            let total = instant.total()?;
            most = most.max(total);
            if total.expected > largest.0.expected {
                largest = (total, instant);
            }
        }
        let (total, mut instant) = largest;
        instant.widen(most.low.minus_or_zero(total.low), most.high.minus_or_zero(total.high))?;
        for Item { component, name, size, formula } in instant.0 {
            buffers.push(Kind { component, ..kind }, name, size, formula);
        }
        Ok(())
    }

    /// Raises low bounds, up to what is expected, and the last high bound.
    fn widen(&mut self, mut low: Bytes, high: Bytes) -> Result<(), Overflow> {
        for Item { size, .. } in self.0.iter_mut().rev() {
            let more = low.min(size.expected.minus_or_zero(size.low));
            size.low = size.low.plus(more)?;
            low = low.minus_or_zero(more);
        }
        if let Some(last) = self.0.last_mut() {
            last.size.high = last.size.high.plus(high)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Life, Moment, Phase};
    use crate::spec::Basis;

    fn instant(name: &'static str, [low, expected, high]: [u64; 3]) -> Instant {
        let size = Bounds::new(Bytes::new(low), Bytes::new(expected), Bytes::new(high));
        let formula = Formula::text("given", &[]);
        Instant::default().and_sized(Component::Activations, name, size, formula)
    }

    #[test]
    fn the_largest_has_the_bounds_of_all() {
        let instants = vec![
            instant("varies", [10, 50, 60]),
            instant("fixed", [40, 40, 40]),
            instant("may be much", [0, 5, 90]),
        ];
        let kind = Kind {
            component: Component::Activations,
            life: Life::During(Phase::Prefill, Moment::Projection),
            basis: Basis::Modelled,
            source: "test",
        };
        let mut buffers = Buffers::default();
        Instant::push_largest(instants, &mut buffers, kind).unwrap();
        let bounds = Bounds::new(Bytes::new(40), Bytes::new(50), Bytes::new(90));
        assert_eq!(
            buffers.0.iter().map(|b| (b.label(), b.size)).collect::<Vec<_>>(),
            [("varies", bounds)]
        );
    }
}
