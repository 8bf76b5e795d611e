//! Slices of a card that NVIDIA's MIG cuts, as GPUs of their own: `H100-3g.40gb`.
//!
//! A slice has a number of the card's eight memory slices, and their share of its bandwidth (NVIDIA's
//! MIG user guide, "Fraction of Memory"). What NVML shows as used on an idle slice counts as reserved: 12,
//! 25 and 37 MiB on slices of one, two and three compute slices in public listings of an H100.

use super::SourceError;
use super::error::At;
use super::profile::MigProfile;
use crate::spec::{Basis, CalibratedParts, Fact, GpuSpec};
use crate::text::printable;
use crate::units::Bytes;

/// Memory slices of a whole card.
const MEMORY_SLICES: u64 = 8;
/// What is in use for each compute slice while nothing runs.
const IDLE_USE: Bytes = Bytes::new(13 << 20);

/// The card and the slice that a name names; nothing where it names no slice.
pub fn parts(name: &str) -> Option<(&str, &str)> {
    let name = name.trim();
    let start = name.rfind([' ', '-', '_'])?;
    let slice = &name[start + 1..];
    let (compute, memory) = slice.split_once(['g', 'G'])?;
    let memory = memory.strip_prefix('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let size = memory.get(..memory.len().checked_sub(2)?)?;
    let unit = memory.get(size.len()..)?;
    if !digits(compute) || !digits(size) || !unit.eq_ignore_ascii_case("gb") {
        return None;
    }
    let card = name[..start].trim_end_matches([' ', '-', '_']);
    let without = card.strip_suffix("MIG").or_else(|| card.strip_suffix("mig")).unwrap_or(card);
    let card = without.trim_end_matches([' ', '-', '_']);
    (!card.is_empty()).then_some((card, slice))
}

/// The slice that a name is, of whatever card: `3g.40gb`, `MIG 3g.40gb`.
pub fn alone(name: &str) -> Option<&str> {
    let name = name.trim();
    let slice = name.strip_prefix("MIG").or_else(|| name.strip_prefix("mig")).unwrap_or(name);
    let slice = slice.trim_start_matches([' ', '-', '_', ':']);
    parts(&format!("x-{slice}")).is_some_and(|(card, _)| card == "x").then_some(slice)
}

/// The slice of this name of a card.
pub(super) fn slice(
    at: &At,
    card: &GpuSpec,
    slices: Vec<MigProfile>,
    wanted: &str,
) -> Result<GpuSpec, SourceError> {
    let known: Vec<String> = slices.iter().map(|slice| format!("`{}`", slice.name)).collect();
    let same = |slice: &MigProfile| slice.name.eq_ignore_ascii_case(wanted);
    let Some(found) = slices.into_iter().find(same) else {
        let expected = match known.as_slice() {
            [] => format!("a card with slices: `{}` has none", card.name),
            known => format!("one of {}", known.join(", ")),
        };
        return Err(at.invalid("mig", format!("\"{}\"", printable(wanted)), expected));
    };
    let compute = found.name.split_once('g').and_then(|(n, _)| n.parse().ok()).unwrap_or(1);
    let share = format!("{} of {MEMORY_SLICES} memory slices", found.memory_slices);
    let overflow = |_| at.invalid("mig.memory_slices", found.memory_slices, "1 to 8");
    let bandwidth = card.bandwidth.value.scale(found.memory_slices, MEMORY_SLICES);
    let reserved = IDLE_USE.times(compute).map_err(overflow)?;
    let idle = "13 MiB for each compute slice, as idle slices show in public nvidia-smi listings";
    Ok(GpuSpec {
        maker: card.maker,
        name: format!("{}-{}", card.name, found.name),
        aliases: Vec::new(),
        total: Fact::new(found.total, found.basis, found.source.clone()),
        reserved: Fact::new(reserved, Basis::Modelled, idle),
        reserved_range: None,
        sm_count: Fact::new(found.sm_count, found.basis, found.source),
        bandwidth: Fact::new(
            bandwidth.map_err(overflow)?,
            Basis::Modelled,
            format!("{share} of {}", card.bandwidth.source),
        ),
        unified: card.unified,
        calibrated: CalibratedParts::default(),
        context: None,
        ..card.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Catalog;

    #[test]
    fn names_of_slices_are_told_from_those_of_cards() {
        for (name, expected) in [
            ("H100-3g.40gb", Some(("H100", "3g.40gb"))),
            ("A100-40GB-2g.10gb", Some(("A100-40GB", "2g.10gb"))),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", Some(("NVIDIA A100-SXM4-40GB", "1g.5gb"))),
            ("h100 1G.10GB", Some(("h100", "1G.10GB"))),
            ("A100-40GB", None),
            ("RTX 4090", None),
            ("3g.40gb", None),
            ("-3g.40gb", None),
            ("MIG 3g.40gb", None),
            ("H100-g.gb", None),
            ("H100-3g.é", None),
        ] {
            assert_eq!(parts(name), expected, "{name}");
        }
    }

    #[test]
    fn slices_are_found_by_the_cards_that_have_them() {
        let catalog = Catalog::built_in();
        assert_eq!(catalog.gpu("A100 3g.20gb").unwrap().name, "A100-40GB-3g.20gb");
        assert_eq!(catalog.gpu("a100-2g.20gb").unwrap().name, "A100-80GB-2g.20gb");
        for name in ["MIG 3g.40gb", "3g.40gb"] {
            let several = catalog.gpu(name).unwrap_err().to_string();
            assert!(several.contains("`A100-80GB-3g.40gb`, `H100-3g.40gb`"), "{several}");
        }
        assert!(catalog.gpu("MIG 9g.9gb").unwrap_err().to_string().contains("unknown GPU"));
    }

    #[test]
    fn slices_have_a_part_of_the_card() {
        let catalog = Catalog::built_in();
        let card = catalog.gpu("H100").unwrap();
        let slice = catalog.gpu("NVIDIA H100 80GB HBM3 MIG 3g.40gb").unwrap();
        assert_eq!(slice.name, "H100-3g.40gb");
        assert_eq!(slice.total.value, Bytes::mib(40_320).unwrap());
        assert_eq!(slice.bandwidth.value.times(2), Ok(card.bandwidth.value));
        assert_eq!(slice.compute_capability, card.compute_capability);
        let unknown = catalog.gpu("H100-5g.50gb").unwrap_err().to_string();
        assert!(unknown.contains("`3g.40gb`"), "{unknown}");
        assert!(catalog.gpu("L4-1g.5gb").unwrap_err().to_string().contains("`L4` has none"));
        assert!(catalog.gpu("Imaginary-1g.5gb").is_err());
    }

    #[test]
    fn every_slice_is_smaller_than_its_card_and_all_of_them_read() {
        let catalog = Catalog::built_in();
        for (card, slices) in [
            ("A100-40GB", ["1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"]),
            ("A100-80GB", ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]),
            ("H100", ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]),
            ("H200", ["1g.18gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"]),
        ] {
            let whole = catalog.gpu(card).unwrap();
            for slice in slices {
                let slice = catalog.gpu(&format!("{card}-{slice}")).unwrap();
                assert!(slice.visible() <= whole.visible(), "{}", slice.name);
                assert!(slice.sm_count.value <= whole.sm_count.value, "{}", slice.name);
            }
        }
    }
}
