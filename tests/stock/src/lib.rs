//! Candle's stock `quantized_llama`, as its examples load it.

use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Result, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

/// A stock model on the CPU.
#[derive(Debug)]
pub struct Stock(ModelWeights);

impl Stock {
    /// Loads a GGUF file.
    ///
    /// # Errors
    /// As candle has them.
    pub fn load(path: &Path) -> Result<Self> {
        let mut file = fs_err::File::open(path)?;
        let content = Content::read(&mut file)?;
        ModelWeights::from_gguf(content, &mut file, &Device::Cpu).map(Self)
    }

    /// Continues with `tokens` from `position` on; the logits that follow the last, `[vocab]`, have not
    /// been copied.
    ///
    /// # Errors
    /// As candle has them.
    pub fn step(&mut self, tokens: &[u32], position: usize) -> Result<Tensor> {
        let tokens = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        self.0.forward(&tokens, position)?.flatten_all()
    }
}
