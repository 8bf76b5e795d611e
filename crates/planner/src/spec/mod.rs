//! What is planned: a model, a GPU, a runtime and a workload. Data and its invariants, nothing else.

mod architecture;
mod bitsandbytes;
mod fact;
pub(crate) mod families;
mod gpu;
mod llama_cpp;
mod model;
mod runtime;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod serving;
mod shape;
mod split;
mod tensors;
mod transformers;
mod version;
mod vision;
mod workload;

pub use bitsandbytes::BitsandbytesVersion;
pub use fact::{Basis, Bounds, Fact};
pub use families::{Architecture, GgufWindow, RopePairs};
pub use gpu::{CalibratedParts, ComputeCapability, Ecc, GpuSpec, MOST_MULTIPROCESSORS};
pub use llama_cpp::LlamaCppVersion;
pub use model::{Layer, ModelSpec, StoredTensor, StoredWeights};
pub use runtime::{Runtime, RuntimeOptions, RuntimeSpec};
pub use serving::{Serving, Utilization, VllmVersion};
pub(crate) use shape::MAX_LAYERS;
pub use shape::{
    InvalidShape, LayerShape, Mla, ModelShape, Moe, PerLayer, QkNorm, Recurrent, Ssm, Window,
};
pub use split::{Part, Share, Split};
pub use tensors::{Role, TensorSpec, tensors};
pub use transformers::{TransformersStack, TransformersVersion};
pub use vision::{Tower, Vision};
pub use workload::{Attention, Capture, Headroom, Logits, Workload};
