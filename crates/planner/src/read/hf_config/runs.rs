//! Residual streams and embeddings of runs of tokens: transformers `qwen4_exp/configuration_qwen4_exp.py`.

use super::Config;
use crate::read::SourceError;
use crate::spec::{GatedStreams, RunEmbeddings};
use crate::units::to_u64;

/// More tables than any model has.
const MOST_TABLES: u64 = 1 << 10;

impl Config<'_> {
    /// Residual streams that gates mix (`hc_count`, `hc_lowrank`).
    pub(super) fn gated_streams(&self) -> Result<Option<GatedStreams>, SourceError> {
        let Some(streams) = self.fields.number("hc_count")? else { return Ok(None) };
        Ok(Some(GatedStreams { streams, rank: self.fields.required("hc_lowrank")? }))
    }

    /// Embeddings of runs of up to `ngram_size` tokens, in the layers of `ple_layer_ids`, which count from 1.
    pub(super) fn run_embeddings(&self) -> Result<Option<RunEmbeddings>, SourceError> {
        const LAYERS: &str = "ple_layer_ids";
        const MULTIPLE: &str = "make_ngram_vocab_size_divisible_by";
        let number =
            |key, default| Ok::<_, SourceError>(self.fields.number(key)?.unwrap_or(default));
        let mut layers = self.fields.numbers(LAYERS)?.unwrap_or_default();
        layers.sort_unstable();
        layers.dedup();
        if layers.is_empty() {
            return Ok(None);
        }
        let layers: Option<Vec<u64>> = layers.into_iter().map(|id| id.checked_sub(1)).collect();
        let layers = layers.ok_or_else(|| self.fields.invalid(LAYERS, "layers, counted from 1"))?;
        let width = number("ple_embed_dim", self.fields.required("hidden_size")?)?;
        let heads = number("ngram_size", 3)?.saturating_sub(1);
        let heads = heads.saturating_mul(number("heads_per_ngram", 8)?);
        let tables = heads.saturating_mul(to_u64(layers.len()));
        if heads == 0 || !width.is_multiple_of(heads) || tables > MOST_TABLES {
            return Err(self.fields.invalid("heads_per_ngram", format!("a divisor of {width}")));
        }
        let least = number("ngram_vocab_size_base", 20_000_000)?;
        let multiple = number(MULTIPLE, 128)?.max(1);
        let sizes: Vec<u64> =
            primes_from(least).take(crate::units::at_most(tables, 1 << 10)).collect();
        let per_layer = crate::units::at_most(heads, 1 << 10);
        let of_table = |sizes: &[u64]| sizes.iter().sum::<u64>().checked_next_multiple_of(multiple);
        let rows: Option<Vec<u64>> = sizes.chunks(per_layer).map(of_table).collect();
        Ok(Some(RunEmbeddings {
            rows: rows.ok_or_else(|| self.fields.invalid(MULTIPLE, "a small number"))?,
            layers,
            row: width / heads,
            width,
            conv_kernel: number("ple_conv_kernel_size", 4)?,
        }))
    }
}

/// The primes that are not less than a number: a table has as many rows as the next one.
fn primes_from(least: u64) -> impl Iterator<Item = u64> {
    /// Hashes have 32 bits; above it a file is damaged.
    const MOST: u64 = 1 << 32;
    (least.clamp(2, MOST)..).filter(|&n| is_prime(n))
}

fn is_prime(n: u64) -> bool {
    let mut divisors = (2..).take_while(|d| d * d <= n);
    n >= 2 && divisors.all(|divisor| !n.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::primes_from;

    #[test]
    fn tables_have_rows_of_consecutive_primes() {
        assert_eq!(primes_from(10).take(3).collect::<Vec<_>>(), [11, 13, 17]);
        assert_eq!(primes_from(13).next(), Some(13));
    }
}
