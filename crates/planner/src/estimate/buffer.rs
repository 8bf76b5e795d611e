//! The row of every plan: one buffer, its size, its lifetime, and why it is that large.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::BufferId;
use crate::spec::{Basis, Bounds};
use crate::units::{Bytes, Overflow};

/// The parts of a run that a plan tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// The model's weights.
    Weights,
    /// Keys and values of the pinned system prompt.
    SystemPromptCache,
    /// Keys and values of the conversation, with what eviction keeps about them.
    ConversationCache,
    /// Activations kept for introspection.
    ActivationCapture,
    /// Scores, masks' expansions, copies of keys and values that attention makes.
    AttentionTransients,
    /// The other intermediate results of a layer.
    Activations,
    /// Logits and their copies.
    Logits,
    /// `RoPE` tables, masks, token ids, bookkeeping.
    SmallBuffers,
    /// Context, module images, library workspaces.
    RuntimeOverhead,
    /// What allocators round up and cannot use.
    Fragmentation,
}

impl Component {
    /// Every component, in the order of every table.
    pub const ALL: [Self; 10] = [
        Self::Weights,
        Self::SystemPromptCache,
        Self::ConversationCache,
        Self::ActivationCapture,
        Self::AttentionTransients,
        Self::Activations,
        Self::Logits,
        Self::SmallBuffers,
        Self::RuntimeOverhead,
        Self::Fragmentation,
    ];

    /// The name in JSON and on the command line.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::SystemPromptCache => "system_prompt_cache",
            Self::ConversationCache => "conversation_cache",
            Self::ActivationCapture => "activation_capture",
            Self::AttentionTransients => "attention_transients",
            Self::Activations => "activations",
            Self::Logits => "logits",
            Self::SmallBuffers => "small_buffers",
            Self::RuntimeOverhead => "runtime_overhead",
            Self::Fragmentation => "fragmentation",
        }
    }

    /// The name in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::SystemPromptCache => "system-prompt cache",
            Self::ConversationCache => "conversation cache",
            Self::ActivationCapture => "activation capture",
            Self::AttentionTransients => "attention transients",
            Self::Activations => "activations",
            Self::Logits => "logits",
            Self::SmallBuffers => "small buffers",
            Self::RuntimeOverhead => "runtime overhead",
            Self::Fragmentation => "fragmentation",
        }
    }

    /// The component that the command line calls `id`, `-`, `_` and spaces alike, or another word for it.
    pub fn from_id(id: &str) -> Option<Self> {
        let wanted = id.to_ascii_lowercase().replace(['-', ' '], "_");
        let wanted = match wanted.as_str() {
            "kv" | "kv_cache" | "cache" | "context" => "conversation_cache",
            "model" => "weights",
            "prompt" | "system_prompt" => "system_prompt_cache",
            "attention" => "attention_transients",
            "compute" | "compute_buffer" => "activations",
            "overhead" | "cuda" | "cuda_context" => "runtime_overhead",
            other => other,
        };
        Self::ALL.into_iter().find(|component| component.id() == wanted)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// What a run does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Weights are read and placed.
    Load,
    /// The system prompt is processed, chunk by chunk.
    SystemPrefill,
    /// A user's prompt is processed behind a full cache.
    Prefill,
    /// Tokens are generated with a full cache.
    Decode,
    /// The model looks at its own activations.
    Capture,
}

impl Phase {
    /// Every phase, in the order in which they first happen.
    pub const ALL: [Self; 5] =
        [Self::Load, Self::SystemPrefill, Self::Prefill, Self::Decode, Self::Capture];

    /// The name in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::SystemPrefill => "system_prefill",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Capture => "capture",
        }
    }

    /// The name in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::SystemPrefill => "system prefill",
            other => other.id(),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// How long a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// From the start of this phase to the end of the run.
    From(Phase),
    /// During one moment of one phase: buffers of the same moment are alive together, those of
    /// different moments are not.
    During(Phase, Moment),
}

/// A moment of a forward pass, or of loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// A vision tower encodes images.
    Encoding,
    /// A tensor is moved and converted.
    Conversion,
    /// Attention of one layer.
    Attention,
    /// The MLP or the experts of one layer.
    FeedForward,
    /// A linear layer, whose weight may be expanded first, and the norm of its output.
    Projection,
    /// The recurrent part of one layer.
    Recurrence,
    /// The output head.
    Output,
    /// All of the pass at once, where a runtime lays its buffers out so.
    Whole,
}

impl Moment {
    /// Every moment.
    pub const ALL: [Self; 8] = [
        Self::Encoding,
        Self::Conversion,
        Self::Attention,
        Self::FeedForward,
        Self::Projection,
        Self::Recurrence,
        Self::Output,
        Self::Whole,
    ];
}

/// A size as named factors, so that the reader can redo the arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    text: Option<&'static str>,
    factors: Vec<(&'static str, u64)>,
}

impl Formula {
    /// A product of named factors.
    pub fn product(factors: &[(&'static str, u64)]) -> Self {
        Self { text: None, factors: factors.to_vec() }
    }

    /// Any other formula, with the values of its symbols.
    pub fn text(text: &'static str, values: &[(&'static str, u64)]) -> Self {
        Self { text: Some(text), factors: values.to_vec() }
    }

    /// The size that a product stands for.
    pub fn value(&self) -> Result<Bytes, Overflow> {
        self.factors.iter().try_fold(Bytes::new(1), |product, (_, factor)| product.times(*factor))
    }

    /// The values behind the symbols.
    pub fn values(&self) -> &[(&'static str, u64)] {
        &self.factors
    }
}

impl fmt::Display for Formula {
    /// `layers 48 · kv_heads 8 · …`, or the text with its values behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (separator, values) = match self.text {
            None => (" · ", &self.factors),
            Some(text) => {
                f.write_str(text)?;
                if self.factors.is_empty() {
                    return Ok(());
                }
                f.write_str("; ")?;
                (", ", &self.factors)
            }
        };
        for (index, (name, value)) in values.iter().enumerate() {
            let sign = if self.text.is_some() { " = " } else { " " };
            write!(f, "{}{name}{sign}{value}", if index > 0 { separator } else { "" })?;
        }
        Ok(())
    }
}

/// One allocation, or a group of equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The component it is counted under.
    pub component: Component,
    /// Which it is.
    pub id: BufferId,
    /// How large it is.
    pub size: Bounds,
    /// How that is known.
    pub basis: Basis,
    /// How long it lives.
    pub life: Life,
    /// Why it is that large.
    pub formula: Formula,
    /// Where the formula or the constant comes from.
    pub source: Arc<str>,
}

impl Buffer {
    /// What it is, in a few words for people.
    pub const fn label(&self) -> &'static str {
        self.id.label()
    }
}

/// Collects buffers; the methods say how a size is known.
#[derive(Debug, Default)]
pub struct Buffers(pub Vec<Buffer>);

/// What every buffer of a group has in common.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    /// The component it is counted under.
    pub component: Component,
    /// How long it lives.
    pub life: Life,
    /// How its size is known.
    pub basis: Basis,
    /// Where the formula or the constant comes from.
    pub source: &'a str,
}

impl Buffers {
    /// A buffer whose size is the product of named factors. Nothing is listed when it is empty.
    pub fn product(
        &mut self,
        kind: Kind<'_>,
        id: impl Into<BufferId>,
        factors: &[(&'static str, u64)],
    ) -> Result<(), Overflow> {
        let formula = Formula::product(factors);
        let size = Bounds::exactly(formula.value()?);
        self.push(kind, id, size, formula);
        Ok(())
    }

    /// A buffer of this size, with the formula that led to it.
    pub fn push(
        &mut self,
        kind: Kind<'_>,
        id: impl Into<BufferId>,
        size: Bounds,
        formula: Formula,
    ) {
        if size.is_zero() {
            return;
        }
        let Kind { component, life, basis, source } = kind;
        let id = id.into();
        self.0.push(Buffer { component, id, size, basis, life, formula, source: source.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_prints_its_factors_and_multiplies_them() {
        let formula = Formula::product(&[("layers", 48), ("kv_heads", 8), ("bytes", 2)]);
        assert_eq!(formula.to_string(), "layers 48 · kv_heads 8 · bytes 2");
        assert_eq!(formula.value(), Ok(Bytes::new(768)));
        let formula = Formula::text("a + b", &[("a", 1), ("b", 2)]);
        assert_eq!(formula.to_string(), "a + b; a = 1, b = 2");
    }

    #[test]
    fn ids_lead_back_to_their_component() {
        for component in Component::ALL {
            assert_eq!(Component::from_id(component.id()), Some(component));
            assert_eq!(Component::from_id(&component.id().replace('_', "-")), Some(component));
        }
        assert_eq!(Component::from_id("wieghts"), None);
    }
}
