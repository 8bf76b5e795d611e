//! Captures in a file format that holds numbers and nothing else.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};

use super::Captured;
use crate::EngineError;

impl Captured {
    /// The capture as a safetensors file: `layer.N.hidden` f32 `[tokens, hidden]`, `layer.N.attention`
    /// f32 `[query_heads, tokens, columns]` and `layer.N.positions` i64 `[kv_heads, columns]`, the last
    /// two where they were captured; `first` and `tokens` in the metadata.
    ///
    /// # Errors
    /// Where a capture is not of its own shape.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, EngineError> {
        let refuse = |error| EngineError::device("writing a capture", error);
        let mut views = Vec::new();
        for layer in &self.layers {
            let tokens = self.tokens.max(1);
            let columns = self.columns.max(1);
            let name = |part: &str| format!("layer.{}.{part}", layer.layer);
            let hidden = vec![tokens, layer.hidden.len() / tokens];
            views.push((name("hidden"), Dtype::F32, hidden, bytemuck::cast_slice(&layer.hidden)));
            if !layer.attention.is_empty() {
                let heads = layer.attention.len() / (tokens * columns);
                let bytes = bytemuck::cast_slice(&layer.attention);
                views.push((name("attention"), Dtype::F32, vec![heads, tokens, columns], bytes));
            }
            if !layer.positions.is_empty() {
                let heads = layer.positions.len() / columns;
                let bytes = bytemuck::cast_slice(&layer.positions);
                views.push((name("positions"), Dtype::I64, vec![heads, columns], bytes));
            }
        }
        let views: Result<Vec<_>, EngineError> = views
            .into_iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name, TensorView::new(dtype, shape, bytes).map_err(refuse)?))
            })
            .collect();
        let numbers = [("first", self.first), ("tokens", self.tokens)];
        let metadata: HashMap<_, _> =
            numbers.iter().map(|(key, n)| ((*key).to_owned(), n.to_string())).collect();
        safetensors::serialize(views?, Some(metadata)).map_err(refuse)
    }
}
