//! transformers with `device_map="auto"`: whole modules in order, balanced by accelerate.
//!
//! Every GPU but the last is allowed the model's size by the number of GPUs and 1.25 times a layer, at
//! most what is free on it; the first keeps room for the largest module that is still to come
//! (`accelerate/utils/modeling.py`, `get_balanced_memory` and `infer_auto_device_map`). bitsandbytes
//! leaves a tenth of the memory aside (`adjust_max_memory`). A tied output head is where the embedding
//! is. A vision tower comes before the language model; one that the first GPU has no room for would be
//! cut between its layers, which is refused. What fits nowhere would be offloaded: here it is left to the last GPU, on which it does not fit.

use super::weights::TransformersTensors;
use crate::dtype::WeightFormat;
use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::weights::{self, is_bitsandbytes};
use crate::spec::{Part, Split, Tower};
use crate::units::{Bytes, Overflow};

/// A module that is not split further.
#[derive(Clone, Copy, Debug)]
struct Module {
    place: Place,
    size: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Vision,
    Embedding,
    Layer,
    Norm,
    Head,
}

/// The parts of a model over GPUs with so much room.
pub fn balanced(spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
    let model = spread.model;
    // Gemma 4's projector comes behind the language model (`modeling_gemma4.py`).
    if spread.tower().is_some_and(|vision| vision.tower == Tower::Gemma4) {
        return Err(refused(spread, rooms));
    }
    let modules = modules(spread)?;
    let allowed = allowed(&modules, spread.format, rooms)?;
    let of = rooms.len() as u64;
    let nothing = |index| Part {
        split: Split::Layer,
        index,
        of,
        layers: 0..0,
        has_embedding: false,
        has_norm: false,
        has_head: false,
        has_vision: false,
        share: None,
        grid: None,
        placed: None,
        is_host: false,
    };
    let mut parts: Vec<Part> = (0..of).map(nothing).collect();
    let (mut device, mut used, mut layer) = (0, Bytes::ZERO, 0);
    for (index, module) in modules.iter().enumerate() {
        loop {
            let to_come = modules[index + 1..].iter().map(|module| module.size).max();
            let kept = if device == 0 { to_come.unwrap_or(Bytes::ZERO) } else { Bytes::ZERO };
            let fits = used.plus(module.size)?.plus(kept)? <= allowed[device];
            if fits || device + 1 == rooms.len() {
                break;
            }
            if module.place == Place::Vision {
                return Err(refused(spread, rooms));
            }
            (device, used) = (device + 1, Bytes::ZERO);
            parts[device].layers = layer..layer;
        }
        used = used.plus(module.size)?;
        let part = &mut parts[device];
        match module.place {
            Place::Vision => part.has_vision = true,
            Place::Embedding => {
                part.has_embedding = true;
                part.has_head |= model.shape.tied_embeddings;
            }
            Place::Layer => {
                layer += 1;
                part.layers.end = layer;
            }
            Place::Norm => part.has_norm = true,
            Place::Head => part.has_head = true,
        }
    }
    Ok(parts)
}

fn refused(spread: &Spread<'_>, rooms: &[Room<'_>]) -> PlacementError {
    spread.unknown(
        rooms,
        "accelerate would spread its vision tower, too",
        "use `--images 0` to leave the tower out, fewer GPUs, or `--runtime vllm`",
    )
}

/// Tower, embedding, layers, norm and head, with what each takes.
fn modules(spread: &Spread<'_>) -> Result<Vec<Module>, PlacementError> {
    let Spread { model, format, runtime: spec, .. } = *spread;
    let empty = Part { layers: 0..0, has_embedding: false, ..Part::whole(model) };
    let empty = Part { has_norm: false, has_head: false, has_vision: false, ..empty };
    let module = |place, part: &Part| -> Result<Module, PlacementError> {
        let weights = weights::sum(&TransformersTensors, model, format, spec, part)?;
        Ok(Module { place, size: weights.device.plus(weights.vision)? })
    };
    let tied = model.shape.tied_embeddings;
    let mut modules = Vec::new();
    if spread.has_tower() {
        modules.push(module(Place::Vision, &Part { has_vision: true, ..empty.clone() })?);
    }
    modules.push(module(Place::Embedding, &Part { has_embedding: true, ..empty.clone() })?);
    for layer in 0..model.shape.n_layers {
        modules.push(module(Place::Layer, &Part { layers: layer..layer + 1, ..empty.clone() })?);
    }
    modules.push(module(Place::Norm, &Part { has_norm: true, ..empty.clone() })?);
    if !tied {
        modules.push(module(Place::Head, &Part { has_head: true, ..empty })?);
    }
    Ok(modules)
}

/// What each GPU may be given.
fn allowed(
    modules: &[Module],
    format: WeightFormat,
    rooms: &[Room<'_>],
) -> Result<Vec<Bytes>, Overflow> {
    let total = Bytes::sum(modules.iter().map(|module| module.size))?;
    let layers = modules.iter().filter(|module| matches!(module.place, Place::Layer));
    let largest = layers.map(|module| module.size).max().unwrap_or(Bytes::ZERO);
    let of = rooms.len() as u64;
    let even = total.scale(1, of)?.plus(largest.scale(5, 4)?)?;
    let share = if is_bitsandbytes(format) { 90 } else { 100 };
    let mut allowed = Vec::with_capacity(rooms.len());
    for (index, room) in rooms.iter().enumerate() {
        let most = room.free().scale(share, 100)?;
        allowed.push(if index + 1 == rooms.len() { most } else { most.min(even) });
    }
    Ok(allowed)
}
