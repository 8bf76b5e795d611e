//! What llama.cpp keeps of tokens for a file of an architecture that vramplan knows by the library's rules only.

use super::Layer;

/// What one layer keeps, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedLayer {
    /// Whether it keeps the tokens of a window, and not all.
    pub windowed: bool,
    /// Of a head of keys.
    pub key_head: u64,
    /// Of a head of values, also where keys hold them.
    pub value_head: u64,
    /// Of the keys of a token; 0 where it keeps none.
    pub keys: u64,
    /// Of the values of a token; 0 where keys hold them.
    pub values: u64,
    /// Of the keys of a token by which others are chosen (an indexer).
    pub index_keys: u64,
    /// Of the values that such a cache has room for, in MiniMax-M3.
    pub index_values: u64,
    /// Tokens that become one key before the window, in layers of DeepSeek-V4: 0 where none do.
    pub compresses: Option<u64>,
    /// Of the last inputs of a convolution, in f32, for a sequence.
    pub inputs: u64,
    /// Of a recurrent state, in f32, for a sequence.
    pub state: u64,
    /// Whether it is an MLP or experts alone.
    pub is_mlp: bool,
}

/// What all layers of a file keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCaches {
    /// `general.architecture`.
    pub architecture: String,
    /// Whether what layers keep is known to the byte: of architectures that compress keys, or that the library did
    /// not know when its rules were read, it is not.
    pub is_exact: bool,
    /// Whether queries are scaled by their positions.
    pub scales_queries: bool,
    /// Whether positions come in sections.
    pub has_sections: bool,
    /// Tokens of a window, where layers have one.
    pub window: Option<u64>,
    /// One a layer, those that predict tokens ahead left out.
    pub layers: Vec<CachedLayer>,
}

impl FileCaches {
    /// What each layer keeps, by kind.
    pub fn kinds(&self) -> Vec<Layer> {
        let kind = |layer: &CachedLayer| match self.window {
            _ if layer.is_mlp => Layer::Nothing,
            _ if layer.keys == 0 && (layer.state > 0 || layer.inputs > 0) => Layer::Recurrent,
            Some(size) if layer.windowed => Layer::Window { size },
            _ => Layer::Full,
        };
        self.layers.iter().map(kind).collect()
    }

    /// Elements of a token's values in the widest layer: where they are transposed, every layer has room for
    /// those.
    pub fn widest_values(&self) -> u64 {
        self.layers.iter().map(|layer| layer.values).max().unwrap_or(0)
    }
}
