//! What each device holds of the weights of a placement.

use super::table::{TensorRow, TensorTable};
use crate::dtype::WeightFormat;
use crate::estimate::llama_cpp::weights::gguf_bounds;
use crate::estimate::weights::{Weights, WeightsError};
use crate::spec::families::Frequencies;
use crate::spec::{Bounds, Home, Layer, ModelSpec, Part, Placed, Role};
use crate::units::{Bytes, Overflow};

/// The weights of one device: of main memory where `part` is its.
///
/// # Errors
/// On sizes that no device has.
pub fn weights_of(
    table: &TensorTable,
    model: &ModelSpec,
    format: WeightFormat,
    (placed, part): (&Placed, &Part),
) -> Result<Weights, WeightsError> {
    let home = part.home();
    let mut sum = Sum::default();
    for (row, at) in table.rows.iter().zip(placed.tensors.iter()) {
        let is_embedding = row.role == Some(Role::TokenEmbedding);
        let head = placed.tied_head.filter(|_| is_embedding);
        // One copy serves as both where they are in one place, but in some versions.
        let copies = match *at {
            Some(at) if at == home => 1 + u64::from(placed.doubles_table && head == Some(home)),
            None if has_layers(model, placed, home) => 1,
            _ => u64::from(head == Some(home)),
        };
        for _ in 0..copies {
            sum.add(row, home)?;
        }
        let is_read = if is_embedding { head == Some(home) } else { copies > 0 };
        if is_read {
            sum.per_token = sum.per_token.plus(row.per_token)?;
        }
    }
    Ok(Weights {
        device: sum.device,
        bounds: bounds(sum.device, format)?,
        per_token: sum.per_token,
        tensors: sum.tensors,
        ..Weights::none(model, format, part)
    })
}

fn bounds(device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
    gguf_bounds(device, format)
}

/// Tables of frequencies are on every device that has a layer which reads them: with tables of their own (Gemma 4),
/// windowed layers do not.
fn has_layers(model: &ModelSpec, placed: &Placed, home: Home) -> bool {
    let reads = |layer: &Layer| match model.shape.architecture.family().gguf_extras.frequencies {
        Frequencies::Always => !matches!(layer, Layer::Window { .. }),
        _ => true,
    };
    let mut layers = placed.layers.iter().zip(&model.gguf_layers);
    layers.any(|(at, layer)| *at == home && reads(layer))
}

#[derive(Default)]
struct Sum {
    device: Bytes,
    per_token: Bytes,
    tensors: u64,
}

impl Sum {
    fn add(&mut self, row: &TensorRow, home: Home) -> Result<(), Overflow> {
        let size = if home == Home::Host { row.on_host } else { row.on_gpu };
        self.device = self.device.plus(size)?;
        self.tensors += 1;
        Ok(())
    }
}
