//! Main memory: weights that stay there (`--cpu-offload-gb`), and blocks that are moved there.
//!
//! The loader goes through the layers of a rank in order and leaves parameter after parameter in pinned main memory, until
//! as much is there as was asked for: the last one may be more than that. The embedding, the output head and the final norm are
//! never left there.
//!
//! Sources: vLLM 0.33 `model_executor/offloader/uva.py` (`UVAOffloader`), `model_executor/models/utils.py` (`make_layers`);
//! `evidence/vllm/offload-0.33.0.csv` has the engine's own count.

use crate::estimate::weights::Piece;
use crate::estimate::{BufferId, Buffers};
use crate::spec::{Bounds, Role};
use crate::units::{Bytes, Overflow};

/// Bytes of weights that stay in main memory where `asked` are to.
///
/// # Errors
/// On sizes that no device has.
pub fn offloaded(pieces: &[Piece], asked: Bytes) -> Result<Bytes, Overflow> {
    let mut left_there = Bytes::ZERO;
    if asked.is_zero() {
        return Ok(left_there);
    }
    let mut ordered: Vec<&Piece> = pieces.iter().filter(|piece| is_parameter(piece)).collect();
    // Norms of full width are the last parameters of a layer.
    ordered.sort_by_key(|piece| (piece.layer, piece.role == Some(Role::Norm)));
    for piece in ordered {
        for _ in 0..piece.modules {
            for size in piece.held.into_iter().filter(|size| !size.is_zero()) {
                if left_there >= asked {
                    return Ok(left_there);
                }
                left_there = left_there.plus(size)?;
            }
        }
    }
    Ok(left_there)
}

/// Whether it is a parameter of a layer: what latent attention makes of its matrix is made later, on the GPU.
fn is_parameter(piece: &Piece) -> bool {
    piece.layer.is_some() && piece.role != Some(Role::MlaAbsorbed)
}

/// Takes what stays in main memory off the weights that are listed.
pub fn take_off(buffers: &mut Buffers, left_there: Bytes) {
    for buffer in buffers.0.iter_mut().filter(|buffer| buffer.id == BufferId::Weights) {
        let less = |size: Bytes| size.minus_or_zero(left_there);
        let Bounds { low, expected, high } = buffer.size;
        buffer.size = Bounds::new(less(low), less(expected), less(high));
    }
}
