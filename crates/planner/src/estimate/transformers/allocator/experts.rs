//! The MLP of a layer: a dense one, or a router and experts (`integrations/moe.py`).

use super::linear::{Linear, linear};
use super::play::{Held, Library, Play};
use super::widths::Widths;
use crate::estimate::transformers::expert_modules::Share;
use crate::estimate::transformers::forward_pass::ForwardPass;
use crate::spec::{Moe, TransformersVersion};

/// A dense MLP over a normed input, which stays with the caller: its output.
pub fn dense(play: &mut Play, widths: &Widths<'_>, rows: u64, inner: u64) -> Held {
    let shape = widths.shape;
    let hidden = shape.hidden_size;
    let biased = |inputs, outputs| Linear::new(inputs, outputs).biased(shape.ffn_bias);
    let wide = widths.rows(rows, inner);
    if !shape.gated_ffn {
        let up = linear(play, widths, biased(hidden, inner), rows);
        let active = play.take(wide);
        play.give(up);
        return through(play, widths, biased(inner, hidden), rows, active);
    }
    if shape.fused_projections {
        let both = linear(play, widths, biased(hidden, 2 * inner), rows);
        let active = play.take(wide);
        let product = play.take(wide);
        play.give(active);
        let output = through(play, widths, biased(inner, hidden), rows, product);
        play.give(both);
        return output;
    }
    let gate = linear(play, widths, biased(hidden, inner), rows);
    let active = play.take(wide);
    play.give(gate);
    let up = linear(play, widths, biased(hidden, inner), rows);
    let product = play.take(wide);
    play.give(active);
    play.give(up);
    through(play, widths, biased(inner, hidden), rows, product)
}

/// A linear layer over an input that is given back.
fn through(play: &mut Play, widths: &Widths<'_>, matrix: Linear, rows: u64, input: Held) -> Held {
    let output = linear(play, widths, matrix, rows);
    play.give(input);
    output
}

/// Router, experts and the shared expert of a layer.
pub fn experts(play: &mut Play, widths: &Widths<'_>, moe: Moe, pass: ForwardPass) -> Held {
    let hidden = widths.shape.hidden_size;
    let rows = pass.rows * pass.sequences;
    let router = linear(play, widths, Linear::new(hidden, moe.n_experts).dense(), rows);
    let choices = play.take(2 * router.bytes());
    let shape = widths.shape;
    let output = match () {
        () if widths.packed_experts || widths.transformers == TransformersVersion::Current => {
            let one_by_one = pass.rows == 1 && pass.past > 0 && !widths.packed_experts;
            if one_by_one {
                batched(play, widths, moe, rows)
            } else {
                grouped(play, widths, moe, rows)
            }
        }
        () if widths.transformers.has_expert_modules(shape.architecture) => {
            modules(play, widths, moe, pass)
        }
        () => every(play, widths, moe, rows),
    };
    play.give(choices);
    play.give(router);
    if moe.shared_ffn_size == 0 {
        return output;
    }
    let shared = dense(play, widths, rows, moe.shared_ffn_size);
    let sum = play.take(widths.rows(rows, hidden));
    play.give(shared);
    play.give(output);
    sum
}

/// Tokens repeated for each of their experts and sorted, multiplied group by group, weighed, put back in order.
fn grouped(play: &mut Play, widths: &Widths<'_>, moe: Moe, rows: u64) -> Held {
    let hidden = widths.shape.hidden_size;
    let pairs = rows * moe.n_experts_used;
    let order = [play.take(8 * pairs), play.take(8 * pairs), play.take(2 * pairs)];
    let tokens = play.take(widths.rows(pairs, hidden));
    let product = gate(play, widths, moe, pairs);
    let biases = play.take(if moe.expert_bias { tokens.bytes() } else { 0 });
    let mut outputs = play.take(tokens.bytes());
    if moe.expert_bias {
        play.give(product);
        play.replace(&mut outputs, tokens.bytes());
    } else {
        play.give(product);
    }
    let scale = if widths.shape.architecture.family().experts.ordered_in_f32 { 2 } else { 1 };
    let weighed = play.take(scale * tokens.bytes());
    let ordered = play.take(weighed.bytes());
    play.give(weighed);
    let summed = play.take(scale * widths.rows(rows, hidden));
    let output = if scale == 2 {
        let output = play.take(widths.rows(rows, hidden));
        play.give(summed);
        output
    } else {
        summed
    };
    play.give_all([tokens, outputs, ordered, biases]);
    play.give_all(order);
    output
}

/// Gate and up in one, and the product of the gate's activation with up; with biases each is a copy more, and
/// both halves are clamped.
fn gate(play: &mut Play, widths: &Widths<'_>, moe: Moe, pairs: u64) -> Held {
    let half = widths.rows(pairs, moe.expert_ffn_size);
    if !moe.expert_bias {
        let both = play.take(2 * half);
        let active = play.take(half);
        let product = play.take(half);
        play.give(active);
        play.give(both);
        return product;
    }
    let bias = play.take(2 * half);
    let both = play.take(2 * half);
    let halves = [play.take(half), play.take(half)];
    let mut active = play.take(half);
    play.replace(&mut active, half);
    play.replace(&mut active, half);
    let raised = play.take(half);
    let product = play.take(half);
    play.give(raised);
    play.give_all(halves);
    play.give(active);
    play.give(both);
    play.give(bias);
    product
}

/// The weights of the chosen experts copied for a batched product.
fn batched(play: &mut Play, widths: &Widths<'_>, moe: Moe, rows: u64) -> Held {
    let hidden = widths.shape.hidden_size;
    let pairs = rows * moe.n_experts_used;
    let one = widths.rows(moe.expert_ffn_size * pairs, hidden);
    let tokens = play.take(widths.rows(pairs, hidden));
    let both = play.take(2 * one);
    let down = play.take(one);
    let output = play.take(widths.rows(rows, hidden));
    play.give(both);
    play.give(down);
    play.give(tokens);
    output
}

/// A loop over modules, the busiest of which gets the share that is expected.
fn modules(play: &mut Play, widths: &Widths<'_>, moe: Moe, pass: ForwardPass) -> Held {
    let hidden = widths.shape.hidden_size;
    let rows = pass.rows * pass.sequences;
    let output = play.take(widths.rows(rows, hidden));
    let which = play.take(8 * rows * moe.n_experts_used * moe.n_experts);
    let share = Share::busiest(pass, moe).map_or(rows, |share| share.expected);
    let tokens = play.take(widths.rows(share, hidden));
    let one = dense(play, widths, share, moe.expert_ffn_size);
    let weighed = play.take(one.bytes());
    play.give_all([weighed, one, tokens, which]);
    output
}

/// Every expert on every token. Names that the module gives to what it computes keep it until the end; biases are
/// added as they are.
fn every(play: &mut Play, widths: &Widths<'_>, moe: Moe, rows: u64) -> Held {
    let hidden = widths.shape.hidden_size;
    let pairs = rows * moe.n_experts;
    let half = widths.rows(pairs, moe.expert_ffn_size);
    let tokens = play.take(widths.rows(pairs, hidden));
    let mut both = play.take(2 * half);
    play.workspace(Library::Blas, widths.workspace);
    let mut named = Vec::new();
    let product = if moe.expert_bias {
        play.replace(&mut both, 2 * half);
        named.extend([play.take(half), play.take(half)]);
        let mut active = play.take(half);
        play.replace(&mut active, half);
        play.replace(&mut active, half);
        named.push(active);
        let raised = play.take(half);
        let product = play.take(half);
        play.give(raised);
        product
    } else {
        let active = play.take(half);
        let product = play.take(half);
        play.give(active);
        product
    };
    let mut outputs = play.take(tokens.bytes());
    play.workspace(Library::Blas, widths.workspace);
    play.give(product);
    if moe.expert_bias {
        play.replace(&mut outputs, tokens.bytes());
    }
    play.replace(&mut outputs, tokens.bytes());
    let output = play.take(widths.rows(rows, hidden));
    play.give_all([tokens, outputs, both]);
    play.give_all(named);
    output
}
