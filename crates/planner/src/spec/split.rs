//! A model spread over several GPUs, and what one of them has of it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::{Grid, Home, Layer, ModelSpec, Placed};

use crate::text::printable;
use crate::units::at_most;

/// How a model is spread over several GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Every GPU has a run of whole layers.
    #[default]
    Layer,
    /// Every GPU has a part of every layer.
    Tensor,
}

impl Split {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::Layer, Self::Tensor];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Tensor => "tensor",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        let found = Self::ALL.into_iter().find(|split| split.name() == wanted);
        found.ok_or_else(|| {
            format!("`{}` is not a split: expected `layer` or `tensor`", printable(text))
        })
    }
}

/// A GPU's share of the rows of a matrix: from `start` to `end` of `of` equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What the GPUs before it have.
    pub start: u64,
    /// What they and it have.
    pub end: u64,
    /// What all of them have.
    pub of: u64,
}

/// What one GPU has of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How the model is spread.
    pub split: Split,
    /// Which GPU, from 0.
    pub index: u64,
    /// How many GPUs there are.
    pub of: u64,
    /// Decoder layers that it has, or whose cache and other tensors it has where matrices are split.
    pub layers: Range<u64>,
    /// Whether it has the token embedding.
    pub has_embedding: bool,
    /// Whether it has the final norm.
    pub has_norm: bool,
    /// Whether it has the output head.
    pub has_head: bool,
    /// Whether it has the vision tower and its projector, or a part of them, where those are loaded.
    pub has_vision: bool,
    /// Its rows of every matrix, where those are dealt out by memory.
    pub share: Option<Share>,
    /// How GPUs share layers where that is more than tensor or pipeline parallelism (vLLM).
    pub grid: Option<Grid>,
    /// Where everything is, where tensors may be in main memory too.
    pub placed: Option<Arc<Placed>>,
    /// Whether it is main memory's part of such a placement.
    pub is_host: bool,
}

impl Part {
    /// The whole model, on one GPU.
    pub fn whole(model: &ModelSpec) -> Self {
        Self {
            split: Split::Layer,
            index: 0,
            of: 1,
            layers: 0..model.shape.n_layers,
            has_embedding: true,
            has_norm: true,
            has_head: true,
            has_vision: true,
            share: None,
            grid: None,
            placed: None,
            is_host: false,
        }
    }

    /// One of `of` equal parts of every layer.
    pub fn rank(model: &ModelSpec, index: u64, of: u64) -> Self {
        Self { split: Split::Tensor, index, of, ..Self::whole(model) }
    }

    /// The device that it is about, where tensors are placed one by one.
    pub fn home(&self) -> Home {
        if self.is_host { Home::Host } else { Home::Gpu(at_most(self.index, usize::MAX)) }
    }

    /// GPUs that every tensor is split over evenly.
    pub fn ranks(&self) -> u64 {
        match self.grid {
            Some(grid) => grid.tensor,
            None if self.split == Split::Tensor && self.share.is_none() => self.of,
            None => 1,
        }
    }

    /// Which of the GPUs it is that share its layers, from 0.
    pub const fn rank_of_stage(&self) -> u64 {
        match (self.grid, self.split) {
            (Some(grid), _) if grid.tensor > 0 => self.index % grid.tensor,
            (None, Split::Tensor) => self.index,
            _ => 0,
        }
    }

    /// Which run of layers it has, from 0.
    pub const fn stage(&self) -> u64 {
        match (self.grid, self.split) {
            (Some(grid), _) if grid.tensor > 0 && grid.stages > 0 => {
                self.index / grid.tensor % grid.stages
            }
            (None, Split::Layer) => self.index,
            _ => 0,
        }
    }

    /// How many runs of layers there are.
    pub fn stages(&self) -> u64 {
        match (self.grid, self.split) {
            (Some(grid), _) => grid.stages.max(1),
            (None, Split::Layer) => self.of.max(1),
            (None, _) => 1,
        }
    }

    /// Which copy of the dense layers it belongs to, from 0.
    pub const fn copy(&self) -> u64 {
        match self.grid {
            Some(grid) if grid.tensor > 0 && grid.stages > 0 => {
                self.index / (grid.tensor * grid.stages)
            }
            _ => 0,
        }
    }

    /// Whether there are other GPUs.
    pub const fn is_one_of_several(&self) -> bool {
        self.of > 1
    }

    /// What its layers keep.
    pub fn layers_of<'a>(&self, layers: &'a [Layer]) -> &'a [Layer] {
        layers_in(&self.layers, layers)
    }
}

/// The layers of a run.
pub(crate) fn layers_in<'a>(run: &Range<u64>, layers: &'a [Layer]) -> &'a [Layer] {
    let (start, end) = (at_most(run.start, layers.len()), at_most(run.end, layers.len()));
    &layers[start..end.max(start)]
}
