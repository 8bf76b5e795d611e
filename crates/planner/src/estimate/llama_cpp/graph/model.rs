//! The layers of a model, one after the other (`src/models/*.cpp`).

use super::builder::{Builder, Mixed, embedding_width};
use super::selection::Selection;
use super::tensors::{Boundary, Usage, Value, WeightName, matrix};
use crate::spec::Layer;
use crate::spec::families::{HiddenStates, LayerOrder};

impl Builder<'_> {
    /// The layers of a selection and, where the stage has it, the output head; returns the boundaries of its gaps:
    /// before the layers that are compared with what is left out, and behind them.
    pub(super) fn model(&mut self, layers: &[Layer], selection: &Selection) -> Vec<[Boundary; 2]> {
        let mut x = self.embeddings;
        if self.family().image_layers > 0 && self.stage.is_first() {
            let padded = matrix(embedding_width(self.shape), x.rows());
            self.embeddings = self.graph.fresh(&[x], padded);
            self.graph.expand(self.embeddings);
            x = self.embeddings.strided(x.dims);
        }
        self.mix();
        let mut boundaries = vec![[Boundary::default(); 2]; selection.gaps.len()];
        if self.family().scales.embeddings && self.stage.is_first() {
            x = match self.token_scale {
                Some(scale) => self.graph.elementwise(&[x, scale]),
                None => self.graph.map(x),
            };
            if self.params.version.has_embedding_input() {
                self.graph.expand(x);
            }
        }
        for (index, layer) in (0..).zip(layers).filter(|(index, _)| selection.holds(*index)) {
            for (gap, [before, behind]) in selection.gaps.iter().zip(&mut boundaries) {
                if index + gap.period == gap.head {
                    *before = self.graph.boundary();
                }
                if index == gap.tail {
                    *behind = self.graph.boundary();
                }
            }
            let is_last = index + 1 == self.shape.n_layers;
            (self.graph.layer, self.norms) = (Some(index), 0);
            x = match self.family().order {
                LayerOrder::Sequential => self.layer(x, index, *layer, is_last),
                LayerOrder::Parallel => self.parallel_layer(x, index, *layer, is_last),
                LayerOrder::PostNorm => self.post_norm_layer(x, index, *layer, is_last),
                LayerOrder::Single => self.single_layer(x, index, *layer, is_last),
                LayerOrder::Beside => self.layer_of_both(x, index, is_last),
            };
        }
        self.graph.layer = None;
        if self.stage.has_head {
            self.output(x);
        } else {
            self.graph.expand(x);
        }
        if self.stage.copies > 1 {
            self.graph.keep_inputs();
        }
        boundaries
    }

    /// Puts a batch of tokens and embeddings together: a copy of the embeddings, into which those of tokens are
    /// written. As nothing reads the result but a branch that is not taken, it is kept to the end.
    fn mix(&mut self) {
        let Some(Mixed { given, looked_up, slots, .. }) = self.mixed else { return };
        let is_padded = given.dims != looked_up.dims;
        let tokens = if is_padded { self.graph.fresh(&[looked_up], given.dims) } else { looked_up };
        self.graph.expand(tokens);
        let copy = self.graph.fresh(&[given], given.dims);
        self.graph.keep(copy);
        self.graph.write(&[tokens, slots, copy]);
    }

    /// Norm, attention, norm, MLP; with norms after the two where a model has four of them.
    fn layer(&mut self, x: Value, index: u64, layer: Layer, is_last: bool) -> Value {
        let shape = self.shape;
        let normed = self.norm(x);
        if shape.recurrent.is_some() {
            self.graph.expand(normed);
        }
        let attended = self.mix_tokens(normed, index, layer);
        let (attended, x) = self.last_rows(attended, x, is_last);
        let attended = if has_post_norms(shape.norms_per_layer) {
            self.norm(attended)
        } else {
            self.scaled_residual(attended)
        };
        let sum = if self.family().graph.stream_first { [x, attended] } else { [attended, x] };
        let middle = self.graph.elementwise(&sum);
        let normed = self.norm(middle);
        let output = self.mlp(normed, index);
        let output = if has_post_norms(shape.norms_per_layer) {
            self.last_norm(output)
        } else {
            self.scaled_residual(output)
        };
        if self.family().graph.residual_first {
            return self.graph.elementwise(&[middle, output]);
        }
        let output = self.graph.elementwise(&[output, middle]);
        if index < self.family().image_layers {
            let image = self.embeddings.strided(output.dims);
            return self.graph.elementwise(&[output, image]);
        }
        if !self.family().layer_scalar {
            return output;
        }
        let scaled = self.graph.map(output);
        self.graph.follow_rows(scaled, WeightName::weight("layer_output_scale"))
    }

    /// The experts of a layer, or its dense MLP.
    fn mlp(&mut self, x: Value, index: u64) -> Value {
        match self.shape.moe {
            Some(moe) if self.shape.is_moe(index) => self.experts(x, moe),
            _ => self.dense_ffn(x, self.shape.layer(index).ffn_size),
        }
    }

    fn mix_tokens(&mut self, x: Value, index: u64, layer: Layer) -> Value {
        let shape = self.shape;
        if let (Layer::Recurrent, Some(ssm)) = (layer, shape.ssm) {
            return self.state_space(x, ssm);
        }
        if let (Layer::Recurrent, Some(convolution)) = (layer, shape.extras.short_convolution) {
            return self.short_convolution(x, convolution);
        }
        match (layer, shape.recurrent, shape.mla) {
            (Layer::Recurrent, Some(recurrent), _) => self.delta_net(x, recurrent),
            (_, _, Some(mla)) => self.latent_attention(x, index, mla),
            _ if shape.attention_output_gate => self.gated_attention(x, index),
            _ => self.attention(x, index, matches!(layer, Layer::Window { .. })),
        }
    }

    /// Command-R: one norm, attention and MLP side by side.
    fn parallel_layer(&mut self, x: Value, index: u64, layer: Layer, is_last: bool) -> Value {
        let normed = self.norm(x);
        let attended = self.attention(normed, index, matches!(layer, Layer::Window { .. }));
        let (attended, x) = self.last_rows(attended, x, is_last);
        let normed = if is_last { self.output_rows_of(normed) } else { normed };
        let output = self.dense_ffn(normed, self.shape.ffn_size);
        let output = self.graph.elementwise(&[output, x]);
        self.graph.elementwise(&[output, attended])
    }

    /// OLMo 2: norms after attention and after the MLP.
    fn post_norm_layer(&mut self, x: Value, index: u64, layer: Layer, is_last: bool) -> Value {
        let attended = self.attention(x, index, matches!(layer, Layer::Window { .. }));
        let (attended, x) = self.last_rows(attended, x, is_last);
        let attended = self.norm(attended);
        let middle = self.graph.elementwise(&[attended, x]);
        let output = self.dense_ffn(middle, self.shape.ffn_size);
        let output = self.last_norm(output);
        self.graph.elementwise(&[output, middle])
    }

    /// Nemotron-H: one norm, and one of attention, a state-space layer, an MLP or experts.
    fn single_layer(&mut self, x: Value, index: u64, layer: Layer, is_last: bool) -> Value {
        let normed = self.norm(x);
        let output = match layer {
            Layer::Nothing => self.mlp(normed, index),
            _ => self.mix_tokens(normed, index, layer),
        };
        let (output, x) = self.last_rows(output, x, is_last);
        self.graph.elementwise(&[output, x])
    }

    /// Falcon-H1: attention and a state-space layer, each behind a norm with the same weight.
    fn layer_of_both(&mut self, x: Value, index: u64, is_last: bool) -> Value {
        let normed = self.norm(x);
        let attended = self.attention(normed, index, false);
        let normed = self.norm_of("attn_norm", x);
        let scanned = match self.shape.ssm {
            Some(ssm) => self.state_space(normed, ssm),
            None => normed,
        };
        let both = self.graph.elementwise(&[attended, scanned]);
        let middle = self.graph.elementwise(&[both, x]);
        let middle = if is_last { self.output_rows_of(middle) } else { middle };
        let normed = self.norm(middle);
        let output = self.mlp(normed, index);
        self.graph.elementwise(&[output, middle])
    }

    fn scaled_residual(&mut self, x: Value) -> Value {
        if self.family().scales.residuals { self.graph.map(x) } else { x }
    }

    /// The last layer goes on with the rows that logits are wanted for.
    fn last_rows(&mut self, attended: Value, x: Value, is_last: bool) -> (Value, Value) {
        if !is_last || self.keeps_all_rows() {
            return (attended, x);
        }
        (self.output_rows_of(attended), self.output_rows_of(x))
    }

    fn output_rows_of(&mut self, x: Value) -> Value {
        let dims = matrix(x.dims[0], self.params.n_outputs);
        self.graph.fresh(&[x, self.output_rows], dims)
    }

    /// Whether the hidden states of all rows are an output beside the logits.
    fn keeps_all_rows(&self) -> bool {
        self.params.version.keeps_hidden_states()
            && self.family().graph.hidden_states != HiddenStates::None
    }

    fn output(&mut self, x: Value) {
        let mut x = x;
        if !self.keeps_all_rows() {
            let kept = self.params.version.keeps_output_rows()
                && self.family().graph.hidden_states == HiddenStates::BeforeNorm;
            if kept {
                self.graph.keep(x);
            }
            x = self.norm(x);
        } else if self.family().graph.hidden_states == HiddenStates::BeforeNorm {
            self.graph.keep(x);
            let rows = self.output_rows_of(x);
            x = self.norm(rows);
        } else {
            x = self.norm(x);
            self.graph.keep(x);
            x = self.output_rows_of(x);
        }
        self.graph.keep(x);
        let logits = self.graph.product("output", x, self.shape.vocab_size);
        let mut logits = self.graph.mark(logits, Usage::Logits);
        for _ in 0..self.logit_maps() {
            logits = self.graph.map(logits);
            logits = self.graph.mark(logits, Usage::Logits);
        }
        self.graph.keep(logits);
        self.graph.expand(logits);
    }

    /// Element-wise operations on the logits: a scale, or a soft cap of three.
    const fn logit_maps(&self) -> usize {
        match (self.family().scales.logits, self.shape.logit_softcap) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 0,
        }
    }
}

/// Whether there are norms behind attention and MLP too (Gemma 2 and 3).
const fn has_post_norms(norms_per_layer: u64) -> bool {
    norms_per_layer == 4
}
