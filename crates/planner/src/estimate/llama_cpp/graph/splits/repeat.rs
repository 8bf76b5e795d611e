//! Which layers of a graph on several devices repeat: those of one kind whose weights and caches are on the same devices.
//!
//! As on one GPU ([`super::super::selection`]), layers are left out once every buffer is in the same state before and after
//! a period of them; which layers are alike depends on the placement.

use super::super::selection::{Gap, Selection};
use crate::spec::{Home, Layer, LayerShape, ModelShape, Placed, PlacedWeight};

/// Periods that are placed before one is expected to change nothing.
const TRIES: [u64; 2] = [2, 5];
/// The longest period that is looked for: every third layer's types differ, every sixth layer attends to all.
const LONGEST: usize = 6;

/// What has to be the same of two layers.
#[derive(PartialEq)]
struct Kind<'a> {
    layer: Layer,
    shape: LayerShape,
    has_experts: bool,
    rotates: bool,
    has_values: bool,
    has_sinks: bool,
    is_given_images: bool,
    home: Option<&'a Home>,
    cache: Home,
    weights: Vec<Weight<'a>>,
}

/// A weight by its name behind the layer's.
#[derive(PartialEq)]
struct Weight<'a> {
    name: &'a str,
    home: Option<Home>,
    /// Bytes of a copy, where one may be made: a product runs on the GPU that has its weight.
    copy: u64,
}

/// Ever longer selections that leave layers out; all of them last.
pub(super) fn selections(
    shape: &ModelShape,
    layers: &[Layer],
    placed: &Placed,
    rotates: impl Fn(u64) -> bool,
) -> Vec<Selection> {
    let run = 0..shape.n_layers;
    let kinds: Vec<Kind<'_>> = (0..)
        .zip(layers)
        .map(|(index, layer)| kind(shape, *layer, placed, (index, rotates(index))))
        .collect();
    let of = |periods: &u64| Selection { run: run.clone(), gaps: gaps(&kinds, *periods) };
    let shorter = TRIES.iter().map(of).filter(|selection| !selection.gaps.is_empty());
    shorter.chain([Selection::all(&run)]).collect()
}

fn kind<'a>(
    shape: &ModelShape,
    layer: Layer,
    placed: &'a Placed,
    (index, rotates): (u64, bool),
) -> Kind<'a> {
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    let home = placed.layers.get(at);
    let weights = placed.weights.get(at).map_or(&[][..], Vec::as_slice);
    Kind {
        layer,
        shape: shape.layer(index),
        has_experts: shape.is_moe(index),
        rotates,
        has_values: shape.has_values(index),
        has_sinks: shape.has_sinks(index),
        is_given_images: index < shape.architecture.family().image_layers,
        home,
        cache: placed.cache_of(index),
        weights: weights.iter().map(|weight| located(weight, home)).collect(),
    }
}

fn located<'a>(weight: &'a PlacedWeight, home: Option<&Home>) -> Weight<'a> {
    let stays = weight.home.is_some_and(|own| own != Home::Host && Some(&own) == home);
    Weight {
        name: weight.name.splitn(3, '.').last().unwrap_or_default(),
        home: weight.home,
        copy: if stays { 0 } else { weight.copy },
    }
}

/// What is left out where so many periods are placed before each gap, and one behind it.
fn gaps(kinds: &[Kind<'_>], periods: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut from = 0;
    while from < kinds.len() {
        let found = (1..=LONGEST).filter_map(|period| gap(kinds, from, (period, periods)));
        let longest = found.max_by_key(|gap| (gap.tail - gap.head, std::cmp::Reverse(gap.period)));
        match longest {
            Some(gap) => {
                from = usize::try_from(gap.tail).unwrap_or(usize::MAX);
                gaps.push(gap);
            }
            None => from += 1,
        }
    }
    gaps
}

/// The gap of this period in the layers that repeat from one on.
fn gap(kinds: &[Kind<'_>], from: usize, (period, periods): (usize, u64)) -> Option<Gap> {
    let repeats = |index: &usize| kinds[*index] == kinds[*index - period];
    let end = from + period;
    let end = (end..kinds.len()).take_while(repeats).last().map_or(end, |last| last + 1);
    // The last layer is none of a period: it goes on with fewer rows.
    let end = end.min(kinds.len().saturating_sub(1));
    let head = from + period * usize::try_from(periods).ok()?;
    let left_out = end.checked_sub(head + period)? / period * period;
    let [head, tail, period] = [head, head + left_out, period].map(|n| n as u64);
    (left_out > 0).then_some(Gap { head, tail, period })
}
