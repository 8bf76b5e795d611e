//! Multi-head latent attention: queries are moved into the latent space, keys and values are one
//! vector per token (`models/deepseek2.cpp`).

use super::attention::Cached;
use super::builder::{Builder, heads};
use super::tensors::{Value, matrix};
use crate::spec::Mla;

impl Builder<'_> {
    /// Latent attention of one layer, its output projection included.
    pub(super) fn latent_attention(&mut self, x: Value, index: u64, mla: Mla) -> Value {
        let Mla { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. } = mla;
        let (rows, n_heads) = (self.params.rows, self.shape.n_heads);
        let latent_width = kv_lora_rank.saturating_add(qk_rope_head_dim);
        let q = self.latent_queries(x, mla);
        let compressed = self.graph.linear(x, latent_width);
        let rotary = compressed.strided(heads(qk_rope_head_dim, 1, rows));
        let k_rotary = self.rope(rotary, index);
        let latent = self.norm(compressed.strided(matrix(kv_lora_rank, rows)));
        let q_rotary = self.rope(q.strided(heads(qk_rope_head_dim, n_heads, rows)), index);
        let plain = q.strided(heads(qk_nope_head_dim, rows, n_heads));
        let absorbed = self.graph.fresh(&[plain], heads(kv_lora_rank, rows, n_heads));
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
        self.graph.linear(output, self.shape.hidden_size)
    }

    fn latent_queries(&mut self, x: Value, mla: Mla) -> Value {
        let head = mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim);
        let n_heads = self.shape.n_heads;
        let source = match mla.q_lora_rank {
            Some(rank) => {
                let low_rank = self.graph.linear(x, rank);
                self.norm(low_rank)
            }
            None => x,
        };
        let q = self.graph.linear(source, n_heads.saturating_mul(head));
        q.view(heads(head, n_heads, x.rows()))
    }
}
