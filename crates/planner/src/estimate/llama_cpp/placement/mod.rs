//! llama.cpp: layers go to GPUs in the proportion of their free memory.
//!
//! The output head counts as one layer behind the others, the layers of multi-token prediction too,
//! and all of it is computed in single precision (`llama-model.cpp`, `load_tensors`). Under
//! `--split-mode row` layers and their caches are dealt out in the same way, while matrices are cut by
//! rows in the proportion of total memory (`ggml-cuda.cu`, `default_tensor_split`).

//! Where layers or tensors are in main memory, that is one more part, behind those of the GPUs ([`parts_of`]).

mod homes;
mod table;
mod weights;

use std::ops::Range;
use std::sync::Arc;

use crate::estimate::placement::{PlacementError, Room, Spread};
use crate::estimate::weights::file_layers;
use crate::spec::{GpuSpec, Home, Launch, ModelSpec, Part, Placed, Share, Split};
use crate::units::{Bytes, at_most};

pub use homes::{Counts, LaunchError, Placing};
pub use table::{TensorRow, TensorTable};
pub use weights::weights_of;

pub use super::spread::{cached_bytes, caches_on, compute_buffers};

/// The layers of each GPU, of `count` of them.
pub fn layers_by_memory(free: &[Bytes], count: u64) -> Vec<Range<u64>> {
    layers_by_points(&split_points(free), count)
}

/// The layers of each GPU, of `count` of them, where the GPUs' shares end at these points.
fn layers_by_points(points: &[f32], count: u64) -> Vec<Range<u64>> {
    let device = |layer: u64| {
        let at = single(layer) / single(count);
        points.partition_point(|point| *point <= at).min(points.len().saturating_sub(1))
    };
    let devices: Vec<usize> = (0..count).map(device).collect();
    let begin = |index: usize| devices.partition_point(|device| *device < index) as u64;
    (0..points.len()).map(|index| begin(index)..begin(index + 1)).collect()
}

/// Where each GPU's share of the layers ends, from 0 to 1.
fn split_points(free: &[Bytes]) -> Vec<f32> {
    // Equal where nothing is free anywhere, rather than undefined.
    points_of(free.iter().map(|bytes| single(bytes.get().max(1))))
}

/// Where each share ends, from 0 to 1.
fn points_of(shares: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut sum = 0.0;
    let mut splits: Vec<f32> = Vec::new();
    for share in shares {
        sum += share;
        splits.push(sum);
    }
    splits.iter().map(|split| split / sum).collect()
}

/// As llama.cpp converts it.
#[allow(clippy::cast_precision_loss, reason = "llama.cpp computes in single precision")]
fn single(n: u64) -> f32 {
    n as f32
}

/// `--split-mode layer`.
pub fn by_layers(model: &ModelSpec, rooms: &[Room<'_>]) -> Vec<Part> {
    let free: Vec<Bytes> = rooms.iter().map(Room::free).collect();
    by_points(model, &split_points(&free))
}

/// What of a draft each GPU has, beside what it has of the model. llama.cpp deals the draft's layers out by the proportions
/// that it was told, or by the memory that is still free: as the model's own were, so that the same proportion is left.
pub fn draft_by_layers(
    draft: &ModelSpec,
    part: &Part,
    model: &ModelSpec,
    launch: &Launch,
) -> Vec<Part> {
    let told = launch.tensor_split.as_ref().filter(|split| split.0.len() as u64 == part.of);
    by_points(
        draft,
        &told.map_or_else(|| points_of_model(part, model), |split| points_of(split.shares())),
    )
}

/// Where each GPU's share of a model's layers ends, its head being one more.
fn points_of_model(part: &Part, model: &ModelSpec) -> Vec<f32> {
    let even = || vec![1; at_most(part.of, usize::MAX)];
    let counts = match &part.placed {
        Some(placed) => {
            let homes = || placed.layers.iter().chain([&placed.output]);
            let on = |gpu| homes().filter(|home| **home == Home::Gpu(gpu)).count() as u64;
            (0..placed.gpus).map(on).collect()
        }
        // Only its own share is known of a run: others are taken to have the rest in equal parts.
        None => shares_around(part, file_layers(model) + 1),
    };
    let counts = if counts.iter().all(|count| *count == 0) { even() } else { counts };
    points_of(counts.iter().map(|count| single(*count)))
}

/// The layers of every GPU, as far as the run of one of them says.
fn shares_around(part: &Part, count: u64) -> Vec<u64> {
    let end = if part.has_head { count } else { part.layers.end };
    let (before, behind) = (part.index, part.of.saturating_sub(part.index + 1));
    let each = |sum: u64, gpus: u64, at: u64| (at + 1) * sum / gpus.max(1) - at * sum / gpus.max(1);
    let first = (0..before).map(|at| each(part.layers.start, before, at));
    let own = end.saturating_sub(part.layers.start);
    let rest = count.saturating_sub(end);
    first.chain([own]).chain((0..behind).map(|at| each(rest, behind, at))).collect()
}

/// Runs of whole layers, where the GPUs' shares end at these points.
fn by_points(model: &ModelSpec, points: &[f32]) -> Vec<Part> {
    // The head is the last of them; layers that predict tokens ahead are not loaded.
    let count = file_layers(model) + 1;
    let of = points.len() as u64;
    let part = |(index, run): (u64, Range<u64>)| {
        let has_head = run.contains(&(count - 1));
        let n_layers = model.shape.n_layers;
        Part {
            split: Split::Layer,
            index,
            of,
            layers: run.start.min(n_layers)..run.end.min(n_layers),
            has_embedding: index == 0,
            has_norm: has_head,
            has_head,
            has_vision: false,
            share: None,
            grid: None,
            placed: None,
            is_host: false,
        }
    };
    (0..).zip(layers_by_points(points, count)).map(part).collect()
}

/// `--split-mode row`.
pub fn by_rows(model: &ModelSpec, rooms: &[Room<'_>]) -> Vec<Part> {
    let total = |rooms: &[Room<'_>]| {
        rooms.iter().fold(0u64, |sum, room| sum.saturating_add(room.gpu.visible().get() >> 20))
    };
    let of = total(rooms);
    let share =
        |index: usize| Share { start: total(&rooms[..index]), end: total(&rooms[..=index]), of };
    let parts = by_layers(model, rooms).into_iter().enumerate();
    parts
        .map(|(index, part)| Part { split: Split::Tensor, share: Some(share(index)), ..part })
        .collect()
}

/// What every GPU and main memory have where tensors are placed one by one.
///
/// # Errors
/// Where a model cannot be placed as it is asked for.
pub fn parts_of(spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
    let free: Vec<Bytes> = rooms.iter().map(Room::free).collect();
    let table = TensorTable::new(spread.model, spread.format)?;
    let placing = Placing {
        table: &table,
        file_layers: file_layers(spread.model),
        free: &free,
        launch: &spread.runtime.launch,
        version: spread.runtime.options.llama_cpp().generation(),
        output_first: spread.runtime.options.llama_cpp().places_output_first(),
        by_rows: spread.split == Split::Tensor,
        ada: rooms.first().is_some_and(|room| reads_two_rows(room.gpu)),
        turing: rooms.first().is_some_and(|room| applies_gates(room.gpu)),
    };
    let placed = placing.place(placing.counts()?)?;
    Ok(parts(spread.model, &Arc::new(placed)))
}

/// Whether a GPU's vector kernel reads a quantized cache for two rows.
pub fn reads_two_rows(gpu: &GpuSpec) -> bool {
    gpu.compute_capability >= super::ADA
}

/// Whether a GPU has the tensor cores with which gates are applied with products.
pub fn applies_gates(gpu: &GpuSpec) -> bool {
    gpu.compute_capability >= super::TURING
}

/// The parts of a placement, main memory's last.
pub fn parts(model: &ModelSpec, placed: &Arc<Placed>) -> Vec<Part> {
    let of = placed.gpus as u64;
    let part = |home: Home, index: u64| {
        let run = run_of(placed, home, model.shape.n_layers);
        let has_head = placed.output == home;
        Part {
            split: Split::Layer,
            index,
            of,
            layers: run,
            has_embedding: home == Home::Host,
            has_norm: has_head,
            has_head,
            has_vision: false,
            share: None,
            grid: None,
            placed: Some(Arc::clone(placed)),
            is_host: home == Home::Host,
        }
    };
    let gpus = (0..placed.gpus).zip(0..).map(|(gpu, index)| part(Home::Gpu(gpu), index));
    gpus.chain([part(Home::Host, of)]).collect()
}

/// The run of layers that a device has: main memory the first, GPUs those behind.
pub(super) fn run_of(placed: &Placed, home: Home, n_layers: u64) -> Range<u64> {
    let is_mine = |layer: &u64| placed.layers.get(at_most(*layer, usize::MAX)) == Some(&home);
    let Some(first) = (0..n_layers).find(is_mine) else { return 0..0 };
    first..(first..n_layers).rfind(is_mine).unwrap_or(first) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(mib: &[u64], count: u64) -> Vec<u64> {
        let free: Vec<Bytes> = mib.iter().map(|n| Bytes::new(n << 20)).collect();
        layers_by_memory(&free, count).into_iter().map(|run| run.end - run.start).collect()
    }

    #[test]
    fn layers_follow_free_memory() {
        assert_eq!(counts(&[22_000, 22_000], 49), [25, 24]);
        assert_eq!(counts(&[22_000; 4], 49), [13, 12, 12, 12]);
        assert_eq!(counts(&[80_640, 14_600], 49), [42, 7]);
        assert_eq!(counts(&[11_000, 40_000, 22_000], 49), [8, 27, 14]);
        assert_eq!(counts(&[0, 0], 4), [2, 2]);
        assert_eq!(counts(&[100_000, 1], 4), [4, 0]);
    }
}
