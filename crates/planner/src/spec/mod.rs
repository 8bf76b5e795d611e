//! What is planned: a model, a GPU, a runtime and a workload. Data and its invariants, nothing else.

mod architecture;
mod beside;
mod bitsandbytes;
mod checkpoint;
mod drafts;
mod extras;
mod fact;
pub(crate) mod families;
mod file_caches;
mod gpu;
mod launch;
mod llama_cpp;
mod media;
mod model;
mod ollama;
mod part;
mod placed;
mod quality;
mod runtime;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod server;
mod serving;
mod sglang;
mod sglang_version;
mod shape;
mod split;
mod tensors;
mod transformers;
mod version;
mod vision;
mod vllm_version;
mod workload;

pub use beside::{Adapter, Beside, Draft, Encoder};
pub use bitsandbytes::BitsandbytesVersion;
pub use checkpoint::{Checkpoint, Group, OwnFormat};
pub use drafts::{
    CONV_GROUP, DraftKind, DraftShape, PUBLISHED as PUBLISHED_DRAFTS, PublishedDraft,
    SELECTOR_RANK, TAPS, WIDE_HEAD,
};
pub use extras::{
    AltUp, Compressed, Extras, GatedStreams, Indexer, LayerEmbeddings, RunEmbeddings,
    ShortConvolution,
};
pub use fact::{Basis, Bounds, Fact};
pub use families::{Architecture, GgufWindow, RmsNorm, RopePairs};
pub use file_caches::{CachedLayer, FileCaches};
pub use gpu::{
    CalibratedParts, ComputeCapability, Ecc, GpuSpec, LARGEST_MEMORY, MOST_MULTIPROCESSORS, Maker,
    MeasuredServer,
};
pub use launch::{Count, Launch, SplitMode, TensorOverride, TensorSplit};
pub use llama_cpp::{Checked as CheckedLlamaCpp, LlamaCppGeneration, LlamaCppVersion};
pub use media::{Media, MediaLimits};
pub use model::{Layer, ModelSpec, StoredTensor, StoredWeights};
pub use ollama::OllamaVersion;
pub use part::{Part as ModelPart, PartTensor};
pub use placed::{Home, Memo, Placed, PlacedWeight};
pub use quality::{QUALITY_SOURCE, Quality, quality};
pub use runtime::{Runtime, RuntimeOptions, RuntimeSpec};
pub use server::{Drafter, Gibibytes, Grid, LoraSlots, Optimization, Server};
pub use serving::{AskedShare, Serving, Utilization};
pub use sglang::TokenServing;
pub use sglang_version::SglangVersion;
pub(crate) use shape::MAX_LAYERS;
pub use shape::{
    InvalidShape, LayerShape, Mixer, Mla, ModelShape, Moe, PerLayer, QkNorm, Recurrent, Router,
    RouterGating, Ssm, Window,
};
pub use split::{Part, Share, Split};
pub use tensors::{Role, TensorSpec, tensors};
pub use transformers::{TransformersStack, TransformersVersion};
pub use vision::{Tower, Vision};
pub use vllm_version::{Packing, VllmVersion};
pub use workload::{Attention, Capture, Headroom, Logits, MOST_SEQUENCES, Workload};
