//! Components in the groups that engines tell apart.

use super::Component;

/// A group of components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Weights.
    Weights,
    /// Keys and values.
    Caches,
    /// What a pass computes.
    Computed,
    /// Context, libraries, what allocators cannot use.
    Overhead,
}

impl Group {
    /// Every group, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Weights, Self::Caches, Self::Computed, Self::Overhead];

    /// The name in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Caches => "caches",
            Self::Computed => "computed",
            Self::Overhead => "overhead",
        }
    }

    /// The name in tables.
    pub const fn title(self) -> &'static str {
        self.id()
    }

    /// The group that a component belongs to.
    pub const fn of(component: Component) -> Self {
        match component {
            Component::Weights => Self::Weights,
            Component::SystemPromptCache | Component::ConversationCache => Self::Caches,
            Component::RuntimeOverhead | Component::Fragmentation => Self::Overhead,
            Component::ActivationCapture
            | Component::AttentionTransients
            | Component::Activations
            | Component::Logits
            | Component::SmallBuffers => Self::Computed,
        }
    }
}
