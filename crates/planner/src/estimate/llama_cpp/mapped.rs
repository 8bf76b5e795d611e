//! What Apple's GPUs get of a mapped file beside its tensors there.
//!
//! With `--mmap`, the default, the model's buffer is the part of the file from the first of the GPU's tensors to the last
//! (`llama_model_base::load_tensors`, `get_mapping_range`), and so has what lies between them. In the order of `llama-quantize`
//! the token embedding and those of layers are between the output head or the last norm, and the first layer. Files in 16 or
//! 32 bits are the converter's own, in the order of the checkpoint.

use crate::dtype::WeightFormat;
use crate::estimate::weights::Weights;
use crate::estimate::{BufferId, Buffers, Component, Formula, Kind, Life, Phase, Scenario};
use crate::spec::{Basis, Bounds, Maker, Role};
use crate::units::Bytes;

const MAPPED: &str = "llama.cpp llama-model-loader.cpp, get_mapping_range: the file from the GPU's first tensor to its \
    last. Ministral 3 8B in Q8_0 shows 8603 MiB where its tensors take 8059, gpt-oss-20b 11536 where they take 10949; Pythia \
    1.4B in f16 the 2503 MiB of its tensors. Other orders of a file and `--no-mmap` leave the embedding out";

/// Lists what of main memory's tensors is among it, where all layers are on the GPU.
pub(super) fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let between = between(scenario.weights);
    let is_whole = !scenario.part().is_host && scenario.part().placed.is_none();
    if scenario.gpu.maker != Maker::Apple || !is_whole || between.is_zero() {
        return;
    }
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: MAPPED,
    };
    let expected = if is_converted(scenario.weights.format) { Bytes::ZERO } else { between };
    let size = Bounds::new(Bytes::ZERO, expected, between);
    let formula = Formula::text("embeddings, in the file between the GPU's tensors", &[]);
    buffers.push(kind, BufferId::MappedEmbeddings, size, formula);
}

/// Whether files of this format come from the converter, and not from `llama-quantize`.
const fn is_converted(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16)
}

/// Embeddings in main memory, but for one that the GPU has as its output head.
fn between(weights: &Weights) -> Bytes {
    let as_head = weights.pieces.iter().filter(|piece| piece.role == Some(Role::TokenEmbedding));
    as_head.fold(weights.host, |rest, piece| rest.minus_or_zero(piece.held[0]))
}
