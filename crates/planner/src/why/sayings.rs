//! llama.cpp's settings as the programs around it name them.

use super::evidence::Engine;
use crate::dtype::KvFormat;

/// A setting and its value.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// Cells of the context.
    Context(u64),
    /// A smaller context: without a number.
    SomeContext,
    /// Tokens of a pass.
    MicroBatch(u64),
    /// Layers on the card.
    Layers(u64),
    /// As many layers as there is room for: without a number.
    SomeLayers,
    /// Keys and values in this format, which needs flash attention.
    Cache(KvFormat),
    /// Flash attention.
    Flash,
    /// One slot.
    OneSlot,
}

impl Setting {
    /// In the words of an engine; none where it has no such setting.
    pub fn of(self, engine: Engine) -> Option<String> {
        match engine {
            Engine::Ollama => Some(self.of_ollama()),
            Engine::LmStudio => self.of_lm_studio(),
            Engine::KoboldCpp => self.of_koboldcpp(),
            _ => Some(self.of_llama_cpp()),
        }
    }

    fn of_llama_cpp(self) -> String {
        match self {
            Self::Context(cells) => format!("-c {cells}"),
            Self::SomeContext => "-c".to_owned(),
            Self::MicroBatch(tokens) => format!("-ub {tokens}"),
            Self::Layers(layers) => format!("-ngl {layers}"),
            Self::SomeLayers => "-ngl".to_owned(),
            Self::Cache(format) => format!("-ctk {format} -ctv {format}"),
            Self::Flash => "-fa on".to_owned(),
            Self::OneSlot => "-np 1".to_owned(),
        }
    }

    fn of_ollama(self) -> String {
        match self {
            Self::Context(cells) => format!("num_ctx {cells}"),
            Self::SomeContext => "num_ctx".to_owned(),
            Self::MicroBatch(tokens) => format!("num_batch {tokens}"),
            Self::Layers(layers) => format!("num_gpu {layers}"),
            Self::SomeLayers => "num_gpu".to_owned(),
            Self::Cache(format) => {
                format!("OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={format}")
            }
            Self::Flash => "OLLAMA_FLASH_ATTENTION=1".to_owned(),
            Self::OneSlot => "OLLAMA_NUM_PARALLEL=1".to_owned(),
        }
    }

    fn of_lm_studio(self) -> Option<String> {
        Some(match self {
            Self::Context(cells) => format!("Context Length: {cells}"),
            Self::SomeContext => "Context Length".to_owned(),
            Self::MicroBatch(tokens) => format!("Evaluation Batch Size: {tokens}"),
            Self::Layers(layers) => format!("GPU Offload: {layers}"),
            Self::SomeLayers => "GPU Offload".to_owned(),
            Self::Cache(format) => format!("K and V Cache Quantization Type: {format}"),
            Self::Flash => "Flash Attention: on".to_owned(),
            Self::OneSlot => return None,
        })
    }

    /// Its formats of a cache have numbers: `--quantkv 1` is `q8_0`, 2 is `q4_0`.
    fn of_koboldcpp(self) -> Option<String> {
        Some(match self {
            Self::Context(cells) => format!("--contextsize {cells}"),
            Self::SomeContext => "--contextsize".to_owned(),
            Self::MicroBatch(tokens) => format!("--blasbatchsize {tokens}"),
            Self::Layers(layers) => format!("--gpulayers {layers}"),
            Self::SomeLayers => "--gpulayers".to_owned(),
            Self::Cache(format) => match format.to_string().as_str() {
                "q8_0" => "--flashattention --quantkv 1".to_owned(),
                "q4_0" => "--flashattention --quantkv 2".to_owned(),
                _ => return None,
            },
            Self::Flash => "--flashattention".to_owned(),
            Self::OneSlot => return None,
        })
    }
}
