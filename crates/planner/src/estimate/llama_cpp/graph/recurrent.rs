//! Hybrid layers: gated delta-net, and attention with an output gate
//! (`models/qwen35.cpp`, `models/qwen3next.cpp`, `models/delta-net-base.cpp`).

use super::attention::Projected;
use super::builder::{Builder, heads};
use super::tensors::{Value, WeightName, cube, matrix};
use crate::spec::{Recurrent, ShortConvolution, Ssm};

impl Builder<'_> {
    /// Attention whose output passes through a gate, the gate being projected with the queries.
    pub(super) fn gated_attention(&mut self, x: Value, index: u64) -> Value {
        let shape = self.shape;
        let rows = x.rows();
        let queries = heads(shape.head_dim, shape.n_heads, rows);
        let keys = heads(shape.head_dim, shape.kv_heads, rows);
        let with_gate = self.graph.product("attn_q", x, shape.q_width().saturating_mul(2));
        let k = self.graph.product("attn_k", x, shape.kv_width());
        let v = self.graph.product("attn_v", x, shape.kv_width());
        let part = |part| with_gate.alternating(part, queries, shape.head_dim);
        let q = self.norm_of("attn_q_norm", part(0));
        let k = self.norm_of("attn_k_norm", k.view(keys));
        let gate = self.graph.contiguous(part(1), matrix(shape.q_width(), rows));
        let (q, k) = (self.rope(q, index), self.rope(k, index));
        let output = self.attend_cached(Projected { q, k, v: v.view(keys) }, index, false);
        let gate = self.graph.map(gate);
        let gated = self.graph.elementwise(&[output, gate]);
        self.graph.product("attn_output", gated, shape.hidden_size)
    }

    /// One layer of gated delta-net.
    pub(super) fn delta_net(&mut self, x: Value, recurrent: Recurrent) -> Value {
        let Recurrent { key_heads, value_heads, key_head_dim, value_head_dim, .. } = recurrent;
        let (rows, n_seq) = (self.params.rows, self.params.n_seq);
        let seq_rows = rows / n_seq;
        let values = value_heads.saturating_mul(value_head_dim);
        let channels = key_heads.saturating_mul(key_head_dim).saturating_mul(2) + values;
        let mixed = self.graph.product("attn_qkv", x, channels);
        let output_gate = self.graph.product("attn_gate", x, values);
        let (beta, decay) = self.delta_gates(x, recurrent);
        let convolved = self.convolve(mixed, recurrent.conv_kernel);
        let head_state = key_head_dim.saturating_mul(value_head_dim);
        let state = self.state(head_state.saturating_mul(value_heads));
        let state = state.view([key_head_dim, value_head_dim, value_heads, n_seq]);
        let heads_of = |part, dim, n| convolved.part(part, [dim, n, seq_rows, n_seq]);
        let q = self.unit_length(heads_of(0, key_head_dim, key_heads));
        let k = self.unit_length(heads_of(1, key_head_dim, key_heads));
        let (q, k) = self.repeated_heads(q, k, recurrent);
        let sources = [q, k, heads_of(2, value_head_dim, value_heads), decay, beta, state];
        let result_rows = rows.saturating_add(key_head_dim.saturating_mul(n_seq));
        let result = self.graph.fresh(&sources, matrix(values, result_rows));
        self.graph.write(&[result.view(matrix(head_state, value_heads.saturating_mul(n_seq)))]);
        let dims = [value_head_dim, value_heads, seq_rows, n_seq];
        let normed = self.norm_of("ssm_norm", result.view(dims));
        let output_gate = self.graph.map(output_gate.view(dims));
        let gated = self.graph.elementwise(&[normed, output_gate]);
        let gated = gated.view(matrix(values, rows));
        let output = self.graph.product("ssm_out", gated, self.shape.hidden_size);
        if !self.params.version.views_delta_nets() {
            return output;
        }
        // A batch of every sequence's own rows, of which a backend counts those of one.
        self.graph.notes[output.id].batch = seq_rows;
        output.view(output.dims)
    }

    /// Qwen3-Next repeats the heads of queries and keys for those of the values that share them.
    fn repeated_heads(&mut self, q: Value, k: Value, recurrent: Recurrent) -> (Value, Value) {
        let Recurrent { key_heads, value_heads, .. } = recurrent;
        let is_interleaved =
            self.family().delta_net().is_some_and(|delta_net| delta_net.joint_gates);
        if !is_interleaved || key_heads == value_heads {
            return (q, k);
        }
        let [head_dim, _, seq_rows, n_seq] = q.dims;
        let tokens = seq_rows.saturating_mul(n_seq);
        let groups = value_heads / key_heads.max(1);
        let [q, k] = [q, k].map(|x| {
            let apart = x.view([head_dim, 1, key_heads, tokens]);
            let repeated = self.graph.fresh(&[apart], [head_dim, groups, key_heads, tokens]);
            repeated.view([head_dim, value_heads, seq_rows, n_seq])
        });
        (q, k)
    }

    /// A gated convolution over the last tokens (`models/lfm-base.cpp`, `build_lfm_shortconv`).
    pub(super) fn short_convolution(&mut self, x: Value, convolution: ShortConvolution) -> Value {
        let (rows, n_seq, hidden) = (self.params.rows, self.params.n_seq, self.shape.hidden_size);
        let seq_rows = rows / n_seq;
        let history = convolution.kernel.saturating_sub(1);
        let projected = self.graph.product("shortconv.in_proj", x, hidden.saturating_mul(3));
        // One sequence's rows are counted of a batch of all of them.
        self.graph.notes[projected.id].batch = seq_rows;
        let part = |part| projected.part(part, cube(hidden, seq_rows, n_seq));
        let gated = self.graph.elementwise(&[part(0), part(2)]);
        let last = self.state(history.saturating_mul(hidden)).view(cube(history, hidden, n_seq));
        let gated = gated.strided(cube(seq_rows, hidden, n_seq));
        let window = self.graph.fresh(&[last, gated], cube(seq_rows + history, hidden, n_seq));
        self.graph.write(&[window.strided(cube(history, hidden, n_seq))]);
        let convolved = self.graph.fresh(&[window], cube(hidden, seq_rows, n_seq));
        self.graph.follow_rows(convolved, WeightName::weight("shortconv.conv"));
        let output = self.graph.elementwise(&[part(1), convolved]).view(matrix(hidden, rows));
        let output = self.graph.product("shortconv.out_proj", output, hidden);
        self.graph.notes[output.id].batch = seq_rows;
        output
    }

    /// One state-space layer (`models/mamba-base.cpp`, `build_mamba2_layer`).
    pub(super) fn state_space(&mut self, x: Value, ssm: Ssm) -> Value {
        let (rows, n_seq) = (self.params.rows, self.params.n_seq);
        let (inner, conv) = (ssm.inner_size, ssm.conv_width());
        let (seq_rows, head_dim) = (rows / n_seq, inner / ssm.n_heads.max(1));
        let history = ssm.conv_kernel.saturating_sub(1);
        let last = self.state(history.saturating_mul(conv)).view(cube(history, conv, n_seq));
        let width = inner.saturating_add(conv).saturating_add(ssm.n_heads);
        let projected = self.graph.product("ssm_in", x, width);
        let mixed = projected.part(1, cube(seq_rows, conv, n_seq));
        let window = self.graph.fresh(&[last, mixed], cube(seq_rows + history, conv, n_seq));
        self.graph.write(&[window.strided(cube(history, conv, n_seq))]);
        let convolved = self.graph.fresh(&[window], cube(conv, seq_rows, n_seq));
        self.graph.follow_rows(convolved, WeightName::weight("ssm_conv1d"));
        let convolved = self.graph.map(convolved);
        self.graph.follow_rows(convolved, WeightName::bias("ssm_conv1d"));
        let convolved = self.graph.map(convolved);
        let dims = [head_dim, ssm.n_heads, seq_rows, n_seq];
        let input = convolved.strided(dims);
        let steps = projected.part(2, cube(ssm.n_heads, seq_rows, n_seq));
        let steps = self.graph.contiguous(steps, steps.dims);
        let steps = self.graph.map(steps);
        self.graph.follow_rows(steps, WeightName::bias("ssm_dt"));
        let groups = [ssm.state_size, ssm.n_groups, seq_rows, n_seq];
        let inputs = [input, steps, convolved.part(1, groups), convolved.part(2, groups)];
        let scanned = self.scan(inputs, ssm);
        let skipped = self.graph.map(input);
        self.graph.follow_rows(skipped, WeightName { stem: "ssm_d", kind: "" });
        let output = self.graph.elementwise(&[scanned.view(dims), skipped]);
        let gate = self.graph.contiguous(projected.strided(dims), dims);
        let gated = self.graph.fresh(&[gate, output], dims);
        let groups = [inner / ssm.n_groups.max(1), ssm.n_groups, seq_rows, n_seq];
        let normed =
            if ssm.without_norm { gated } else { self.norm_of("ssm_norm", gated.view(groups)) };
        let normed = normed.view(matrix(inner, rows));
        self.graph.product("ssm_out", normed, self.shape.hidden_size)
    }

    /// The scan: its results, and behind them the states that go back to the cache, which it reads in
    /// place.
    fn scan(&mut self, [input, steps, b, c]: [Value; 4], ssm: Ssm) -> Value {
        let (rows, n_seq) = (self.params.rows, self.params.n_seq);
        let state = ssm.inner_size.saturating_mul(ssm.state_size);
        let elements = ssm.inner_size.saturating_mul(rows);
        let elements = elements.saturating_add(state.saturating_mul(n_seq));
        let Some(states) = self.states else { return self.embeddings };
        self.clear_state();
        let [chosen, rest] = self.state_parts.unwrap_or([states, states]);
        let sources = [input, steps, b, c, chosen];
        let scanned = self.graph.fresh(&sources, matrix(elements, 1));
        self.graph.follow_rows(scanned, WeightName { stem: "ssm_a", kind: "" });
        self.graph.read_cache(scanned, state.saturating_mul(n_seq).saturating_mul(4));
        self.graph.expand(scanned);
        let all_but_one = self.params.version.has_mixed_inputs();
        let left = if all_but_one { n_seq.saturating_sub(1) } else { 0 };
        let others = self.graph.fresh(&[rest], matrix(state, left));
        self.graph.read_cache(others, state.saturating_mul(n_seq).saturating_mul(4));
        self.graph.write(&[others.view(matrix(state, 0))]);
        self.graph.write(&[scanned.view(matrix(state, n_seq))]);
        scanned
    }

    /// The causal convolution over the last inputs of every sequence and the new ones.
    fn convolve(&mut self, mixed: Value, taps: u64) -> Value {
        let ([channels, rows, ..], n_seq) = (mixed.dims, self.params.n_seq);
        let seq_rows = rows / n_seq;
        let history = taps.saturating_sub(1);
        let last = self.state(history.saturating_mul(channels));
        let last = last.view(cube(history, channels, n_seq));
        let mixed = mixed.strided(cube(seq_rows, channels, n_seq));
        let window = self.graph.fresh(&[last, mixed], cube(seq_rows + history, channels, n_seq));
        self.graph.write(&[window.strided(cube(history, channels, n_seq))]);
        let convolved = self.graph.fresh(&[window], cube(channels, seq_rows, n_seq));
        self.graph.follow_rows(convolved, WeightName::weight("ssm_conv1d"));
        self.graph.map(convolved)
    }

    /// The two small projections: how much each value head learns and forgets.
    fn delta_gates(&mut self, x: Value, recurrent: Recurrent) -> (Value, Value) {
        let (rows, n_seq, n) = (self.params.rows, self.params.n_seq, recurrent.value_heads);
        let seq_rows = rows / n_seq;
        let per_head = [1, n, seq_rows, n_seq];
        let joint = self.family().delta_net().is_some_and(|delta_net| delta_net.joint_gates);
        let (beta, alpha) = if joint {
            let groups = n / recurrent.key_heads.max(1);
            let fused = self.graph.product("ssm_ba", x, n.saturating_mul(2));
            let dims = [groups, recurrent.key_heads, seq_rows, n_seq];
            let part = |part| fused.alternating(part, dims, groups);
            let beta = if self.params.version.views_delta_nets() {
                self.graph.contiguous(part(0), dims)
            } else {
                part(0)
            };
            let beta = self.graph.map(beta).view(per_head);
            (beta, self.graph.contiguous(part(1), cube(n, seq_rows, n_seq)))
        } else {
            let beta = self.graph.product("ssm_beta", x, n).view(per_head);
            let beta = self.graph.map(beta);
            (beta, self.graph.product("ssm_alpha", x, n).view(cube(n, seq_rows, n_seq)))
        };
        let biased = self.graph.map(alpha);
        self.graph.follow_rows(biased, WeightName::bias("ssm_dt"));
        let softplus = self.graph.map(biased);
        let gate = self.graph.map(softplus);
        self.graph.follow_rows(gate, WeightName { stem: "ssm_a", kind: "" });
        (beta, gate.view(per_head))
    }

    /// The states of the batch's sequences, gathered from the cache; the others are moved aside
    /// (`build_rs`).
    fn state(&mut self, size: u64) -> Value {
        let Some(states) = self.states else { return self.embeddings };
        self.clear_state();
        let parts = self.state_parts.filter(|_| !self.params.version.has_mixed_inputs());
        let chosen = parts.map_or(states, |[chosen, _]| chosen);
        let gathered = self.graph.fresh(&[chosen], matrix(size, self.params.n_seq));
        let view = size.saturating_mul(self.params.n_seq).saturating_mul(4);
        self.graph.read_cache(gathered, view);
        self.graph.expand(gathered);
        let others = match parts {
            None => gathered.view(matrix(size, 0)),
            Some([_, rest]) => {
                let others = self.graph.fresh(&[rest], matrix(size, 0));
                self.graph.read_cache(others, view);
                self.graph.notes[others.id].cached_as = Some(gathered.id);
                others
            }
        };
        self.graph.write(&[others]);
        gathered
    }

    /// The state of a new sequence is cleared where the cache is.
    fn clear_state(&mut self) {
        self.graph.write(&[]);
    }

    /// Rows divided by their length, as an RMS norm and a scale.
    fn unit_length(&mut self, x: Value) -> Value {
        let normed = self.graph.map(x);
        self.graph.map(normed)
    }
}
