//! What mends it: each change is planned again where there is a plan, else judged by the log's own figures.

use super::cause::{Cause, CauseKind};
use super::evidence::Evidence;
use super::finding::{Planned, Resolve};
use super::from_log;
use super::words::Words;
use crate::deployment::Question;
use crate::dtype::WeightFormat;
use crate::estimate::rules;
use crate::plan::{Plan, Verdict};
use crate::recommend::{Answer, answer};
use crate::units::Bytes;

/// How sure it is that a remedy mends.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// Planned again, it fits.
    Fits,
    /// By the figures of the log it fits.
    ByLog,
    /// Planned again, it fits without all of its headroom.
    Tight,
    /// Planned again, it frees more than was short.
    Covers,
    /// Planned again, it is not enough alone.
    NotEnough,
    /// Nothing could be computed.
    Unchecked,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// A stable name.
    pub code: &'static str,
    /// The flag or setting, in the engine's own words; empty where it is none.
    pub flags: String,
    /// What it frees, where that is known.
    pub frees: Option<Bytes>,
    /// How sure that is.
    pub checked: Checked,
    /// In a sentence.
    pub text: String,
}

/// Most remedies that are named.
const MOST: usize = 6;

/// What is not worth a line.
const WORTH: i64 = 4 << 20;

/// What mends a cause, the surest first.
pub fn remedies(
    evidence: &Evidence,
    cause: &Cause,
    plan: Option<&Planned>,
    resolve: Resolve<'_>,
) -> Vec<Remedy> {
    let failed =
        !matches!(cause.kind, CauseKind::None | CauseKind::Unknown | CauseKind::DeviceFault);
    if !failed {
        return Vec::new();
    }
    let on_card = !matches!(cause.kind, CauseKind::MainMemory);
    let mut found = match plan.filter(|_| on_card) {
        Some(plan) => planned(evidence, cause, plan, resolve),
        None => Vec::new(),
    };
    let mends = found.iter().any(|remedy| remedy.checked <= Checked::Covers);
    for remedy in from_log::remedies(evidence, cause) {
        if counts_itself(cause.kind) && remedy.checked == Checked::ByLog {
            // The engine has counted its own cache.
            found.retain(|other| other.code != remedy.code);
        }
        let known =
            found.iter().any(|other| other.code == remedy.code || other.flags == remedy.flags);
        let needed = remedy.checked != Checked::Unchecked || !mends;
        if !known && needed {
            found.push(remedy);
        }
    }
    found.sort_by_key(|remedy| remedy.checked);
    found.truncate(MOST);
    found
}

/// Whether the engine says itself what would do.
const fn counts_itself(cause: CauseKind) -> bool {
    matches!(cause, CauseKind::ContextTooLong | CauseKind::MoreThanStates)
}

/// A change that is planned.
pub struct Change {
    /// A stable name.
    pub code: &'static str,
    /// In the engine's own words.
    pub flags: String,
    /// The question with it.
    pub question: Question,
}

fn planned(
    evidence: &Evidence,
    cause: &Cause,
    plan: &Planned,
    resolve: Resolve<'_>,
) -> Vec<Remedy> {
    let words = Words::of(evidence, plan);
    let mut changes = words.changes(plan);
    changes.extend(other_weights(plan));
    let tried: Vec<(Remedy, Planned)> =
        changes.iter().filter_map(|change| check(change, cause, plan, resolve)).collect();
    let tried = with_one_share(tried);
    let mends = |(remedy, _): &(Remedy, Planned)| remedy.checked <= Checked::Covers;
    let both =
        if tried.iter().any(mends) { None } else { together(&words, &tried, cause, plan, resolve) };
    let mut found: Vec<Remedy> = tried.into_iter().map(|(remedy, _)| remedy).chain(both).collect();
    for advice in plan.answer.advice.iter().filter(|advice| advice.code == "smaller-model") {
        let fits = advice.text.contains("which makes it fit");
        found.push(Remedy {
            code: advice.code,
            flags: String::new(),
            frees: Some(Bytes::new(advice.saves.unsigned_abs())),
            checked: if fits { Checked::Fits } else { Checked::NotEnough },
            text: format!("{} (planned again)", advice.text),
        });
    }
    // Where enough mends, what does not is no help.
    if found.iter().filter(|remedy| remedy.checked <= Checked::Covers).count() >= 2 {
        found.retain(|remedy| remedy.checked != Checked::NotEnough);
    }
    found
}

/// Of several shares the first that mends, which takes the least of the card; else the last.
fn with_one_share(tried: Vec<(Remedy, Planned)>) -> Vec<(Remedy, Planned)> {
    let is_share = |(remedy, _): &(Remedy, Planned)| remedy.code == "other-share";
    let (mut shares, mut others): (Vec<_>, Vec<_>) = tried.into_iter().partition(is_share);
    let first = shares.iter().position(|(remedy, _)| remedy.checked == Checked::Fits);
    let at = first.or_else(|| shares.len().checked_sub(1));
    others.extend(at.map(|at| shares.swap_remove(at)));
    others
}

/// What frees the most, and the longest context that fits with it.
fn together(
    words: &Words,
    tried: &[(Remedy, Planned)],
    cause: &Cause,
    plan: &Planned,
    resolve: Resolve<'_>,
) -> Option<Remedy> {
    let (first, changed) = tried.iter().max_by_key(|(remedy, _)| remedy.frees)?;
    let shorter = words.shorter(changed)?;
    let change = Change {
        code: "several",
        flags: match first.code {
            "smaller-weights" => format!("{}` and `{}", first.flags, shorter.flags),
            _ => format!("{} {}", first.flags, shorter.flags),
        },
        question: shorter.question,
    };
    check(&change, cause, plan, resolve).map(|(remedy, _)| remedy)
}

/// The next two smaller formats of weights that the runtime has: another file, or another checkpoint.
fn other_weights(plan: &Planned) -> Vec<Change> {
    let ladder = rules(plan.deployment.kind()).ladders().weights;
    // A file that mixes types is planned as it is stored, and named by its type.
    let now = match plan.deployment.weights {
        WeightFormat::AsStored => plan.question.weights.unwrap_or(WeightFormat::AsStored),
        format => format,
    };
    let at = ladder.iter().position(|&step| step == now).unwrap_or(0);
    let change = |format: &WeightFormat| Change {
        code: "smaller-weights",
        flags: format!("weights in {format}"),
        question: Question { weights: Some(*format), ..plan.question.clone() },
    };
    ladder.iter().take(at).rev().take(2).map(change).collect()
}

/// Plans a change, and says what it gives; nothing where it cannot be planned or makes no difference.
fn check(
    change: &Change,
    cause: &Cause,
    plan: &Planned,
    resolve: Resolve<'_>,
) -> Option<(Remedy, Planned)> {
    let deployment = resolve(&change.question).ok()?;
    let again = answer(&deployment).ok()?;
    let saves = saved(&plan.answer, &again)?;
    let frees = Bytes::new(saves.unsigned_abs());
    let fits_now =
        plan.answer.verdict == Verdict::DoesNotFit && again.verdict != Verdict::DoesNotFit;
    let starts = change.code == "other-share" && starts_now(cause, &plan.answer, &again);
    if saves < WORTH && !fits_now && !starts {
        return None;
    }
    let checked = if starts {
        Checked::Fits
    } else {
        judged((plan.answer.verdict, again.verdict), frees, cause.short_by)
    };
    let flags = &change.flags;
    let gain = if saves >= WORTH { format!(" frees {frees}") } else { String::new() };
    let text = match checked {
        Checked::Fits => format!("`{flags}`{gain}: planned again, it fits"),
        Checked::Tight => format!("`{flags}`{gain}: planned again, it fits, but tightly"),
        Checked::Covers => format!("`{flags}`{gain}: more than was short"),
        Checked::NotEnough => format!("`{flags}`{gain}, which alone is not enough"),
        Checked::ByLog | Checked::Unchecked => format!("`{flags}`{gain}"),
    };
    let frees = (saves >= WORTH).then_some(frees);
    let remedy = Remedy { code: change.code, flags: flags.clone(), frees, checked, text };
    let question = change.question.clone();
    Some((remedy, Planned { deployment, question, answer: again }))
}

/// Whether a server that found no room within its share has it within another, which the card has room for too.
fn starts_now(cause: &Cause, before: &Answer, after: &Answer) -> bool {
    let refused = matches!(
        cause.kind,
        CauseKind::StaticShare
            | CauseKind::NoCache
            | CauseKind::ContextTooLong
            | CauseKind::MoreThanStates
    );
    let pool = |answer: &Answer| answer.plan.pool.map(|pool| pool.start.has.expected);
    refused && after.verdict == Verdict::Fits && pool(after) > pool(before)
}

/// How sure a change is, by the verdicts before and after it.
fn judged((before, after): (Verdict, Verdict), frees: Bytes, short_by: Option<Bytes>) -> Checked {
    match (before, after) {
        (_, Verdict::DoesNotFit) => Checked::NotEnough,
        (Verdict::DoesNotFit, Verdict::Fits) => Checked::Fits,
        (Verdict::DoesNotFit, Verdict::Tight) => Checked::Tight,
        // The plan fits, and the run did not: what counts is what was short.
        _ => match short_by {
            Some(short) if frees >= short => Checked::Covers,
            Some(_) => Checked::NotEnough,
            None if (before, after) == (Verdict::Tight, Verdict::Fits) => Checked::Fits,
            None => Checked::Unchecked,
        },
    }
}

/// What the card that binds is asked for less.
fn saved(before: &Answer, after: &Answer) -> Option<i64> {
    let of = |answer: &Answer, at: usize| {
        let plan: &Plan = answer.devices.get(at).map_or(&answer.plan, |device| &device.plan);
        plan.demand().varies().expected
    };
    i64::try_from(of(before, before.binding).diff(of(after, before.binding))).ok()
}
