//! Multi-head latent attention: queries are moved into the latent space, keys and values are one
//! vector per token (`models/deepseek2.cpp`).

use super::attention::Cached;
use super::builder::{Builder, heads};
use super::tensors::{Value, WeightName, matrix};
use crate::spec::Mla;

impl Builder<'_> {
    /// Latent attention of one layer, its output projection included.
    pub(super) fn latent_attention(&mut self, x: Value, index: u64, mla: Mla) -> Value {
        if mla.expanded {
            return self.expanded_attention(x, index, mla);
        }
        let Mla { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. } = mla;
        let (rows, n_heads) = (self.params.rows, self.shape.n_heads);
        let latent_width = kv_lora_rank.saturating_add(qk_rope_head_dim);
        let q = self.latent_queries(x, mla);
        let compressed = self.graph.product("attn_kv_a_mqa", x, latent_width);
        let rotary = compressed.part(1, heads(qk_rope_head_dim, 1, rows));
        let k_rotary = self.rope(rotary, index);
        let latent = compressed.strided(matrix(kv_lora_rank, rows));
        let latent = self.norm_of("attn_kv_a_norm", latent);
        let rotated = heads(qk_rope_head_dim, n_heads, rows);
        let q_rotary = self.rope(q.alternating(1, rotated, qk_nope_head_dim), index);
        let unrotated = heads(qk_nope_head_dim, rows, n_heads);
        let plain = q.alternating(0, unrotated, qk_rope_head_dim);
        let absorbed = self.graph.fresh(&[plain], heads(kv_lora_rank, rows, n_heads));
        let absorbed = self.graph.follow(absorbed, WeightName::weight("attn_k_b"));
        let absorbed = absorbed.strided(heads(kv_lora_rank, n_heads, rows));
        let q = self.graph.fresh(&[absorbed, q_rotary], heads(latent_width, n_heads, rows));
        let latent = latent.view(heads(kv_lora_rank, 1, rows));
        let k = self.graph.fresh(&[latent, k_rotary], heads(latent_width, 1, rows));
        for value in [q, latent, k] {
            self.graph.expand(value);
        }
        let inputs = self.full;
        self.write_rows(k.view(matrix(latent_width, rows)), inputs.k_rows);
        let cached = Cached {
            key_dim: latent_width,
            value_dim: kv_lora_rank,
            n_heads,
            kv_heads: 1,
            expanded_dim: Some(v_head_dim),
        };
        let output = self.attend(q, cached, &inputs);
        self.graph.product("attn_output", output, self.shape.hidden_size)
    }

    /// The same in files of before April 2025: keys and values of every head are computed and cached.
    fn expanded_attention(&mut self, x: Value, index: u64, mla: Mla) -> Value {
        let Mla { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. } = mla;
        let (rows, n_heads) = (self.params.rows, self.shape.n_heads);
        let key_dim = qk_nope_head_dim.saturating_add(qk_rope_head_dim);
        let q = self.latent_queries(x, mla);
        let compressed =
            self.graph.product("attn_kv_a_mqa", x, kv_lora_rank.saturating_add(qk_rope_head_dim));
        let rotary = compressed.part(1, heads(qk_rope_head_dim, 1, rows));
        let k_rotary = self.rope(rotary, index);
        let latent = self.norm_of("attn_kv_a_norm", compressed.strided(matrix(kv_lora_rank, rows)));
        let width = qk_nope_head_dim.saturating_add(v_head_dim);
        let both = self.graph.product("attn_kv_b", latent, n_heads.saturating_mul(width));
        let values = both.alternating(1, heads(v_head_dim, n_heads, rows), qk_nope_head_dim);
        let v = self.graph.contiguous(values, heads(v_head_dim, n_heads, rows));
        let q = self.rope(q, index);
        let repeated = self.graph.fresh(&[k_rotary], heads(qk_rope_head_dim, n_heads, rows));
        let plain = both.alternating(0, heads(qk_nope_head_dim, n_heads, rows), v_head_dim);
        let k = self.graph.fresh(&[plain, repeated], heads(key_dim, n_heads, rows));
        let inputs = self.full;
        let (q, k) = match inputs.k_rotation {
            Some(rotation) => (self.rotate(q, rotation), self.rotate(k, rotation)),
            None => (q, k),
        };
        let v = inputs.v_rotation.map_or(v, |rotation| self.rotate(v, rotation));
        for value in [q, v, k] {
            self.graph.expand(value);
        }
        self.write_rows(k.view(matrix(key_dim.saturating_mul(n_heads), rows)), inputs.k_rows);
        self.write_rows(v.view(matrix(v_head_dim.saturating_mul(n_heads), rows)), inputs.v_rows);
        let cached = Cached {
            key_dim,
            value_dim: v_head_dim,
            n_heads,
            kv_heads: n_heads,
            expanded_dim: None,
        };
        let output = self.attend(q, cached, &inputs);
        let output = inputs.v_rotation.map_or(output, |rotation| self.rotate(output, rotation));
        self.graph.product("attn_output", output, self.shape.hidden_size)
    }

    fn latent_queries(&mut self, x: Value, mla: Mla) -> Value {
        let head = mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim);
        let n_heads = self.shape.n_heads;
        let stem = if mla.q_lora_rank.is_some() { "attn_q_b" } else { "attn_q" };
        let source = match mla.q_lora_rank {
            Some(rank) => {
                let low_rank = self.graph.product("attn_q_a", x, rank);
                self.norm_of("attn_q_a_norm", low_rank)
            }
            None => x,
        };
        let q = self.graph.product(stem, source, n_heads.saturating_mul(head));
        q.view(heads(head, n_heads, x.rows()))
    }
}
