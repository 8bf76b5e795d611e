//! Main memory: weights that stay there (`--cpu-offload-gb`), and blocks that are moved there.
//!
//! The loader goes through the layers of a rank in order and leaves parameter after parameter in pinned main memory, until
//! as much is there as was asked for: the last one may be more than that. The embedding, the output head and the final norm are
//! never left there.
//!
//! Sources: vLLM 0.33 `model_executor/offloader/uva.py` (`UVAOffloader`), `model_executor/models/utils.py` (`make_layers`);
//! `evidence/vllm/offload-0.33.0.csv` has the engine's own count.

use super::element;
use crate::estimate::weights::Piece;
use crate::estimate::{BufferId, Buffers, Scenario};
use crate::spec::{Bounds, Role, Serving};
use crate::units::{Bytes, Overflow};

/// Bytes of weights that stay in main memory where `asked` are to, `hidden` being those of a norm of full width.
///
/// # Errors
/// On sizes that no device has.
pub fn offloaded(pieces: &[Piece], hidden: Bytes, asked: Bytes) -> Result<Bytes, Overflow> {
    let mut left_there = Bytes::ZERO;
    if asked.is_zero() {
        return Ok(left_there);
    }
    let mut ordered: Vec<&Piece> = pieces.iter().filter(|piece| is_parameter(piece)).collect();
    ordered.sort_by_key(|piece| (piece.layer, place(piece, hidden)));
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

/// Where among the parameters of its layer it is: attention and the router, shared experts, experts, norms of full width.
fn place(piece: &Piece, hidden: Bytes) -> u8 {
    use Role as R;
    match piece.role {
        Some(R::SharedGate | R::SharedUp | R::SharedDown) => 1,
        Some(role) if role.is_routed_expert() => 2,
        Some(R::Norm) if piece.held.first() == Some(&hidden) => 3,
        _ => 0,
    }
}

/// Whether it is a parameter of a layer: what latent attention makes of its matrix is made later, on the GPU.
fn is_parameter(piece: &Piece) -> bool {
    piece.layer.is_some() && piece.role != Some(Role::MlaAbsorbed)
}

/// The same of a scenario's part.
///
/// # Errors
/// On sizes that no device has.
pub fn of_scenario(scenario: &Scenario<'_>, serving: Serving) -> Result<Bytes, Overflow> {
    let hidden = Bytes::product(&[scenario.model.shape.hidden_size, element(scenario)])?;
    offloaded(&scenario.weights.pieces, hidden, serving.server.cpu_offload)
}

/// Takes what stays in main memory off the weights that are listed.
pub fn take_off(buffers: &mut Buffers, left_there: Bytes) {
    for buffer in buffers.0.iter_mut().filter(|buffer| buffer.id == BufferId::Weights) {
        let less = |size: Bytes| size.minus_or_zero(left_there);
        let Bounds { low, expected, high } = buffer.size;
        buffer.size = Bounds::new(less(low), less(expected), less(high));
    }
}
