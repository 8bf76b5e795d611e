//! Nemotron's models that a search pruned (`nemotron-nas`): what is left of every layer is in `block_configs`.
//!
//! Source: `configuration_decilm.py` and `block_config.py` beside the published checkpoints.

use super::Config;
use crate::read::SourceError;
use crate::read::json::{Fields, Json};
use crate::spec::{Mixer, PerLayer};

/// Widths are rounded up to a multiple of this (`find_multiple` in `modeling_decilm.py`).
const WIDTH_MULTIPLE: u64 = 256;

impl Config<'_> {
    pub(super) fn pruned_layers(
        &self,
        n_layers: u64,
        n_heads: u64,
    ) -> Result<PerLayer, SourceError> {
        const KEY: &str = "block_configs";
        let blocks = self.fields.list(KEY)?.unwrap_or_default();
        self.check_count(KEY, blocks.len(), n_layers)?;
        let mut lists = PerLayer::default();
        for block in blocks {
            let Json::Object(block) = block else {
                return Err(self.fields.invalid(KEY, "a list of objects"));
            };
            let block = Fields::new(self.fields.at, "block_configs.", block);
            let kv_heads = self.kept_heads(block, n_heads)?;
            lists.mixers.push(if kv_heads.is_some() { Mixer::Attention } else { Mixer::Nothing });
            lists.kv_heads.push(kv_heads.unwrap_or(0));
            lists.ffn_size.push(self.kept_width(block)?);
        }
        Ok(lists)
    }

    /// Key and value heads of a layer; nothing where it has no attention.
    fn kept_heads(&self, block: Fields<'_>, n_heads: u64) -> Result<Option<u64>, SourceError> {
        let Some(object) = block.child("attention")? else {
            return Err(block.missing("attention", "an object"));
        };
        let attention = Fields::new(self.fields.at, "block_configs.attention.", object);
        if attention.flag("no_op")?.unwrap_or(false) {
            return Ok(None);
        }
        refuse_linear(attention)?;
        let group = attention.required("n_heads_in_group")?;
        match n_heads.checked_div(group) {
            Some(kv_heads) if kv_heads * group == n_heads => Ok(Some(kv_heads)),
            _ => {
                Err(attention.invalid("n_heads_in_group", format!("a divisor of {n_heads} heads")))
            }
        }
    }

    /// Width of a layer's MLP; 0 where it has none.
    fn kept_width(&self, block: Fields<'_>) -> Result<u64, SourceError> {
        let Some(object) = block.child("ffn")? else {
            return Err(block.missing("ffn", "an object"));
        };
        let ffn = Fields::new(self.fields.at, "block_configs.ffn.", object);
        if ffn.flag("no_op")?.unwrap_or(false) {
            return Ok(0);
        }
        refuse_linear(ffn)?;
        if let Some(width) = ffn.number("intermediate_size")? {
            return Ok(width);
        }
        let expected = "a factor of the width, such as 2.625";
        let times = match ffn.get("ffn_mult") {
            Some(Json::Float(times)) if (0.0..=64.0).contains(times) => *times,
            Some(Json::Unsigned(times @ 0..=64)) => f64::from(u8::try_from(*times).unwrap_or(0)),
            _ => return Err(ffn.invalid("ffn_mult", expected)),
        };
        let hidden_size = u32::try_from(self.fields.required("hidden_size")?)
            .map_err(|_| self.fields.invalid("hidden_size", "a width that fits in memory"))?;
        // Truncated as Python's `int` does.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let width = (2.0 * times * f64::from(hidden_size) / 3.0) as u64;
        Ok(width.next_multiple_of(WIDTH_MULTIPLE))
    }
}

/// A linear layer in place of a sublayer is nothing that any published model has.
fn refuse_linear(sublayer: Fields<'_>) -> Result<(), SourceError> {
    if sublayer.flag("replace_with_linear")?.unwrap_or(false) {
        return Err(sublayer.invalid("replace_with_linear", "`false`"));
    }
    Ok(())
}
