//! The cards that a log names, in ways in which `--gpu` may know them.

use crate::deployment::Question;
use crate::spec::TensorSplit;
use crate::units::Bytes;
use crate::why::Evidence;
use crate::why::evidence::CardSeen;

/// About what a context takes of a card of which only the free memory is told.
const CONTEXT: Bytes = Bytes::new(600 << 20);

/// A way to say which cards there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// As `--gpu` takes it.
    pub(super) gpu: String,
    /// What has to be said of it.
    pub(super) note: Option<String>,
}

/// The cards by their names, or else their sizes; several ways to say it, the surest first.
pub(super) fn ways(evidence: &Evidence, user: &Question) -> Vec<Way> {
    if let Some(gpu) = &user.gpu {
        return vec![Way { gpu: gpu.clone(), note: None }];
    }
    let cards = of_the_run(evidence);
    let named: Vec<&CardSeen> = cards.iter().copied().filter(|card| card.name.is_some()).collect();
    let with_free: Vec<&CardSeen> =
        named.iter().copied().filter(|card| card.free.is_some()).collect();
    let mut ways: Vec<Way> = Vec::new();
    let mut add = |cards: &[&CardSeen],
                   name: &dyn Fn(&CardSeen) -> Option<String>,
                   note: &dyn Fn(&str) -> Option<String>| {
        let all: Option<Vec<String>> = cards.iter().map(|card| name(card)).collect();
        let Some(gpu) = all.filter(|all| !all.is_empty()).map(|all| all.join(",")) else { return };
        if ways.iter().all(|way| way.gpu != gpu) {
            ways.push(Way { note: note(&gpu), gpu });
        }
    };
    for cards in [&with_free, &named] {
        add(cards, &apples, &|_| None);
        add(cards, &|card| card.name.clone(), &|_| None);
        add(cards, &sized, &|_| None);
    }
    // Ranks of a server have equal cards.
    let cards = if evidence.run.question.gpus.is_some() {
        cards.get(..1).unwrap_or_default()
    } else {
        &cards
    };
    let who = names(&named);
    let unknown = |what: &'static str| {
        let who = who.clone();
        move |gpu: &str| {
            who.as_ref().map(|who| format!("no profile is of {who}: {gpu} are planned, {what}"))
        }
    };
    add(
        cards,
        &|card| card.total.map(|total| total.to_string()),
        &unknown("the size that the log prints"),
    );
    let before = |card: &CardSeen| Some(card.free?.plus(CONTEXT).ok()?.to_string());
    add(cards, &before, &unknown("what was free before the run's own context"));
    if cards.is_empty()
        && let Some(free) = evidence.counts.free_before
        && let Ok(size) = free.bytes.plus(CONTEXT)
    {
        ways.push(Way { gpu: size.to_string(), note: None });
    }
    ways
}

/// The cards that the engine says it uses, where it does; else all that the log names. By their numbers.
fn of_the_run(evidence: &Evidence) -> Vec<&CardSeen> {
    let mut cards: Vec<&CardSeen> = evidence.cards.iter().collect();
    if cards.iter().any(|card| card.in_use) {
        cards.retain(|card| card.in_use);
    }
    cards.sort_by_key(|card| card.index);
    cards
}

/// The names of cards in a sentence.
fn names(cards: &[&CardSeen]) -> Option<String> {
    let mut names: Vec<String> =
        cards.iter().filter_map(|card| Some(format!("`{}`", card.name.as_ref()?))).collect();
    names.dedup();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// A name with the memory that is printed.
fn sized(card: &CardSeen) -> Option<String> {
    let gib = card.total?.get().checked_add(1 << 29)? >> 30;
    Some(format!("{} {gib}GB", card.name.as_deref()?))
}

/// Memories with which Apple's chips are sold, in GiB.
const APPLES: [u64; 14] = [8, 16, 18, 24, 32, 36, 48, 64, 96, 128, 192, 256, 384, 512];

/// Of Apple's chips a log prints what Metal recommends of their memory: two thirds of 32 GiB and less, three quarters of more, and
/// since macOS 15 other shares, up to 84 hundredths.
fn apples(card: &CardSeen) -> Option<String> {
    let name = card.name.as_deref().filter(|name| name.starts_with("Apple M"))?;
    let set = card.total.into_iter().chain(card.free).max()?.get();
    let usual = |gib: &&u64| {
        let share = if **gib <= 32 { (**gib << 30) / 3 * 2 } else { (**gib << 30) / 4 * 3 };
        set.abs_diff(share) <= share / 100
    };
    let holds = |gib: &&u64| {
        let hundredth = (**gib << 30) / 100;
        (hundredth * 66..=hundredth * 85).contains(&set)
    };
    let gib = APPLES.iter().find(usual).or_else(|| APPLES.iter().find(holds))?;
    Some(format!("{name} {gib}GB"))
}

/// llama.cpp deals layers out by what is free of each card, where it is not told otherwise: the proportions, where the log prints
/// what was free.
pub(super) fn dealt_by_free(evidence: &Evidence, question: Question) -> Question {
    let given = question.tensor_split.is_some() || question.split_mode.is_some();
    let runtime = question.runtime.map(crate::estimate::rules);
    let places = runtime.is_some_and(crate::estimate::rules::RuntimeRules::places_tensors);
    let cards = of_the_run(evidence);
    let several = question.gpu.as_deref().is_some_and(|gpu| gpu.split(',').count() == cards.len());
    if given || !places || cards.len() < 2 || !several {
        return question;
    }
    let free: Option<Vec<u64>> = cards.iter().map(|card| Some(card.free?.get() >> 20)).collect();
    let split = free.filter(|free| free.iter().any(|mib| *mib > 0));
    Question { tensor_split: split.map(|mib| TensorSplit::of_counts(&mib)), ..question }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apple(name: &str, mib: u64) -> Option<String> {
        let free = Bytes::mib(mib).ok();
        apples(&CardSeen { name: Some(name.to_owned()), free, ..CardSeen::default() })
    }

    /// What logs print of machines whose memory is told beside it.
    #[test]
    fn apples_memories_are_found_by_their_working_sets() {
        for (mib, gib) in [
            (5461, 8),
            (10_922, 16),
            (12_124, 16),
            (12_288, 18),
            (21_845, 32),
            (38_338, 48),
            (110_100, 128),
        ] {
            assert_eq!(apple("Apple M4", mib), Some(format!("Apple M4 {gib}GB")), "{mib}");
        }
        assert_eq!(apple("NVIDIA L4", 10_922), None);
    }
}
