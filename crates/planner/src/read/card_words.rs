//! Other ways to write a card's name than its profile has: `a100-80`, `4060ti-16g`, `RTX 6000 Pro`, `Colab T4`.

use crate::units::Bytes;

/// Words that say nothing of which card it is.
const FILLERS: [&str; 17] = [
    "gpu", "gpus", "card", "graphics", "nvidia", "geforce", "tesla", "amd", "radeon", "intel",
    "vram", "memory", "with", "colab", "kaggle", "sxm", "pcie",
];

/// Words that make another card of a name.
const VARIANTS: [&str; 10] =
    ["ti", "super", "laptop", "d", "xt", "xtx", "gre", "max", "nvl", "ultra"];

/// A name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The words that tell the card, in lower case.
    words: Vec<String>,
    /// The GiB of memory that stand at the end, and whether they have a unit.
    memory: Option<(u64, bool)>,
}

/// The least memory that is one, and the most.
const MEMORIES: std::ops::RangeInclusive<u64> = 2..=512;

impl Words {
    pub(super) fn new(name: &str) -> Self {
        let text = name.to_ascii_lowercase().replace(['-', '_', '(', ')', '[', ']', '/'], " ");
        let mut words: Vec<&str> =
            text.split_whitespace().filter(|word| !FILLERS.contains(word)).collect();
        let memory = memory(&mut words);
        Self { words: words.into_iter().map(str::to_owned).collect(), memory }
    }

    /// The GiB that the name ends in, where it says that they are some.
    pub(super) fn stated_memory(&self) -> Option<u64> {
        self.memory.filter(|(_, has_unit)| *has_unit).map(|(gib, _)| gib)
    }

    /// Names under which a profile may have the card, the surest first; one without the memory only counts where the
    /// card has that much.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let base = self.words.join(" ");
        if base.is_empty() {
            return Vec::new();
        }
        match self.memory {
            None => vec![Candidate { name: base, memory: None }],
            Some((gib, has_unit)) => {
                let with = Candidate { name: format!("{base} {gib}gb"), memory: None };
                let without = Candidate { name: base.clone(), memory: Some(gib) };
                // A number without a unit may be a part of the name.
                let number = Candidate { name: format!("{base} {gib}"), memory: None };
                if has_unit { vec![with, without] } else { vec![number, with, without] }
            }
        }
    }

    /// Whether a profile's name has all of these words, in any order, and besides only words without a digit that make no
    /// other card of it: `RTX 6000 Pro` is the `RTX PRO 6000 Blackwell`, but `4060 Ti` is no `RTX 4060 Ti 16GB`, and
    /// `RTX 3050` no `RTX 3050 Ti Laptop`.
    pub(super) fn are_of(&self, name: &str) -> bool {
        let has_digit = |word: &str| word.bytes().any(|byte| byte.is_ascii_digit());
        let name = name.to_ascii_lowercase().replace(['-', '_'], " ");
        let mut others: Vec<&str> = name.split_whitespace().collect();
        for word in &self.words {
            let Some(at) = others.iter().position(|other| other == word) else { return false };
            others.remove(at);
        }
        self.words.len() > 1
            && self.memory.is_none()
            && self.words.iter().any(|word| has_digit(word))
            && !others.iter().any(|word| has_digit(word) || VARIANTS.contains(word))
    }
}

/// A name to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    /// The GiB that the card must have.
    pub(super) memory: Option<u64>,
}

impl Candidate {
    /// Whether a card has the memory that was named with it: its total is a little less than what it is sold as.
    pub(super) fn admits(&self, total: Bytes) -> bool {
        const GIB: u64 = 1 << 30;
        let Some(gib) = self.memory else { return true };
        let (least, most) = (gib * GIB / 10 * 9, gib * GIB);
        (least..=most).contains(&total.get())
    }
}

/// Takes `80gb`, `80 gb`, `80g` or a bare `80` from the end.
fn memory(words: &mut Vec<&str>) -> Option<(u64, bool)> {
    let is_unit = |word: &str| matches!(word, "g" | "gb" | "gib");
    let number = |word: &str| word.parse::<u64>().ok().filter(|gib| MEMORIES.contains(gib));
    let (gib, has_unit, taken) = match words.as_slice() {
        [_, .., digits, unit] if is_unit(unit) => (number(digits)?, true, 2),
        [_, .., word] => {
            let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = &word[digits.len()..];
            (unit.is_empty() || is_unit(unit)).then_some(())?;
            (number(digits)?, !unit.is_empty(), 1)
        }
        _ => return None,
    };
    words.truncate(words.len() - taken);
    Some((gib, has_unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Vec<String> {
        Words::new(name).candidates().into_iter().map(|candidate| candidate.name).collect()
    }

    #[test]
    fn a_memory_is_told_from_a_name() {
        assert_eq!(names("a100-80"), ["a100 80", "a100 80gb", "a100"]);
        assert_eq!(names("A100 80G"), ["a100 80gb", "a100"]);
        assert_eq!(names("NVIDIA RTX 3060 (12 GB)"), ["rtx 3060 12gb", "rtx 3060"]);
        assert_eq!(names("Colab T4"), ["t4"]);
        assert_eq!(names("RTX 5000"), ["rtx 5000"]);
        assert_eq!(Words::new("Jetson Orin 64GB").stated_memory(), Some(64));
        assert!(names("GPU").is_empty() && names("").is_empty());
    }

    #[test]
    fn words_may_stand_in_any_order() {
        assert!(Words::new("RTX 6000 Pro").are_of("RTX PRO 6000 Blackwell"));
        assert!(Words::new("3070 laptop").are_of("RTX 3070 Laptop"));
        for (name, of) in [
            ("RTX 4060 Ti", "RTX 4060 Ti 16GB"),
            ("RTX", "RTX 3060"),
            ("RTX 6000", "RTX 6000 2"),
            ("RTX 3050", "RTX 3050 Ti Laptop"),
        ] {
            assert!(!Words::new(name).are_of(of), "{name}");
        }
    }

    #[test]
    fn a_card_has_a_little_less_than_it_is_sold_with() {
        let of = |gib| Candidate { name: String::new(), memory: Some(gib) };
        assert!(of(12).admits(Bytes::new(12_288 << 20)) && of(80).admits(Bytes::new(81_559 << 20)));
        assert!(!of(12).admits(Bytes::new(8 << 30)) && !of(24).admits(Bytes::new(16 << 30)));
    }
}
