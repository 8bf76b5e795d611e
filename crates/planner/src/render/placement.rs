//! Where layers and experts go, where that was solved: as data, and as the first line of an answer.

use serde::{Deserialize, Serialize};

use super::document::{SpeedDoc, speed_doc};
use crate::recommend::{Placement, Settlement};
use crate::units::Bytes;

/// A placement that was solved, and others for longer contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlacementDoc {
    /// The placement that is planned.
    pub planned: TradeDoc,
    /// Layers of the model, and its output head.
    pub of_layers: u64,
    /// Placements worth having, for this context and longer ones.
    pub trades: Vec<TradeDoc>,
    /// Bytes a second at which main memory is taken to be read.
    pub ram_bandwidth: Bytes,
    /// Where that is from.
    pub ram_bandwidth_source: String,
    /// Whether the whole model is expected to fit on the GPUs with this context, though without the headroom.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_is_tight: bool,
}

/// A placement, and what it gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TradeDoc {
    /// The flags that ask for it.
    pub flags: String,
    /// Layers on GPUs, the output head being one more.
    pub gpu_layers: u64,
    /// Layers whose experts are in main memory.
    pub cpu_moe: u64,
    /// Tokens of a conversation that it was solved for.
    pub tokens: u64,
    /// For one sequence, with as many tokens cached.
    pub decode_tokens_per_second: SpeedDoc,
    /// Whether it leaves every device its headroom.
    pub fits: bool,
}

impl PlacementDoc {
    pub(super) fn new(settlement: &Settlement) -> Self {
        Self {
            planned: trade(&settlement.placement),
            of_layers: settlement.placement.of_layers,
            trades: settlement.trades.iter().map(trade).collect(),
            ram_bandwidth: settlement.ram_bandwidth.value,
            ram_bandwidth_source: format!(
                "{}: {}",
                settlement.ram_bandwidth.basis, settlement.ram_bandwidth.source
            ),
            whole_is_tight: settlement.is_whole_tight,
        }
    }

    /// What the reader must know first.
    pub(super) fn first_line(&self, gpus: &str, places_itself: bool) -> String {
        let TradeDoc { flags, gpu_layers, cpu_moe, .. } = &self.planned;
        if !self.planned.fits {
            return format!("no placement on {gpus} fits: `{flags}` comes closest");
        }
        let layers = match gpu_layers.cmp(&self.of_layers) {
            std::cmp::Ordering::Less => {
                format!("{gpu_layers} of {} layers on {gpus}", self.of_layers)
            }
            _ => format!("all layers on {gpus}"),
        };
        let experts = match cpu_moe {
            0 => String::new(),
            count => format!(", the experts of {count} in main memory"),
        };
        let how = if places_itself {
            "placed by itself, about so".to_owned()
        } else {
            format!("`{flags}`")
        };
        let whole = if self.whole_is_tight {
            "the whole model (`-ngl 99`) would be tight there"
        } else {
            "the whole model does not fit there"
        };
        format!("{how}: {layers}{experts}; {whole}")
    }
}

fn trade(placement: &Placement) -> TradeDoc {
    TradeDoc {
        flags: placement.flags(),
        gpu_layers: placement.gpu_layers,
        cpu_moe: placement.cpu_moe,
        tokens: placement.tokens,
        decode_tokens_per_second: speed_doc(placement.speed),
        fits: placement.fits,
    }
}
