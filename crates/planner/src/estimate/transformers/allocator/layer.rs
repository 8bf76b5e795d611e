//! One decoder layer, in the order of `modeling_*.py`.

use super::attention::{Attended, Sight, attend};
use super::caches::Cache;
use super::experts::{dense, experts};
use super::latent::attend_latent;
use super::norms::norm;
use super::play::{Held, Play};
use super::widths::Widths;
use crate::estimate::transformers::forward_pass::ForwardPass;

/// A layer, and what it sees in a pass.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its index in the model.
    pub layer: u64,
    /// The pass.
    pub pass: ForwardPass,
    /// What it attends to.
    pub sight: Sight,
}

/// Its output. The input stays with the caller, as the loop over layers keeps it until then.
pub fn layer(play: &mut Play, widths: &Widths<'_>, step: Step, cache: &mut Cache) -> Held {
    let family = widths.shape.architecture.family();
    let rows = step.sight.rows * step.sight.sequences;
    let normed = before(play, widths, rows);
    let Attended { output, weights } = if matches!(cache, Cache::None) {
        recurrent(play, widths, rows)
    } else if let Some(mla) = widths.mla() {
        attend_latent(play, widths, mla, step.sight, cache)
    } else {
        attend(play, widths, widths.shape.layer(step.layer), step.sight, cache)
    };
    if family.order.is_parallel() {
        let second = mlp(play, widths, step);
        play.give(normed);
        let sum = play.take(second.bytes());
        play.give_all([output, second, weights]);
        return sum;
    }
    play.give(normed);
    let sum = added(play, widths, rows, output);
    let normed = before(play, widths, rows);
    let output = mlp(play, widths, step);
    play.give(normed);
    let result = added(play, widths, rows, output);
    play.give(sum);
    play.give(weights);
    result
}

/// The norm before a sublayer, in families that have one.
fn before(play: &mut Play, widths: &Widths<'_>, rows: u64) -> Held {
    if !widths.shape.architecture.family().norms_inputs() {
        return Held::NOTHING;
    }
    let hidden = widths.shape.hidden_size;
    norm(play, widths.norm, rows * hidden, hidden)
}

/// What a sublayer gives, normed or scaled where the family does so, added to the residual.
fn added(play: &mut Play, widths: &Widths<'_>, rows: u64, output: Held) -> Held {
    let family = widths.shape.architecture.family();
    let hidden = widths.shape.hidden_size;
    let mut output = output;
    if family.norms_outputs() {
        let normed = norm(play, widths.norm, rows * hidden, hidden);
        play.give(std::mem::replace(&mut output, normed));
    }
    if family.scales.residuals {
        play.replace(&mut output, widths.rows(rows, hidden));
    }
    let sum = play.take(widths.rows(rows, hidden));
    play.give(output);
    sum
}

fn mlp(play: &mut Play, widths: &Widths<'_>, step: Step) -> Held {
    let rows = step.sight.rows * step.sight.sequences;
    match widths.experts(step.layer) {
        Some(moe) => experts(play, widths, moe, step.pass),
        None => dense(play, widths, rows, widths.shape.layer(step.layer).ffn_size),
    }
}

/// The projections of a layer that keeps a state: what its kernels take is not played.
fn recurrent(play: &mut Play, widths: &Widths<'_>, rows: u64) -> Attended {
    let channels = widths
        .shape
        .recurrent
        .map_or(0, |r| 2 * r.key_heads * r.key_head_dim + 2 * r.value_heads * r.value_head_dim);
    let projected = play.take(widths.rows(rows, channels));
    let mixed = play.take(projected.bytes());
    let output = play.take(widths.rows(rows, widths.shape.hidden_size));
    play.give(mixed);
    play.give(projected);
    Attended { output, weights: Held::NOTHING }
}
