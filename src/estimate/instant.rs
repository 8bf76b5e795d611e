//! What is alive at one instant of a pass, and the largest of several instants.
//!
//! A moment such as attention passes through several instants: a mask is padded, then a kernel runs.
//! Their buffers are not alive together; a plan lists those of the largest.

use super::{Buffers, Component, Formula, Kind};
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

    fn total(&self) -> Result<Bytes, Overflow> {
        Bytes::sum(self.0.iter().map(|item| item.size.expected))
    }

    /// Lists the buffers of the largest instant.
    pub fn push_largest(
        instants: Vec<Self>,
        buffers: &mut Buffers,
        kind: Kind<'_>,
    ) -> Result<(), Overflow> {
        let mut largest = (Bytes::ZERO, Self::default());
        for instant in instants {
            let total = instant.total()?;
            if total > largest.0 {
                largest = (total, instant);
            }
        }
        for Item { component, name, size, formula } in largest.1.0 {
            buffers.push(Kind { component, ..kind }, name, size, formula);
        }
        Ok(())
    }
}
