//! The graph of a micro-batch as ggml-alloc sees it: tensors, and the order in which they are computed.
//!
//! Views own no memory, so they are no tensors here: a [`Value`] says which tensor it looks at. Weights
//! and the KV cache lie elsewhere, so they are not listed among an operation's sources.

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Results of layers.
    Activation,
    /// Scores, and copies of keys and values.
    Attention,
    /// Logits.
    Logits,
    /// Masks, positions, indices: inputs other than embeddings.
    Input,
}

impl Usage {
    /// How many there are.
    pub(super) const COUNT: usize = 4;

    /// Its place in an array of [`Self::COUNT`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Activation => 0,
            Self::Attention => 1,
            Self::Logits => 2,
            Self::Input => 3,
        }
    }
}

/// How an operation's result gets its memory (`ggml_op_can_inplace` in `ggml-alloc.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Copied from the host before the graph runs.
    Input,
    /// New memory.
    Fresh,
    /// A source's memory where possible.
    InPlace,
    /// No memory: it writes to the cache.
    Effect,
}

/// Elements along each dimension, the fastest first; unused dimensions are 1.
pub(super) type Dims = [u64; 4];

/// A matrix: elements of a row, rows.
pub(super) const fn matrix(row: u64, rows: u64) -> Dims {
    [row, rows, 1, 1]
}

/// Heads of tokens, or the like.
pub(super) const fn cube(row: u64, rows: u64, planes: u64) -> Dims {
    [row, rows, planes, 1]
}

/// A tensor with memory of its own, or an [`Operation::Effect`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    pub(super) operation: Operation,
    pub(super) usage: Usage,
    pub(super) dims: Dims,
    /// Bytes, workspace included.
    pub(super) size: u64,
    /// Bytes behind the result that the operation works in.
    pub(super) workspace: u64,
    /// Kept until the graph has run.
    pub(super) is_output: bool,
    seen: bool,
    sources: (usize, usize),
}

/// A tensor of the model that an operation reads: what its name has behind the layer, in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WeightName {
    /// `attn_q`.
    pub(super) stem: &'static str,
    /// `.weight`, `.bias`, or nothing.
    pub(super) kind: &'static str,
}

impl WeightName {
    /// The matrix or vector of this stem.
    pub(super) const fn weight(stem: &'static str) -> Self {
        Self { stem, kind: ".weight" }
    }

    /// Its bias.
    pub(super) const fn bias(stem: &'static str) -> Self {
        Self { stem, kind: ".bias" }
    }
}

/// What decides on which device an operation runs, and what is copied there for it: of no use where everything
/// is on one GPU.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Note {
    /// The decoder layer; nothing before and behind all of them.
    pub(super) layer: Option<u64>,
    /// The weight that it follows.
    pub(super) weight: Option<WeightName>,
    /// Whether weight and cache come behind the first of the sources: copies are made in the order of all of them.
    pub(super) source_first: bool,
    /// A weight that it reads without following it, behind everything else: tables of frequencies, sinks.
    pub(super) beside: Option<WeightName>,
    /// Rows that a backend compares with the least that it takes over (`get_op_batch_size`).
    pub(super) batch: u64,
    /// Whether it is called `norm`: llama.cpp may ask for the layer's device.
    pub(super) is_norm: bool,
    /// A matrix beside the layer's cache that rotates what it reads: whether that of keys, and its bytes.
    pub(super) rotation: Option<(bool, u64)>,
    /// Bytes of up to two views of the layer's cache that it reads.
    pub(super) cached: [u64; 2],
    /// The operation that reads the same view of the cache.
    pub(super) cached_as: Option<usize>,
    /// The workspace where the views of the cache are copies: keys and values share no memory then.
    pub(super) workspace_apart: u64,
    /// What it is moved next to where one GPU runs all of it in one part: the backend computes a shared expert with the
    /// chosen ones.
    pub(super) joins: Option<Joined>,
    /// Whether it ends attention without fusion, which stays in main memory with the cache.
    pub(super) ends_attention: bool,
    /// The input of which this one is a part: devices get a copy of the part alone.
    pub(super) part_of: Option<usize>,
}

/// The chosen experts' gated products.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// The first of their products.
    pub(super) first: usize,
    /// Their result.
    pub(super) last: usize,
    /// What they read, which is held until the shared expert's result.
    pub(super) read: [usize; 2],
}

/// What an operation reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) id: usize,
    pub(super) view: View,
}

/// How a tensor is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    /// Dimensions of what is read.
    pub(super) dims: Dims,
    /// Whether it is the tensor itself: only then can it be taken over.
    pub(super) is_itself: bool,
    /// Whether what is read lies apart.
    pub(super) is_strided: bool,
    /// Which of several parts with these dimensions.
    pub(super) part: u8,
    /// Elements before the first and behind the last that is read, where parts alternate.
    pub(super) outside: u64,
}

/// A tensor, or a view of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) id: usize,
    pub(super) dims: Dims,
    is_view: bool,
    /// Whether its rows are not contiguous.
    pub(super) is_strided: bool,
    part: u8,
    outside: u64,
}

impl Value {
    /// The same memory with other dimensions, or its beginning.
    pub(super) const fn view(self, dims: Dims) -> Self {
        Self { dims, is_view: true, ..self }
    }

    /// A part of the memory, or all of it in another order.
    pub(super) const fn strided(self, dims: Dims) -> Self {
        Self { dims, is_view: true, is_strided: true, ..self }
    }

    /// One of several parts of every row.
    pub(super) const fn part(self, part: u8, dims: Dims) -> Self {
        Self { part, ..self.strided(dims) }
    }

    /// One of several parts that alternate: between the first element and the last lies all but `outside` of them.
    pub(super) const fn alternating(self, part: u8, dims: Dims, outside: u64) -> Self {
        Self { outside, ..self.part(part, dims) }
    }

    /// Tokens of a matrix.
    pub(super) const fn rows(self) -> u64 {
        self.dims[1]
    }
}

/// A step of the graph.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Compute a tensor.
    Run(usize),
    /// Let go of tensors that were held beyond their last use: a range of [`Graph::pins`]. They are only where
    /// one backend runs everything from the tensor `first` on.
    Unpin { from: usize, to: usize, first: usize },
}

/// How far a graph had grown when a layer began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) steps: usize,
    pub(super) tensors: usize,
}

/// Tensors in the order of their creation, steps in the order of their execution.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) tensors: Vec<Tensor>,
    /// A note for each of the tensors.
    pub(super) notes: Vec<Note>,
    /// The layer whose operations are added.
    pub(super) layer: Option<u64>,
    sources: Vec<Source>,
    pub(super) steps: Vec<Step>,
    /// Inputs that the device reads, in the order of their first use.
    pub(super) inputs: Vec<usize>,
    /// The same in the order in which they are come to, which is that of the host's buffer.
    pub(super) leafs: Vec<usize>,
    /// Readers of each tensor, those of its views included.
    pub(super) uses: Vec<u32>,
    pub(super) pins: Vec<usize>,
    /// Whether some size did not fit in 64 bits.
    pub(super) overflowed: bool,
}

/// Bytes of most elements: f32.
const F32: u64 = 4;

impl Graph {
    /// An empty graph with room for this many tensors.
    pub(super) fn with_capacity(tensors: usize) -> Self {
        Self {
            tensors: Vec::with_capacity(tensors),
            notes: Vec::with_capacity(tensors),
            sources: Vec::with_capacity(tensors.saturating_mul(2)),
            steps: Vec::with_capacity(tensors),
            uses: Vec::with_capacity(tensors),
            ..Self::default()
        }
    }

    /// Where the graph stands.
    pub(super) const fn boundary(&self) -> Boundary {
        Boundary { steps: self.steps.len(), tensors: self.tensors.len() }
    }

    /// Sources of a tensor.
    pub(super) fn sources_of(&self, tensor: &Tensor) -> &[Source] {
        &self.sources[tensor.sources.0..tensor.sources.1]
    }

    /// An input of `dims` elements of `element` bytes.
    pub(super) fn input(&mut self, dims: Dims, element: u64) -> Value {
        let input = self.add(Operation::Input, &[], dims, element);
        self.tensors[input.id].usage = Usage::Input;
        input
    }

    /// A result in new memory.
    pub(super) fn fresh(&mut self, sources: &[Value], dims: Dims) -> Value {
        self.add(Operation::Fresh, sources, dims, F32)
    }

    /// A result of 16-bit elements in new memory.
    pub(super) fn fresh_half(&mut self, sources: &[Value], dims: Dims) -> Value {
        self.add(Operation::Fresh, sources, dims, 2)
    }

    /// An element-wise result, shaped like its first source.
    pub(super) fn elementwise(&mut self, sources: &[Value]) -> Value {
        let dims = sources.first().map_or(matrix(0, 0), |first| first.dims);
        self.add(Operation::InPlace, sources, dims, F32)
    }

    /// An element-wise result of one source and, perhaps, weights.
    pub(super) fn map(&mut self, source: Value) -> Value {
        self.elementwise(&[source])
    }

    /// The product with a weight of `width` columns: `[width, rows]`.
    pub(super) fn linear(&mut self, x: Value, width: u64) -> Value {
        self.fresh(&[x], matrix(width, x.rows()))
    }

    /// The product with the matrix of this name.
    pub(super) fn product(&mut self, stem: &'static str, x: Value, width: u64) -> Value {
        let product = self.linear(x, width);
        self.follow(product, WeightName::weight(stem))
    }

    /// Says that a product is one with this matrix.
    pub(super) fn follow(&mut self, product: Value, weight: WeightName) -> Value {
        self.follow_in(product, weight, product.dims[1])
    }

    /// Says that an element-wise operation reads this weight.
    pub(super) fn follow_rows(&mut self, result: Value, weight: WeightName) -> Value {
        let [_, rows, planes, cubes] = result.dims;
        self.notes[result.id].source_first = true;
        self.follow_in(result, weight, rows.saturating_mul(planes).saturating_mul(cubes))
    }

    /// Says what the tensors from this one on are moved next to.
    pub(super) fn join(&mut self, from: usize, joined: Joined) {
        for note in &mut self.notes[from..] {
            note.joins = Some(joined);
        }
    }

    /// Says which weight an operation follows, and what of a batch it works on.
    pub(super) fn follow_in(&mut self, result: Value, weight: WeightName, batch: u64) -> Value {
        let note = &mut self.notes[result.id];
        (note.weight, note.batch) = (Some(weight), batch);
        result
    }

    /// The stem of the weight that a value is a product with.
    pub(super) fn stem_of(&self, value: Value) -> &'static str {
        self.notes[value.id].weight.map_or("", |weight| weight.stem)
    }

    /// A copy with contiguous rows.
    pub(super) fn contiguous(&mut self, x: Value, dims: Dims) -> Value {
        self.fresh(&[x], dims)
    }

    /// Says that an operation reads a view of the layer's cache of so many bytes.
    pub(super) fn read_cache(&mut self, result: Value, size: u64) {
        let cached = &mut self.notes[result.id].cached;
        if let Some(free) = cached.iter_mut().find(|view| **view == 0) {
            *free = size;
        }
    }

    /// A write to memory outside the buffer; it runs now.
    pub(super) fn write(&mut self, sources: &[Value]) {
        let effect = self.add(Operation::Effect, sources, matrix(0, 0), 0);
        self.expand(effect);
    }

    /// Says what a tensor is for.
    pub(super) fn mark(&mut self, value: Value, usage: Usage) -> Value {
        self.tensors[value.id].usage = usage;
        value
    }

    /// Keeps a tensor until the graph has run.
    pub(super) fn keep(&mut self, value: Value) {
        self.tensors[value.id].is_output = true;
    }

    /// Keeps every input until the graph has run.
    pub(super) fn keep_inputs(&mut self) {
        for &input in &self.inputs {
            self.tensors[input].is_output = true;
        }
    }

    /// Gives an operation a workspace, in bytes from the start of its result to `end`.
    pub(super) fn extend(&mut self, value: Value, end: u64) {
        let tensor = &mut self.tensors[value.id];
        tensor.workspace = end.saturating_sub(tensor.size);
        tensor.size = tensor.size.max(end);
    }

    /// Bytes of a tensor.
    pub(super) fn size(&self, value: Value) -> u64 {
        self.tensors[value.id].size
    }

    /// Adds a tensor and what it depends on to the steps, sources before results
    /// (`ggml_build_forward_expand`).
    pub(super) fn expand(&mut self, value: Value) {
        self.visit(value.id);
    }

    fn visit(&mut self, id: usize) {
        let Tensor { seen, operation, sources: (from, to), .. } = self.tensors[id];
        if operation == Operation::Input {
            let whole = self.notes[id].part_of.unwrap_or(id);
            if !self.leafs.contains(&whole) {
                self.leafs.push(whole);
            }
            return;
        }
        if seen {
            return;
        }
        self.tensors[id].seen = true;
        for index in from..to {
            self.visit(self.sources[index].id);
        }
        for index in from..to {
            self.count_use(self.sources[index].id);
        }
        self.steps.push(Step::Run(id));
    }

    fn count_use(&mut self, id: usize) {
        let tensor = &mut self.tensors[id];
        if tensor.operation == Operation::Input && !tensor.seen {
            tensor.seen = true;
            self.inputs.push(id);
        }
        self.uses[id] += 1;
    }

    /// Lets go, at this point of the order, of tensors that the backend's fusions hold until here.
    pub(super) fn unpin(&mut self, held: &[usize], first: Value) {
        let from = self.pins.len();
        for &id in held {
            self.uses[id] += 1;
            self.pins.push(id);
        }
        self.steps.push(Step::Unpin { from, to: self.pins.len(), first: first.id });
    }

    /// The tensor `first` and all computed after it so far, with what they read.
    pub(super) fn computed_since(&self, first: Value) -> Vec<usize> {
        let mut held = Vec::with_capacity(24);
        for step in self.steps.iter().rev() {
            let Step::Run(id) = *step else { break };
            let sources = self.sources_of(&self.tensors[id]);
            held.push(id);
            held.extend(sources.iter().map(|source| source.id));
            if id == first.id {
                break;
            }
        }
        held
    }

    fn add(&mut self, operation: Operation, sources: &[Value], dims: Dims, element: u64) -> Value {
        let size = dims.iter().try_fold(element, |product, &n| product.checked_mul(n));
        self.overflowed |= size.is_none();
        let from = self.sources.len();
        let source = |v: &Value| {
            let Value { id, dims, is_view, is_strided, part, outside } = *v;
            let view = View { dims, is_itself: !is_view, is_strided, part, outside };
            Source { id, view }
        };
        self.sources.extend(sources.iter().map(source));
        let id = self.tensors.len();
        self.tensors.push(Tensor {
            operation,
            usage: Usage::Activation,
            dims,
            size: size.unwrap_or(0),
            workspace: 0,
            is_output: false,
            seen: false,
            sources: (from, self.sources.len()),
        });
        self.uses.push(0);
        self.notes.push(Note { layer: self.layer, ..Note::default() });
        Value { id, dims, is_view: false, is_strided: false, part: 0, outside: 0 }
    }
}
