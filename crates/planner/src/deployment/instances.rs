//! Machines of cloud providers by the names under which they are rented, and the cards that are in them.
//!
//! As the providers list their accelerated instances, from memory; a machine that has a part of a card is not among them.

/// So many of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rented {
    pub(super) cards: u64,
    pub(super) card: &'static str,
}

/// The sizes of a family, and how many cards each has.
type Sizes = &'static [(&'static [&'static str], u64)];

/// Amazon's families of one card up to a size, four in the middle and eight in the largest.
const LADDER: Sizes = &[
    (&["xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"], 1),
    (&["12xlarge", "24xlarge"], 4),
    (&["48xlarge", "metal"], 8),
];

/// Amazon's `FAMILY.SIZE`.
const AMAZON: [(&str, &str, Sizes); 14] = [
    ("g4dn", "T4", LADDER),
    ("g5", "A10G", LADDER),
    ("g6", "L4", LADDER),
    ("g6e", "L40S", LADDER),
    (
        "g7e",
        "RTX PRO 6000 Blackwell",
        &[
            (&["2xlarge", "4xlarge", "8xlarge"], 1),
            (&["12xlarge"], 2),
            (&["24xlarge"], 4),
            (&["48xlarge"], 8),
        ],
    ),
    ("p3", "V100-16GB", &[(&["2xlarge"], 1), (&["8xlarge"], 4), (&["16xlarge"], 8)]),
    ("p3dn", "V100-32GB", &[(&["24xlarge"], 8)]),
    ("p4d", "A100-40GB", &[(&["24xlarge"], 8)]),
    ("p4de", "A100-80GB", &[(&["24xlarge"], 8)]),
    ("p5", "H100", &[(&["4xlarge"], 1), (&["48xlarge"], 8)]),
    ("p5e", "H200", &[(&["48xlarge"], 8)]),
    ("p5en", "H200", &[(&["48xlarge"], 8)]),
    ("p6-b200", "B200", &[(&["48xlarge"], 8)]),
    ("p6-b300", "B300", &[(&["48xlarge"], 8)]),
];

/// Google's `FAMILY-Ng`.
const GOOGLE: [(&str, &str); 7] = [
    ("a2-highgpu", "A100-40GB"),
    ("a2-megagpu", "A100-40GB"),
    ("a2-ultragpu", "A100-80GB"),
    ("a3-highgpu", "H100"),
    ("a3-megagpu", "H100"),
    ("a3-ultragpu", "H200"),
    ("a4-highgpu", "B200"),
];

/// Google's machines that are named by their processors.
const GOOGLE_STANDARD: [(&str, &str, Sizes); 2] = [
    (
        "g2-standard",
        "L4",
        &[(&["4", "8", "12", "16", "32"], 1), (&["24"], 2), (&["48"], 4), (&["96"], 8)],
    ),
    (
        "g4-standard",
        "RTX PRO 6000 Blackwell",
        &[(&["48"], 1), (&["96"], 2), (&["192"], 4), (&["384"], 8)],
    ),
];

/// Azure's, without `Standard_`.
const AZURE: [(&str, u64, &str); 16] = [
    ("nc4as_t4_v3", 1, "T4"),
    ("nc8as_t4_v3", 1, "T4"),
    ("nc16as_t4_v3", 1, "T4"),
    ("nc64as_t4_v3", 4, "T4"),
    ("nv36ads_a10_v5", 1, "A10"),
    ("nv36adms_a10_v5", 1, "A10"),
    ("nv72ads_a10_v5", 2, "A10"),
    ("nc24ads_a100_v4", 1, "A100-80GB"),
    ("nc48ads_a100_v4", 2, "A100-80GB"),
    ("nc96ads_a100_v4", 4, "A100-80GB"),
    ("nd96asr_v4", 8, "A100-40GB"),
    ("nd96amsr_a100_v4", 8, "A100-80GB"),
    ("nc40ads_h100_v5", 1, "H100 NVL"),
    ("nc80adis_h100_v5", 2, "H100 NVL"),
    ("nd96isr_h100_v5", 8, "H100"),
    ("nd96isr_h200_v5", 8, "H200"),
];

/// Machines that their maker sells whole.
const SOLD: [(&str, u64, &str); 4] = [
    ("dgx h100", 8, "H100"),
    ("dgx h200", 8, "H200"),
    ("dgx b200", 8, "B200"),
    ("dgx b300", 8, "B300"),
];

/// The cards of a machine that is rented, or sold, under this name; nothing for what is no such name.
pub(super) fn rented(name: &str) -> Option<Rented> {
    let name = name.trim().to_ascii_lowercase();
    amazon(&name).or_else(|| google(&name)).or_else(|| azure(&name)).or_else(|| sold(&name))
}

fn sold(name: &str) -> Option<Rented> {
    let name = name.strip_prefix("nvidia ").unwrap_or(name).replace('-', " ");
    let (_, cards, card) = SOLD.iter().find(|(known, ..)| *known == name)?;
    Some(Rented { cards: *cards, card })
}

fn amazon(name: &str) -> Option<Rented> {
    let name = name.strip_prefix("ml.").unwrap_or(name);
    let (family, size) = name.split_once('.')?;
    let (_, card, sizes) = AMAZON.iter().find(|(known, ..)| *known == family)?;
    of_size(card, sizes, size)
}

fn google(name: &str) -> Option<Rented> {
    let (family, size) = name.rsplit_once('-')?;
    if let Some((_, card, sizes)) = GOOGLE_STANDARD.iter().find(|(known, ..)| *known == family) {
        return of_size(card, sizes, size);
    }
    let (_, card) = GOOGLE.iter().find(|(known, _)| *known == family)?;
    let cards = size.strip_suffix('g')?.parse().ok().filter(|cards| (1..=16).contains(cards))?;
    Some(Rented { cards, card })
}

fn azure(name: &str) -> Option<Rented> {
    let name = name.strip_prefix("standard_").unwrap_or(name);
    let (_, cards, card) = AZURE.iter().find(|(known, ..)| *known == name)?;
    Some(Rented { cards: *cards, card })
}

fn of_size(card: &'static str, sizes: Sizes, size: &str) -> Option<Rented> {
    let (_, cards) = sizes.iter().find(|(sizes, _)| sizes.contains(&size))?;
    Some(Rented { cards: *cards, card })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Catalog;

    #[test]
    fn machines_have_the_cards_of_their_providers_tables() {
        for (name, cards, card) in [
            ("g5.xlarge", 1, "A10G"),
            ("ml.g5.12xlarge", 4, "A10G"),
            ("g6e.48xlarge", 8, "L40S"),
            ("p4d.24xlarge", 8, "A100-40GB"),
            ("p5.48xlarge", 8, "H100"),
            ("a2-highgpu-1g", 1, "A100-40GB"),
            ("a2-ultragpu-8g", 8, "A100-80GB"),
            ("g2-standard-24", 2, "L4"),
            ("Standard_NC24ads_A100_v4", 1, "A100-80GB"),
            ("NC80adis_H100_v5", 2, "H100 NVL"),
            ("NVIDIA DGX H100", 8, "H100"),
        ] {
            assert_eq!(rented(name), Some(Rented { cards, card }), "{name}");
        }
        for none in ["g5.7xlarge", "m5.large", "a2-highgpu-0g", "g2-standard-5", "L4", "a10"] {
            assert_eq!(rented(none), None, "{none}");
        }
    }

    #[test]
    fn every_card_that_is_rented_has_a_profile() {
        let catalog = Catalog::built_in();
        let amazon = AMAZON.iter().map(|(_, card, _)| *card);
        let google = GOOGLE.iter().map(|(_, card)| *card);
        let standard = GOOGLE_STANDARD.iter().map(|(_, card, _)| *card);
        let azure = AZURE.iter().map(|(.., card)| *card);
        for card in amazon.chain(google).chain(standard).chain(azure) {
            assert!(catalog.gpu(card).is_ok(), "{card}");
        }
    }
}
