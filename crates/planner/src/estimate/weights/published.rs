//! What of a published checkpoint a format's name leaves open: which layers are quantized.
//!
//! `nvfp4` in a name says how the linear layers of the feed-forward part are stored. Whether attention is too, the layers that
//! keep a state, and the output head, differs from publisher to publisher: of Qwen3.8 27B in NVFP4 one rank or card was seen
//! to hold 19.8 GiB (NVIDIA), 21.3 (Unsloth) and 24.0 (Inferact). Of models with attention alone 4-bit integers have one
//! convention, and are left as they are.

use super::SizedTensor;
use crate::dtype::WeightFormat;
use crate::spec::{Bounds, ModelShape, Role};
use crate::units::{Bytes, Overflow};

/// Hundredths of a bit of a weight in 16 bits.
const WIDE: u64 = 1600;

/// What is open, so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Hundredths of a bit of a quantized weight; none where nothing is open.
    bits: Option<u64>,
    /// Whether the output head may be quantized, too.
    with_head: bool,
    more: Bytes,
    less: Bytes,
}

impl Open {
    /// What a format leaves open of a model.
    pub(super) const fn of(shape: &ModelShape, format: WeightFormat) -> Self {
        let keeps_states = shape.recurrent.is_some() || shape.ssm.is_some();
        let bits = match format {
            WeightFormat::Nvfp4 => Some(450),
            WeightFormat::GptqInt4 { .. } | WeightFormat::AwqInt4 { .. } | WeightFormat::W4A16
                if keeps_states =>
            {
                Some(425)
            }
            _ => None,
        };
        let (more, less) = (Bytes::ZERO, Bytes::ZERO);
        Self { bits, with_head: keeps_states, more, less }
    }

    /// Counts a tensor that a device holds.
    pub(super) fn count(&mut self, tensor: &SizedTensor) -> Result<(), Overflow> {
        let (Some(bits), Some(role)) = (self.bits, tensor.role) else { return Ok(()) };
        if is_open(role) {
            self.more = self.more.plus(tensor.size.scale(WIDE - bits, bits)?)?;
        } else if role == Role::OutputHead && self.with_head {
            self.less = self.less.plus(tensor.size.scale(WIDE - bits, WIDE)?)?;
        }
        Ok(())
    }

    /// The bounds with it.
    pub(super) fn around(self, bounds: Bounds) -> Result<Bounds, Overflow> {
        let low = bounds.low.minus_or_zero(self.less);
        Ok(Bounds::new(low, bounds.expected, bounds.high.plus(self.more)?))
    }
}

/// Whether some publishers leave such a layer in 16 bits.
const fn is_open(role: Role) -> bool {
    matches!(
        role,
        Role::AttnQ
            | Role::AttnK
            | Role::AttnV
            | Role::AttnQkv
            | Role::AttnOutput
            | Role::MlaQa
            | Role::MlaQb
            | Role::MlaKvA
            | Role::MlaKvB
            | Role::RecurrentQkv
            | Role::RecurrentGate
            | Role::RecurrentOutput
            | Role::SsmIn
    )
}
