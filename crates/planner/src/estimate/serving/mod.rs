//! What vLLM and SGLang share: SGLang's layers, loaders and ways to split a model were vLLM's, and are still the same where it
//! matters for memory. What each does for itself is in its own room.

pub(crate) mod compressed;
pub mod drafting;
pub(crate) mod fragmentation;
pub(crate) mod layer;
pub(crate) mod placement;
pub mod published;
pub(crate) mod tensors;
