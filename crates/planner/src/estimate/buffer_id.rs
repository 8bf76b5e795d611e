//! Which buffer a row of the table is: what programs look it up by. Its label is for people, and may change.

use std::fmt;

/// Makes the enum, and the label of each variant.
macro_rules! buffer_ids {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)+) => {
        /// A buffer that another part of the project asks for, or [`BufferId::Other`] for one that is only added up.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum BufferId {
            $($(#[$doc])* $variant,)+
            /// One that nothing looks up, by its label.
            Other(&'static str),
        }

        impl BufferId {
            /// What it is, in a few words for people.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                    Self::Other(label) => label,
                }
            }
        }
    };
}

buffer_ids! {
    /// The model's weights on the device.
    Weights = "weights",
    /// The tower of a multimodal model.
    VisionTower = "vision tower",
    /// Keys and values of a cache.
    KeysAndValues = "keys and values",
    /// The same of layers that see a window only.
    WindowKeysAndValues = "keys and values, windowed layers",
    /// Keys by which an indexer chooses the tokens that attention reads.
    IndexerKeys = "keys of indexers",
    /// States of recurrent layers.
    RecurrentStates = "recurrent states",
    /// Attention mass of each slot.
    EvictionScores = "eviction scores",
    /// Activations kept for introspection.
    HiddenStates = "hidden states",
    /// Attention weights kept for introspection.
    AttentionWeights = "attention weights",
    /// The stream through the layers, and its norm.
    ResidualAndNorm = "residual and norm",
    /// Projections of attention and what it gives.
    AttentionProjections = "q, k, v and attention output",
    /// Projections of the MLP.
    GateAndUp = "gate and up",
    /// Logits of a step.
    Logits = "logits",
    /// Probabilities of a decode step, for the scores.
    ScoreProbabilities = "probabilities for the score update",
    /// The largest score of each tile.
    TileMaxima = "maximum of each tile",
    /// Partial results of attention that is split over the cache.
    SplitOutputs = "partial outputs of the split",
    /// Of every row of a chunk.
    LogSumExp = "log-sum-exp of every row",
    /// Slots that a chunk writes to.
    ChosenSlots = "slots chosen for eviction",
    /// Ids and positions of a step.
    IdsAndPositions = "ids and positions",
    /// The rotation of a step's positions.
    CosAndSin = "cos and sin",
    /// Scales of key channels.
    KeySmoothing = "smoothing of key channels",
    /// Bookkeeping of the ring.
    SlotCounters = "slot counters and victims",
    /// Slots that the next token takes.
    NextVictims = "victims of the next token",
    /// Frequencies of the rotation.
    RotationFrequencies = "rotation frequencies",
    /// Activations in 8 bits, for products with quantized matrices.
    EightBitActivations = "8-bit activations",
    /// Tiles of products that are added up later.
    PartialProducts = "partial products",
    /// A process in main memory, beside its buffers.
    Process = "the process itself",
    /// What a process holds of a card before it allocates.
    CudaContext = "CUDA context and loaded kernels",
    /// Libraries beside the context.
    Libraries = "libraries",
    /// cuBLAS's workspace.
    BlasWorkspace = "cuBLAS workspace",
    /// What attention takes of a backend's memory pool.
    AttentionPool = "pool: copies that attention makes",
    /// A backend's memory pool.
    Pool = "pool: operands of products",
    /// An encoder of images beside a model.
    Encoder = "image encoder (mmproj)",
    /// Its compute buffer.
    EncoderResults = "compute buffer of the image encoder",
    /// Adapters of low rank.
    Adapters = "adapters",
    /// Their products.
    AdapterResults = "products of adapters",
    /// Slots for adapters of linear layers.
    AdapterSlots = "slots for adapters",
    /// Slots for adapters of experts.
    ExpertAdapterSlots = "slots for adapters of experts",
    /// Slots for adapters of the embedding and the output head.
    EmbeddingAdapterSlots = "slots for adapters of embedding and head",
    /// A draft model's weights.
    DraftWeights = "draft model",
    /// Its keys and values.
    DraftCache = "draft model's keys and values",
    /// Its compute buffer.
    DraftResults = "draft model's compute buffer",
    /// The layer that predicts tokens ahead.
    PredictingLayer = "layer that predicts tokens ahead",
    /// Its keys and values.
    PredictingCache = "predicting layer's keys and values",
    /// The states of recurrent layers for the tokens ahead.
    PredictingStates = "states of tokens ahead",
    /// The compute buffer of its context.
    PredictingResults = "predicting layer's compute buffer",
    /// Embeddings that lie in a mapped file between the GPU's tensors.
    MappedEmbeddings = "embeddings among the mapped file",
    /// Workspaces of libraries, measured together.
    Workspaces = "workspaces",
    /// What allocators add to each tensor.
    WeightRounding = "rounding of weights",
    /// What a pool takes beyond what it hands out.
    PoolGranularity = "pool granularity",
    /// What captured graphs hold.
    CudaGraphs = "CUDA graphs",
    /// What captured graphs allocate of `PyTorch`.
    CapturedResults = "results of captured steps",
    /// What a captured graph holds of attention that is split.
    CapturedSplits = "attention's split results, captured",
    /// What `FlashInfer`'s attention works in.
    AttentionWorkspace = "FlashInfer's workspace",
    /// Buffers of ranks that talk to each other.
    RankCommunication = "NCCL and custom all-reduce",
    /// Rows that the kernel works in that filters logits.
    PivotSearch = "candidates of the pivot search",
    /// How often each token was generated, for penalties.
    PenaltyCounts = "counts of tokens for penalties",
    /// What a sampler keeps of every sequence beside them.
    SamplingStates = "masks and lists of tokens",
    /// What one family was seen to take beyond the others.
    FamilyExtra = "what Granite takes more",
    /// Tables of the rotation, for every position.
    RotaryTables = "sines and cosines",
    /// What a step is given.
    StepInputs = "inputs of a step",
    /// What kernels pad experts by.
    ExpertPadding = "padding of the experts",
    /// Scratch of experts' kernels.
    ExpertWorkspaces = "workspaces of the experts",
    /// Images before they are encoded.
    ImagePixels = "pixels of images",
    /// Images as the language model reads them.
    ImageEmbeddings = "embeddings of images",
    /// Images as inner layers read them once more.
    ImageLayerInputs = "inputs of inner layers",
}

impl From<&'static str> for BufferId {
    fn from(label: &'static str) -> Self {
        Self::Other(label)
    }
}

impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}
