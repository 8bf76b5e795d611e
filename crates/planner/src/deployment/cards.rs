//! The cards that a model is planned on, and what each offers.

use std::sync::Arc;

use super::card_names::names;
use super::limits::MOST_GPUS;
use super::{DeploymentError, Question, error, server};
use crate::estimate::rules;
use crate::plan::Capacity;
use crate::read::{Catalog, SourceError};
use crate::spec::{Basis, GpuSpec, Runtime, SplitMode};
use crate::units::Bytes;

/// A GPU and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The GPU.
    pub gpu: GpuSpec,
    /// What it offers.
    pub capacity: Capacity,
}

/// One card, or several in the order in which a model is spread over them. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cards(Arc<Row>);

#[derive(Debug, PartialEq, Eq)]
struct Row {
    first: Card,
    others: Vec<Card>,
}

impl Cards {
    /// The first, and those beside it.
    pub fn new(first: Card, others: Vec<Card>) -> Self {
        Self(Arc::new(Row { first, others }))
    }

    /// A card alone.
    pub fn one(card: Card) -> Self {
        Self::new(card, Vec::new())
    }

    /// The first: what runtimes size themselves by.
    pub fn first(&self) -> &Card {
        &self.0.first
    }

    /// How many there are: 1 or more.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        1 + self.0.others.len()
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Card> + Clone {
        std::iter::once(&self.0.first).chain(&self.0.others)
    }

    /// How a question names them: the one name of equal cards with their number, or a list.
    pub(super) fn names(&self) -> (String, Option<u64>) {
        let first = &self.first().gpu.name;
        if self.len() == 1 {
            return (first.clone(), None);
        }
        if self.iter().all(|card| card.gpu.name == *first) {
            return (first.clone(), Some(self.len() as u64));
        }
        let names: Vec<_> = self.iter().map(|card| card.gpu.name.as_str()).collect();
        (names.join(","), None)
    }
}

/// The card of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCard {
    /// The GPU, with its own total.
    pub gpu: GpuSpec,
    /// What other processes hold of it.
    pub used: Bytes,
}

/// The name that stands for the local card.
const AUTO: &str = "auto";

impl Question {
    /// Whether it asks for the card of this machine.
    pub fn wants_local_card(&self) -> bool {
        let gpu = self.gpu.as_deref().unwrap_or_default();
        gpu.split(',').any(|name| name.trim().eq_ignore_ascii_case(AUTO))
    }
}

/// The GPUs that the question names, or so many of the one name, with what each offers.
///
/// # Errors
/// Where a card is not known, their number is out of range, or nothing of one is left.
pub fn cards(
    question: &Question,
    runtime: Runtime,
    catalog: &Catalog,
    local: Option<&LocalCard>,
) -> Result<Cards, DeploymentError> {
    let gpu = question.gpu.as_deref().ok_or_else(error::no_gpu)?;
    let names = names(gpu)?;
    let gpus = count(question, &names)?;
    refuse_with_fewest(question, &names)?;
    if question.split.is_some() && gpus == 1 && !question.fewest_gpus {
        return Err(DeploymentError::refused(
            "`--split` says how a model is spread over several GPUs, and there is one",
            "drop `--split`, or add `--gpus N`",
        ));
    }
    let card = |name: &str| {
        let (mut gpu, other_use) = find(name, question, catalog, local)?;
        apply_calibration(&mut gpu, runtime, catalog)?;
        card_on(question, gpu, runtime, other_use)
    };
    let first = card(names[0])?;
    let cards = |others| main_one(question, Cards::new(first.clone(), others));
    let others = match names.as_slice() {
        [_] => vec![first.clone(); gpus - 1],
        [_, others @ ..] => others.iter().map(|name| card(name)).collect::<Result<_, _>>()?,
        [] => Vec::new(),
    };
    cards(others)
}

/// Refuses what says itself how many cards there are beside `--gpus auto`.
fn refuse_with_fewest(question: &Question, names: &[&str]) -> Result<(), DeploymentError> {
    if !question.fewest_gpus {
        return Ok(());
    }
    let given = if names.len() > 1 {
        Some(("`--gpu` with several cards", "name the card once"))
    } else if question.says_parallelism() {
        Some((
            "a size of parallelism",
            "drop it: every layer is split over the cards that are found",
        ))
    } else if question.split_mode == Some(SplitMode::None) {
        Some(("`--split-mode none`", "drop one of them"))
    } else {
        None
    };
    match given {
        Some((what, hint)) => Err(DeploymentError::refused(
            format!("`--gpus auto` looks for the number of cards, which {what} sets"),
            hint,
        )),
        None => Ok(()),
    }
}

/// The GPU of `--split-mode none`; all of them under other modes.
fn main_one(question: &Question, cards: Cards) -> Result<Cards, DeploymentError> {
    let main = question.main_gpu.unwrap_or(0);
    let index = usize::try_from(main).unwrap_or(usize::MAX);
    let Some(card) = cards.iter().nth(index) else {
        let expected = format!("0 to {}", cards.len() - 1);
        return Err(DeploymentError::out_of_range("--main-gpu", main, expected));
    };
    if question.split_mode == Some(SplitMode::None) {
        return Ok(Cards::one(card.clone()));
    }
    // Where every GPU has layers of its own llama.cpp takes the flag, and nothing depends on it.
    Ok(cards)
}

/// Whether a word names cards as `--gpu` takes them: known ones, the local one, the size of one, several of these.
///
/// ```
/// use vramplan_planner::deployment::are_cards;
/// use vramplan_planner::read::Catalog;
///
/// let catalog = Catalog::built_in();
/// assert!(are_cards("2xL4,T4", &catalog) && are_cards("24GiB", &catalog));
/// assert!(!are_cards("qwen2.5-14b", &catalog));
/// ```
pub fn are_cards(word: &str, catalog: &Catalog) -> bool {
    // One that is known with several memories is a card, of which has to be said which.
    let is_unknown = |name: &str| matches!(catalog.gpu(name), Err(SourceError::Unknown { .. }));
    let is_one = |name: &&str| name.eq_ignore_ascii_case(AUTO) || !is_unknown(name);
    names(word).is_ok_and(|names| !names.is_empty() && names.iter().all(is_one))
}

/// Whether `--gpu` names more than one card.
pub(super) fn is_several(gpu: &str) -> bool {
    names(gpu).is_ok_and(|names| names.len() > 1)
}

/// A card as the question leaves it to a run: less what others hold, with the headroom that is asked for.
///
/// # Errors
/// Where nothing is left.
pub fn card_on(
    question: &Question,
    gpu: GpuSpec,
    runtime: Runtime,
    other_use: Bytes,
) -> Result<Card, DeploymentError> {
    let headroom = question.headroom.unwrap_or_else(|| rules(runtime).headroom());
    let mut capacity = Capacity::new(gpu.total.value, gpu.reserved.value, other_use, headroom)?;
    capacity.doubt = doubt(&gpu);
    let most = gpu.reserved_range.map_or(gpu.reserved.value, |[_, most]| most);
    capacity.held_more = most.minus_or_zero(gpu.reserved.value);
    if capacity.less_headroom(1)?.is_zero() {
        let message = format!(
            "nothing of `{}` is left: {} total, {} reserved, {} in other use, {} headroom",
            gpu.name, capacity.total, capacity.reserved, capacity.other_use, capacity.headroom
        );
        return Err(DeploymentError::refused(message, ""));
    }
    Ok(Card { gpu, capacity })
}

/// How much more of a card may be free than is assumed: as much as was seen, else half of what the driver is assumed to keep.
fn doubt(gpu: &GpuSpec) -> Option<Bytes> {
    if let Some([least, _]) = gpu.reserved_range {
        return Some(gpu.reserved.value.minus_or_zero(least));
    }
    let is_assumed = |basis: Basis| basis == Basis::Assumed;
    let kept = is_assumed(gpu.reserved.basis);
    let taken = gpu.context.as_ref().is_some_and(|context| is_assumed(context.basis));
    let half = Bytes::new(gpu.reserved.value.get() / 2);
    (kept || taken).then_some(if kept { half } else { Bytes::ZERO })
}

/// The GPU, and what other processes hold of it: as given, or on the local card as measured.
fn find(
    name: &str,
    question: &Question,
    catalog: &Catalog,
    local: Option<&LocalCard>,
) -> Result<(GpuSpec, Bytes), DeploymentError> {
    if !name.eq_ignore_ascii_case(AUTO) {
        refuse_no_card(name)?;
        return Ok((catalog.gpu(name)?, question.other_use.unwrap_or(Bytes::ZERO)));
    }
    let Some(local) = local else {
        let message = "`--gpu auto`: no card of this machine is known here";
        return Err(DeploymentError::refused(message, "name the GPU"));
    };
    Ok((local.gpu.clone(), question.other_use.unwrap_or(local.used)))
}

/// Refuses what is no card's name and is often written for one: a number without a unit, main memory.
fn refuse_no_card(name: &str) -> Result<(), DeploymentError> {
    const WITHOUT: [&str; 4] = ["cpu", "none", "no", "ram"];
    if !name.is_empty() && name.len() <= 3 && name.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("`--gpu {name}` is neither a name nor a size: expected a unit");
        return Err(DeploymentError::refused(message, format!("try `--gpu {name}GiB`")));
    }
    if WITHOUT.iter().any(|word| name.eq_ignore_ascii_case(word)) {
        return Err(DeploymentError::refused(
            format!("`--gpu {name}`: a run without any GPU is not planned"),
            "name a GPU; `--runtime llama.cpp --ngl 0 --ram SIZE` plans a model that stays in main memory beside it",
        ));
    }
    Ok(())
}

/// Puts what was measured of a runtime on this card in the place of what was assumed.
fn apply_calibration(
    gpu: &mut GpuSpec,
    runtime: Runtime,
    catalog: &Catalog,
) -> Result<(), DeploymentError> {
    let found = catalog.calibration(&gpu.name, runtime)?;
    if let Some(found) = found
        && let Some(context) = found.context()
    {
        gpu.context = Some(context);
        gpu.calibrated = found.parts();
    }
    Ok(())
}

/// How many GPUs there are.
fn count(question: &Question, names: &[&str]) -> Result<usize, DeploymentError> {
    if let Some(empty) = names.iter().find(|name| name.is_empty()) {
        let message = format!("`--gpu` has an empty name: `{}`", names.join(",") + empty);
        let hint = "separate names by single commas, such as `--gpu L4,T4`";
        return Err(DeploymentError::refused(message, hint));
    }
    let most = usize::try_from(MOST_GPUS).unwrap_or(usize::MAX);
    let asked = question.gpus.or_else(|| server::gpus(question));
    let given = asked.map(|gpus| usize::try_from(gpus).unwrap_or(usize::MAX));
    match (names, given) {
        (_, Some(gpus)) if gpus == 0 || gpus > most => {
            let value = asked.unwrap_or_default();
            Err(DeploymentError::out_of_range("--gpus", value, format!("1 to {MOST_GPUS}")))
        }
        ([_], gpus) => Ok(gpus.unwrap_or(1)),
        (names, Some(gpus)) if names.len() != gpus && question.gpus.is_none() => {
            let message = format!(
                "kinds of parallelism make up {gpus} GPUs, and `--gpu` names {}",
                names.len()
            );
            let hint = "name one card for each, such as `8xH100`, or give sizes whose product is their number";
            Err(DeploymentError::refused(message, hint))
        }
        (names, Some(gpus)) if names.len() != gpus => {
            let message = format!("{gpus} GPUs are asked for, and `--gpu` names {}", names.len());
            let all = format!("{gpus}x{}", names[0]);
            let hint = format!(
                "`--gpus`, like `-tp` of a server, counts equal GPUs: `--gpu {}`, or one name",
                shlex::try_quote(&all).unwrap_or((&*all).into())
            );
            Err(DeploymentError::refused(message, hint))
        }
        (names, _) => Ok(names.len()),
    }
}
