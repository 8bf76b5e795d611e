//! Graphs of llama.cpp for files whose architecture is no family here, by what differs from Llama's.
//!
//! A file shows its biases, norms, experts and windows itself; here is what it does not show. Every row was compared
//! with the library (`evidence/llama_cpp/archs.py`): its buffers come out to the byte.

use super::table::{GRANITE, INTERLEAVED, LLAMA_LIKE, NO_EXPERTS, NO_SCALES, RMS};
use super::{
    Experts, Family, LayerOrder, LlamaGraph, Norms, Rope, RopeLayers, Routing, ScaledWeights,
    Scales,
};
use crate::spec::{FileCaches, LlamaCppGeneration};

/// A graph by the architecture's name.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) architecture: &'static str,
    pub(crate) family: Family,
    /// The oldest generation under which the library gave the same.
    pub(crate) since: LlamaCppGeneration,
}

impl Graph {
    #[allow(clippy::large_types_passed_by_value, reason = "in constants only")]
    const fn of(architecture: &'static str, family: Family) -> Self {
        Self { architecture, family, since: LlamaCppGeneration::HalfMask }
    }

    const fn lately(self) -> Self {
        Self { since: LlamaCppGeneration::MixedBatch, ..self }
    }

    /// Before, quantized caches took up to 0.3% less than what is placed here.
    const fn newest(self) -> Self {
        Self { since: LlamaCppGeneration::FusedGates, ..self }
    }
}

const fn like_llama(architecture: &'static str) -> Graph {
    Graph::of(architecture, LLAMA_LIKE)
}

const fn with_experts(architecture: &'static str, experts: Experts) -> Graph {
    Graph::of(architecture, Family { experts, ..LLAMA_LIKE })
}

const fn with_norms(architecture: &'static str, norms: Norms) -> Graph {
    Graph::of(architecture, Family { norms, ..LLAMA_LIKE })
}

const LAYER_NORM: Norms = Norms { subtract_mean: true, ..RMS };
/// Gating by the file, and weights that are divided by their sum.
const GATED: Experts = Experts { routing: Routing::Sigmoid, ..NO_EXPERTS };
/// Gating, division and scale by the file.
const BY_FILE: Experts = Experts { scaled: ScaledWeights::Stated, ..GATED };
const NOT_DIVIDED: Experts = Experts { routing: Routing::SoftmaxOnly, ..NO_EXPERTS };
const SCALED: Experts = Experts { scaled: ScaledWeights::Stated, ..NOT_DIVIDED };
const SECTIONS: Rope = Rope { sections: true, ..LLAMA_LIKE.rope };

/// The stream comes first in a layer's sums.
const STREAM_FIRST: LlamaGraph =
    LlamaGraph { residual_first: true, stream_first: true, ..LLAMA_LIKE.graph };
const NEMOTRON_H: Family = Family {
    order: LayerOrder::Single,
    rope: Rope { layers: RopeLayers::None, ..LLAMA_LIKE.rope },
    experts: BY_FILE,
    ..LLAMA_LIKE
};

/// GLM-4V's files, whose positions come in sections, call themselves as the others do.
const GLM4_OF_IMAGES: &str = "glm4 of images";

/// The graphs, by name.
pub(crate) static GRAPHS: &[Graph] = &[
    like_llama("afmoe").lately(),
    like_llama("apertus"),
    like_llama("arcee"),
    like_llama("chatglm"),
    like_llama("deci"),
    like_llama("ernie4_5"),
    like_llama("exaone"),
    like_llama("granite_swa"),
    like_llama("hunyuan-dense"),
    like_llama("hy_v3").lately(),
    like_llama("internlm2"),
    like_llama("laguna").lately(),
    like_llama("maple"),
    like_llama("minicpm3").lately(),
    like_llama("mistral3"),
    like_llama("muse-glimmer").lately(),
    like_llama("plamo3"),
    like_llama("seed_oss"),
    like_llama("xverse"),
    Graph::of("hunyuan_vl", Family { rope: SECTIONS, ..LLAMA_LIKE }),
    with_norms("codeshell", LAYER_NORM),
    with_norms("gptneox", LAYER_NORM),
    with_norms("jais2", LAYER_NORM),
    with_norms("nemotron", LAYER_NORM),
    with_norms("olmo", LAYER_NORM),
    with_norms("orion", LAYER_NORM),
    with_norms("stablelm", LAYER_NORM),
    Graph::of("minicpm", Family { scales: GRANITE, ..LLAMA_LIKE }),
    Graph::of("granitemoe", Family { scales: GRANITE, ..LLAMA_LIKE }),
    Graph::of(
        "cohere2",
        Family {
            norms: LAYER_NORM,
            order: LayerOrder::Parallel,
            rope: Rope { layers: RopeLayers::Windowed, ..INTERLEAVED },
            scales: Scales { logits: true, ..NO_SCALES },
            ..LLAMA_LIKE
        },
    ),
    Graph::of("glm4", Family { fused_projections: true, ..LLAMA_LIKE }),
    Graph::of(GLM4_OF_IMAGES, Family { fused_projections: true, rope: SECTIONS, ..LLAMA_LIKE }),
    Graph::of(
        "exaone4",
        Family {
            order: LayerOrder::PostNorm,
            rope: Rope { layers: RopeLayers::Windowed, ..LLAMA_LIKE.rope },
            ..LLAMA_LIKE
        },
    ),
    with_experts("bailingmoe", BY_FILE),
    with_experts("bailingmoe2", BY_FILE),
    with_experts("dbrx", NO_EXPERTS).lately(),
    with_experts("deepseek", SCALED),
    with_experts("dots1", BY_FILE),
    with_experts("ernie4_5-moe", NO_EXPERTS).lately(),
    with_experts("hunyuan-moe", NO_EXPERTS),
    with_experts("mimo2", GATED).lately(),
    Graph::of("lfm2", Family { graph: STREAM_FIRST, ..LLAMA_LIKE }).newest(),
    Graph::of("lfm2moe", Family { graph: STREAM_FIRST, experts: GATED, ..LLAMA_LIKE }).newest(),
    Graph::of(
        "llama4",
        Family {
            rope: Rope { layers: RopeLayers::AllBut(4), ..INTERLEAVED },
            experts: Experts { weighs_inputs: true, ..SCALED },
            ..LLAMA_LIKE
        },
    ),
    Graph::of("falcon-h1", Family { order: LayerOrder::Beside, ..LLAMA_LIKE }),
    with_experts("minimax-m2", GATED),
    Graph::of("nemotron_h", NEMOTRON_H).lately(),
    Graph::of("nemotron_h_moe", NEMOTRON_H).lately(),
    with_experts("olmoe", NOT_DIVIDED),
    with_experts("phimoe", NO_EXPERTS).lately(),
    with_experts("step35", BY_FILE).lately(),
];

/// The place in [`GRAPHS`] of the graph of a family that has none of its own, which is known by its files.
pub(crate) fn graph_of_family(family: &Family) -> Option<usize> {
    let is_its = |graph: &Graph| graph.architecture == family.gguf;
    if family.graph.known { None } else { GRAPHS.iter().position(is_its) }
}

/// The place of a file's graph in [`GRAPHS`].
pub(crate) fn graph_of(file: &FileCaches) -> Option<usize> {
    let name = match file.architecture.as_str() {
        "glm4" if file.has_sections => GLM4_OF_IMAGES,
        // Without windows its layers differ from those of the published models.
        "llama4" if file.window.is_none() => return None,
        name => name,
    };
    GRAPHS.iter().position(|graph| graph.architecture == name)
}
