//! What `--gpu` names: one card, so many of one, or several, in the ways in which people write that.

use super::DeploymentError;
use super::instances::rented;
use super::limits::MOST_GPUS;
use crate::read::size_alone;

/// Words that stand for a number of cards.
const NUMBERS: [(&str, u64); 9] = [
    ("single", 1),
    ("dual", 2),
    ("triple", 3),
    ("quad", 4),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("eight", 8),
];

/// The signs between a number of cards and their name.
const TIMES: [char; 4] = ['x', 'X', '×', '*'];

/// A number before a name that is longer than this is a part of the name: the `7900` of `7900xtx`.
const LONGEST_NUMBER: usize = 3;

/// The names that `--gpu` lists: `L4,T4`, `3090 + 4090`, `2xL4`, `dual 3090`, and those in a rented machine, `g5.12xlarge`.
pub(super) fn names(gpu: &str) -> Result<Vec<&str>, DeploymentError> {
    let mut names = Vec::new();
    for name in listed(gpu) {
        let (times, name) = multiple(name).unwrap_or((1, name));
        if times == 0 || times > MOST_GPUS {
            let what = format!("1x{name} to {MOST_GPUS}x{name}");
            return Err(DeploymentError::out_of_range("--gpu", times, what));
        }
        let (cards, card) = rented(name).map_or((1, name), |found| (found.cards, found.card));
        names.extend((0..times.saturating_mul(cards)).map(|_| card));
        if names.len() as u64 > MOST_GPUS {
            let what = format!("at most {MOST_GPUS} cards");
            let all = format!("{} and more", names.len());
            return Err(DeploymentError::out_of_range("--gpu", all, what));
        }
    }
    Ok(names)
}

/// What stands between commas, `+`, `&` and `and`.
fn listed(gpu: &str) -> impl Iterator<Item = &str> {
    let commas = gpu.split([',', '&', ';']);
    let words = commas.flat_map(|part| part.split(" and "));
    words.flat_map(between_plus_signs).map(str::trim)
}

/// What stands between `+` signs, but for one that is a part of a name, as in `Max+ 395`.
fn between_plus_signs(text: &str) -> Vec<&str> {
    let separates = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + 1..].chars().next();
        let ends_a_word = before.is_some_and(char::is_alphabetic);
        !(ends_a_word && after.is_none_or(char::is_whitespace))
    };
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices('+').filter(|(at, _)| separates(*at)) {
        parts.push(&text[start..at]);
        start = at + 1;
    }
    parts.push(&text[start..]);
    parts
}

/// How many of which card `2xL4`, `L4x2`, `2 L4` or `dual L4` names.
fn multiple(name: &str) -> Option<(u64, &str)> {
    if size_alone(name).is_some() {
        return None; // `24 GB`
    }
    let found = times_before(name).or_else(|| times_after(name)).or_else(|| counted(name))?;
    let (times, name) = found;
    Some((times, name.trim())).filter(|(_, name)| !name.is_empty())
}

fn times_before(name: &str) -> Option<(u64, &str)> {
    let (times, name) = name.split_once(TIMES)?;
    let times = times.trim();
    (times.len() <= LONGEST_NUMBER).then_some(())?;
    Some((times.parse().ok()?, name))
}

/// No card's name ends so with a number of cards: those that nearly do, such as `RTX2060`, end in more than there can
/// be of one.
fn times_after(name: &str) -> Option<(u64, &str)> {
    let (name, times) = name.trim_end_matches(')').rsplit_once(TIMES)?;
    // The memory behind a chip of Apple's or AMD's: `M4 Max 64`.
    if name.to_ascii_lowercase().ends_with("ma") {
        return None;
    }
    let times = times.trim().parse().ok().filter(|times| (1..=MOST_GPUS).contains(times))?;
    Some((times, name.trim_end().trim_end_matches('(')))
}

/// `2 3090`, `dual 3090`: a number of cards is smaller than the smallest number that is a card's name.
fn counted(name: &str) -> Option<(u64, &str)> {
    const MOST: u64 = 16;
    let (number, name) = name.split_once([' ', '-'])?;
    let word = NUMBERS.iter().find(|(word, _)| word.eq_ignore_ascii_case(number));
    let times = word.map_or_else(|| number.parse().ok(), |(_, times)| Some(*times))?;
    (1..=MOST).contains(&times).then_some((times, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_one_card_are_read() {
        let found = |text| multiple(text);
        for (text, times, name) in [
            ("2xL4", 2, "L4"),
            ("2 x RTX 4090", 2, "RTX 4090"),
            ("L4x2", 2, "L4"),
            ("RTX 4090x2", 2, "RTX 4090"),
            ("3090 x2", 2, "3090"),
            ("3090 (x2)", 2, "3090"),
            ("3090*2", 2, "3090"),
            ("2 3090", 2, "3090"),
            ("dual 3090", 2, "3090"),
            ("2x 24GiB", 2, "24GiB"),
        ] {
            assert_eq!(found(text), Some((times, name)), "{text}");
        }
        for one in [
            "RTX 2060",
            "RTX2060",
            "rtx 3090 Ti",
            "GTX 1080",
            "TITAN RTX",
            "m4 max 64",
            "m4max64",
            "x2",
            "24GiB",
            "24 GB",
            "7900xtx",
            "9070 xt",
            "3090",
            "8",
        ] {
            assert_eq!(found(one), None, "{one}");
        }
    }

    #[test]
    fn lists_are_written_in_many_ways() {
        for (text, names) in [
            ("3090,4090", ["3090", "4090"]),
            ("3090+4090", ["3090", "4090"]),
            ("3090 + 4090", ["3090", "4090"]),
            ("rtx 3090 and 4090", ["rtx 3090", "4090"]),
            ("2xL4", ["L4", "L4"]),
            ("Ryzen AI Max+ 395, L4", ["Ryzen AI Max+ 395", "L4"]),
        ] {
            assert_eq!(super::names(text).unwrap(), names, "{text}");
        }
        assert!(super::names("100xL4").is_err());
    }

    #[test]
    fn a_rented_machine_is_its_cards() {
        assert_eq!(names("g5.12xlarge").unwrap(), ["A10G"; 4]);
        assert_eq!(names("2x g2-standard-24").unwrap(), ["L4"; 4]);
        assert_eq!(names("two 3090").unwrap(), ["3090"; 2]);
    }

    #[test]
    fn a_list_has_no_more_cards_than_a_machine() {
        let most = usize::try_from(MOST_GPUS).unwrap();
        assert_eq!(names(&vec!["L4"; most].join(",")).unwrap().len(), most);
        for many in [vec!["L4"; most + 1].join(","), "64xL4,T4".to_owned(), "L4,".repeat(20_000)] {
            let error = names(&many).unwrap_err().to_string();
            assert!(error.contains("expected at most 64 cards"), "{error}");
        }
    }
}
