//! A model: its shape, its tensors, and what a file says about how they are stored.

use super::{
    Fact, FileCaches, InvalidShape, Mixer, ModelPart, ModelShape, OwnFormat, Role, TensorSpec,
    tensors,
};
use crate::dtype::{GgmlType, KvFormat, WeightFormat};
use crate::units::{Bytes, Overflow};

/// A tensor as a file stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: Box<str>,
    /// What it is for, as far as its name tells; nothing where it is none of the known roles.
    pub role: Option<Role>,
    /// The decoder layer it belongs to, if any.
    pub layer: Option<u64>,
    /// Elements of a row (`ne[0]`).
    pub row: u64,
    /// Elements.
    pub elements: u64,
    /// Bytes in the file, without alignment.
    pub size: Bytes,
    /// Its type in a GGUF file; nothing in other files.
    pub ggml: Option<GgmlType>,
}

/// The tensor table of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWeights {
    /// What the file calls its format: a GGUF file type, or a dtype or quantization method.
    pub label: String,
    /// Where the table was read.
    pub source: String,
    /// Every tensor.
    pub tensors: Vec<StoredTensor>,
    /// Whether the checkpoint is quantized already, so that it cannot be quantized again.
    pub prequantized: bool,
}

impl StoredWeights {
    /// Whether the file is a GGUF file.
    pub fn is_gguf(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.ggml.is_some())
    }

    /// Bytes of all tensors, without alignment.
    pub fn size(&self) -> Result<Bytes, Overflow> {
        Bytes::sum(self.tensors.iter().map(|tensor| tensor.size))
    }
}

/// What a decoder layer keeps between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Keys and values of every token.
    Full,
    /// Keys and values of the last `size` tokens.
    Window {
        /// Tokens attended to.
        size: u64,
    },
    /// A state of fixed size.
    Recurrent,
    /// Keys and values of every token, and a state of fixed size.
    FullAndRecurrent,
    /// Nothing: it has no attention, or reads what a layer before it keeps.
    Nothing,
}

impl Layer {
    /// Those of `layers` that keep every token.
    pub fn full(layers: &[Self]) -> u64 {
        Self::count(layers, |layer| matches!(layer, Self::Full | Self::FullAndRecurrent))
    }

    /// Those that keep a window.
    pub fn windowed(layers: &[Self]) -> u64 {
        Self::count(layers, |layer| matches!(layer, Self::Window { .. }))
    }

    /// Those that keep a state.
    pub fn recurrent(layers: &[Self]) -> u64 {
        Self::count(layers, |layer| matches!(layer, Self::Recurrent | Self::FullAndRecurrent))
    }

    fn count(layers: &[Self], matches: impl Fn(&Self) -> bool) -> u64 {
        layers.iter().filter(|layer| matches(layer)).count() as u64
    }
}

/// A model that can be planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// The short name, such as `qwen2.5-14b`, or the name of the file.
    pub name: String,
    /// Other names that resolve to it.
    pub aliases: Vec<String>,
    /// The numbers behind everything below.
    pub shape: ModelShape,
    /// Where the shape was read.
    pub source: String,
    /// What each layer keeps.
    pub layers: Vec<Layer>,
    /// What each layer keeps in runtimes that load GGUF files, which know the windows of some families only.
    pub gguf_layers: Vec<Layer>,
    /// Every tensor that the shape implies.
    pub tensors: Vec<TensorSpec>,
    /// Every tensor of the vision tower and its projector, and of other parts beside the language model.
    pub vision_tensors: Vec<TensorSpec>,
    /// The parameter count that the model card states, of the language model.
    pub published_parameters: Option<Fact<u64>>,
    /// The same with the vision tower.
    pub published_total: Option<Fact<u64>>,
    /// How a file stores the weights, where one was read.
    pub stored: Option<StoredWeights>,
    /// What its repository or its name says of its format.
    pub own_format: Option<OwnFormat>,
    /// The format that the name ends in by which it was asked for, where that is not the profile's own name.
    pub named_format: Option<WeightFormat>,
    /// The format of caches that its publisher gives to all of such a name.
    pub named_cache: Option<KvFormat>,
    /// What has to be said of how it was read.
    pub remarks: Vec<String>,
    /// What llama.cpp keeps of tokens for a file of an architecture that is no family here.
    pub file_caches: Option<FileCaches>,
}

impl ModelSpec {
    /// What its own format is called, by its files or by its configuration where that has rules for its layers.
    pub fn stored_label(&self) -> Option<&str> {
        match (&self.stored, &self.own_format) {
            (Some(stored), _) => Some(&stored.label),
            (None, Some(OwnFormat::Listed(checkpoint))) => Some(&checkpoint.label),
            (None, Some(OwnFormat::Named(_)) | None) => None,
        }
    }

    /// Whether it is published in fewer bits than the types that models are trained in.
    pub fn is_quantized(&self) -> bool {
        match (&self.stored, &self.own_format) {
            (Some(stored), _) => stored.prequantized || stored.is_gguf(),
            (None, Some(OwnFormat::Listed(_))) => true,
            (None, Some(OwnFormat::Named(format))) => !format.is_float(),
            (None, None) => self.shape.architecture.family().experts.in_mxfp4(),
        }
    }

    /// A model of this shape; the shape is checked.
    pub fn new(
        name: impl Into<String>,
        shape: ModelShape,
        source: impl Into<String>,
    ) -> Result<Self, InvalidShape> {
        shape.validate()?;
        let layers: Vec<_> = (0..shape.n_layers).map(|index| layer_of(&shape, index)).collect();
        let gguf_layers = gguf_layers(&shape, &layers);
        let tensors = tensors(&shape);
        check_parameters(&tensors)?;
        let vision = shape.vision.map(|vision| vision.tensors(shape.hidden_size));
        let mut vision_tensors = vision.unwrap_or_default();
        vision_tensors.extend(shape.parts.iter().flat_map(ModelPart::list));
        check_parameters(&vision_tensors)?;
        Ok(Self {
            name: name.into(),
            aliases: Vec::new(),
            shape,
            source: source.into(),
            layers,
            gguf_layers,
            tensors,
            vision_tensors,
            published_parameters: None,
            published_total: None,
            stored: None,
            own_format: None,
            named_format: None,
            named_cache: None,
            remarks: Vec::new(),
            file_caches: None,
        })
    }

    /// Parameters of the language model, counted tensor by tensor.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(TensorSpec::elements).sum()
    }

    /// Parameters of the vision tower, its projector and other parts beside the language model; 0 where there are none.
    pub fn vision_parameters(&self) -> u64 {
        self.vision_tensors.iter().map(TensorSpec::elements).sum()
    }

    /// Elements of the file's tensors whose role is known, beyond those that the shape implies:
    /// 0 where the shape explains the file, which is when the same model can be planned in another
    /// format. Nothing where no file was read.
    pub fn unexplained_elements(&self) -> Option<i128> {
        let stored = self.stored.as_ref()?;
        let known = stored.tensors.iter().filter(|tensor| tensor.role.is_some());
        let known: i128 = known.map(|tensor| i128::from(tensor.elements)).sum();
        Some(known - i128::from(self.parameters()) - i128::from(self.vision_parameters()))
    }

    /// Layers that keep keys and values of every token.
    pub fn full_layers(&self) -> u64 {
        Layer::full(&self.layers)
    }

    /// Layers that keep keys and values of a window.
    pub fn window_layers(&self) -> u64 {
        Layer::windowed(&self.layers)
    }

    /// Layers that keep a recurrent state.
    pub fn recurrent_layers(&self) -> u64 {
        Layer::recurrent(&self.layers)
    }
}

/// Above this a parameter count is a damaged file, not a model.
const MAX_PARAMETERS: u64 = 1 << 50;

fn check_parameters(tensors: &[TensorSpec]) -> Result<(), InvalidShape> {
    let total = tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements()));
    if total <= MAX_PARAMETERS {
        return Ok(());
    }
    let expected = format!("at most {MAX_PARAMETERS}");
    Err(InvalidShape { field: "parameters", value: total, expected })
}

fn gguf_layers(shape: &ModelShape, layers: &[Layer]) -> Vec<Layer> {
    let has_windows = shape.architecture.caches_windows();
    let kept = |layer: &Layer| match layer {
        Layer::Window { .. } if !has_windows => Layer::Full,
        other => *other,
    };
    layers.iter().map(kept).collect()
}

fn layer_of(shape: &ModelShape, index: u64) -> Layer {
    match shape.mixer(index) {
        Mixer::Recurrent => Layer::Recurrent,
        Mixer::Both => Layer::FullAndRecurrent,
        Mixer::Nothing => Layer::Nothing,
        Mixer::Attention if shape.shares_cache(index) => Layer::Nothing,
        Mixer::Attention => {
            shape.window_of(index).map_or(Layer::Full, |size| Layer::Window { size })
        }
    }
}
