//! Which tensors, and which rows of them, a GPU has of a model that is spread over several.
//!
//! llama.cpp gives every layer to one GPU, the output head counting as one more
//! (`llama-model.cpp`, `get_layer_buft_list`), and every GPU its own table of frequencies. With
//! `--split-mode row` matrices that plain products read are cut by rows instead
//! (`ggml-cuda.cu`, `get_row_split`), experts and everything small stay with their layer.
//!
//! vLLM's tensor parallelism cuts tensors before they come here, and its stages may build more than they use:
//! its rule says so.

use super::{SizedTensor, TensorRule};
use crate::spec::{ModelShape, Part, Role, Share, Split};
use crate::units::{Bytes, Overflow};

/// Rows to which llama.cpp rounds the cuts of a matrix (`get_mmq_y_host`, from Volta on).
const ROW_ROUNDING: u64 = 128;

/// Where a tensor is, seen from one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In host memory.
    Host,
    /// On the GPU.
    Here,
    /// On the GPU, and on one before it too.
    Repeated,
    /// On another GPU.
    Elsewhere,
}

/// Where a tensor of this role and layer is.
pub(super) fn place(
    tensors: &dyn TensorRule,
    part: &Part,
    tensor: &SizedTensor,
    shape: &ModelShape,
) -> Place {
    let here = |is_here| if is_here { Place::Here } else { Place::Elsewhere };
    let of_stages = part.split == Split::Layer;
    match (tensor.layer, tensor.role) {
        (Some(layer), _) => here(part.layers.contains(&layer)),
        (None, Some(role)) if of_stages && tensors.is_on_every_stage(shape.architecture, role) => {
            if part.index > 0 {
                Place::Repeated
            } else {
                Place::Here
            }
        }
        (None, Some(Role::TokenEmbedding)) => tensors.embedding(part, shape.tied_embeddings),
        (None, Some(Role::LayerEmbedding | Role::RunEmbedding)) => tensors.embedding(part, false),
        (None, Some(Role::OutputHead)) => here(part.has_head),
        (None, Some(Role::RopeFrequencies) | None) if part.layers.is_empty() => Place::Elsewhere,
        (None, Some(Role::RopeFrequencies) | None) if part.index > 0 => Place::Repeated,
        (None, Some(Role::RopeFrequencies) | None) => Place::Here,
        (None, Some(_)) => here(part.has_norm),
    }
}

/// Whether llama.cpp cuts this tensor by rows: matrices of two dimensions that `ggml_mul_mat` reads.
fn is_cut_by_rows(role: Option<Role>, tied: bool) -> bool {
    let Some(role) = role else { return false };
    let experts = role.is_routed_expert();
    let small = matches!(role, Role::MlaKvB | Role::Router | Role::SharedRouter);
    let is_head = role == Role::OutputHead || (tied && role == Role::TokenEmbedding);
    is_head || (role.is_block_linear() && !experts && !small)
}

/// The part of a tensor that is cut by rows; nothing where it is kept whole.
pub(super) fn cut(
    part: &Part,
    tensor: &SizedTensor,
    tied: bool,
) -> Result<Option<SizedTensor>, Overflow> {
    let Some(share) = part.share.filter(|_| is_cut_by_rows(tensor.role, tied)) else {
        return Ok(None);
    };
    let Some(ty) = tensor.ggml else { return Ok(None) };
    let row = ty.layout().size_of(tensor.row)?;
    let rows = tensor.size.get() / row.get().max(1);
    let mine = rows_of(share, rows)?;
    Ok(Some(SizedTensor { size: row.times(mine)?, ..*tensor }))
}

/// A share of `rows` rows: cuts are rounded down, and the last GPU has what is left.
fn rows_of(share: Share, rows: u64) -> Result<u64, Overflow> {
    let Share { start, end, of } = share;
    let at = |share: u64| -> Result<u64, Overflow> {
        let exact = Bytes::new(rows).scale(share, of.max(1))?.get();
        Ok(if share == of { rows } else { exact / ROW_ROUNDING * ROW_ROUNDING })
    };
    Ok(at(end)?.saturating_sub(at(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_rows_add_up() {
        for rows in [128, 1000, 4096, 152_064] {
            let share = |start, end| rows_of(Share { start, end, of: 36 }, rows).unwrap();
            assert_eq!(share(0, 11) + share(11, 24) + share(24, 36), rows);
            assert_eq!(share(0, 36), rows);
        }
    }
}
