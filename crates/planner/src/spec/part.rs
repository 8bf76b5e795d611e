//! Parts of a checkpoint beside the language model whose tensors are counted, and whose work is not modelled: towers for
//! images of families that [`super::Vision`] has no formula for, and encoders of sound.

use serde::{Deserialize, Serialize};

use super::{InvalidShape, Role, TensorSpec};

/// A part beside the language model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is, such as `tower for images`.
    pub name: String,
    /// Its tensors.
    pub tensors: Vec<PartTensor>,
}

/// Tensors of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PartTensor {
    /// Elements of a row: the input width of a linear layer.
    pub row: u64,
    /// Rows.
    pub rows: u64,
    /// How many there are.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// Whether it is the matrix of a linear layer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub linear: bool,
}

const fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_one(n: &u64) -> bool {
    *n == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Above these a number is a damaged file.
const MAX_WIDTH: u64 = 1 << 24;
const MAX_COUNT: u64 = 1 << 12;

impl Part {
    /// Checks that the numbers can belong to a part of a model.
    pub(super) fn validate(&self) -> Result<(), InvalidShape> {
        for tensor in &self.tensors {
            for (field, value, max) in [
                ("parts.row", tensor.row, MAX_WIDTH),
                ("parts.rows", tensor.rows, MAX_WIDTH),
                ("parts.count", tensor.count, MAX_COUNT),
            ] {
                if !(1..=max).contains(&value) {
                    return Err(InvalidShape { field, value, expected: format!("1 to {max}") });
                }
            }
        }
        Ok(())
    }

    /// Every tensor.
    pub(super) fn list(&self) -> impl Iterator<Item = TensorSpec> {
        self.tensors.iter().flat_map(|tensor| {
            let role = if tensor.linear { Role::VisionLinear } else { Role::VisionOther };
            let spec = TensorSpec { role, layer: None, row: tensor.row, rows: tensor.rows };
            (0..tensor.count).map(move |_| spec)
        })
    }
}
