//! The first line of a plan: whether it fits, and by how much.

use super::document::{ComponentDoc, Document, shown};
use super::pool_text::pool_words;
use crate::deployment::MOST_GPUS;
use crate::estimate::{Component, rules};
use crate::plan::{Reason, Verdict};
use crate::spec::Drafter;
use crate::units::Bytes;

const WILL_NOT_START: &str = "will not start";

/// The answer in a word or two, such as `fits`, and what that is said of.
pub(super) struct Sentence {
    pub(super) words: String,
    pub(super) rest: String,
}

impl Sentence {
    fn new(words: impl Into<String>, rest: impl std::fmt::Display) -> Self {
        Self { words: words.into(), rest: format!(": {rest}") }
    }

    pub(super) fn text(&self) -> String {
        format!("{}{}", self.words, self.rest)
    }
}

/// The words that the first line of a plan begins with: its verdict.
pub fn verdict_words(document: &Document) -> String {
    verdict(document).words
}

/// The answer: whether it fits, how much of the card it takes, and for how long a context.
pub(super) fn verdict(document: &Document) -> Sentence {
    let mut sentence = of_one_number(document);
    sentence.rest.push_str(&on_no_number(document));
    if lacks_its_draft(document) {
        sentence.rest.push_str("; without what predicts tokens ahead, whose sizes are not known");
    }
    sentence
}

fn of_one_number(document: &Document) -> Sentence {
    let (peak, usable) = (document.peak.total, document.capacity.usable);
    let is_host = document.devices.iter().any(|device| device.binding && device.host);
    let usable_of = format!("{usable}{}", if is_host { " of main memory" } else { "" });
    let each = of_which(document);
    let words = words(document);
    let rest = match (document.verdict, document.reason) {
        (Verdict::DoesNotFit, Some(Reason::TooSlow)) => {
            return Sentence::new("too slow", too_slow(document));
        }
        (Verdict::DoesNotFit, Some(Reason::WillNotStart)) => return will_not_start(document),
        (Verdict::DoesNotFit, _) => {
            let short = document.short_by;
            format!("{} is {short} more than the {usable_of} there are", peak.expected)
        }
        (Verdict::Tight, Some(Reason::UnknownDraft)) => {
            format!("{} of {usable_of} (up to {})", peak.expected, peak.high)
        }
        (Verdict::Tight, _) if may_be_held(document) => {
            let surely = document.capacity.surely_usable.unwrap_or(usable);
            format!(
                "{} of {usable_of}, which the system shares: on some machines no more than {surely} is free",
                peak.expected
            )
        }
        (Verdict::Tight, _) if document.pool.is_some() && peak.expected > usable => format!(
            "{} of {usable} may be too much to start: what the card itself takes is not known exactly",
            peak.expected
        ),
        (Verdict::Tight, _) if document.pool.is_some() && peak.high <= usable => format!(
            "{} of {usable}, and at worst its pool is {} short of what is asked",
            peak.expected, document.short_by
        ),
        (Verdict::Tight, _) if document.pool.is_some() => format!(
            "{} of {usable_of}{each}, but up to {}, which lacks {}",
            peak.expected, peak.high, document.short_by
        ),
        (Verdict::Tight, _) => format!(
            "{} of {usable_of}{each}, but up to {}, which lacks {} of the headroom{}",
            peak.expected,
            peak.high,
            document.short_by,
            context(document)
        ),
        (Verdict::Fits, _) => {
            let context = context(document);
            format!("{} of {usable_of}{each} (up to {}){context}", peak.expected, peak.high)
        }
    };
    Sentence::new(words, rest)
}

/// Of which of several GPUs the first line says what it takes.
fn of_which(document: &Document) -> &'static str {
    let gpus = document.devices.iter().filter(|device| !device.host).count();
    let is_host = document.devices.iter().any(|device| device.binding && device.host);
    if document.fewest_gpus > Some(1) {
        " on each"
    } else if gpus > 1 && !is_host {
        " on the fullest GPU"
    } else {
        ""
    }
}

/// Whether it fits in what is usable on most machines, and not where the system holds more.
fn may_be_held(document: &Document) -> bool {
    let (peak, capacity) = (document.peak.total, &document.capacity);
    capacity.surely_usable.is_some_and(|surely| peak.high > surely) && peak.high <= capacity.usable
}

/// Whether the plan has all but what predicts tokens ahead.
fn lacks_its_draft(document: &Document) -> bool {
    let draft = document.deployment.resolved.draft.as_deref();
    draft.is_some_and(|name| name.eq_ignore_ascii_case(Drafter::UNKNOWN))
}

/// The verdict, with the number of cards where that is the answer.
fn words(document: &Document) -> String {
    let words = document.verdict.words();
    if let Some(needed) = document.main_memory_needed {
        return format!("{words} if {needed} of main memory is free");
    }
    let Some(fewest) = document.fewest_gpus else { return words.to_owned() };
    let gpus = document.deployment.resolved.gpus.unwrap_or(1);
    let gpu = document.deployment.resolved.gpu.as_deref().unwrap_or_default();
    if fewest == 0 { words.to_owned() } else { format!("{words} on {gpus} × {gpu}") }
}

/// That no number of the card holds it, where that was asked.
fn on_no_number(document: &Document) -> String {
    let gpu = document.deployment.resolved.gpu.as_deref().unwrap_or_default();
    match document.fewest_gpus {
        Some(0) => format!("; no number of {gpu} up to {MOST_GPUS} holds it"),
        _ => String::new(),
    }
}

fn too_slow(document: &Document) -> String {
    let tiers = document.recommendation.tiers.iter();
    let speeds = tiers.map(|tier| tier.decode_tokens_per_second.high).filter(|speed| *speed > 0.0);
    match speeds.reduce(f64::max) {
        Some(most) => {
            format!("memory suffices, but at most {most:.0} tok/s can be reached")
        }
        None => "memory suffices, but the decode speed asked for cannot be reached".to_owned(),
    }
}

/// What a conversation can be long, the pinned prompt included.
fn context(document: &Document) -> String {
    let asked = &document.deployment;
    let tokens = asked
        .number(|asked| asked.system_tokens)
        .saturating_add(asked.number(|asked| asked.cache_tokens));
    let longest = asked.number(|asked| asked.context);
    if let Some(users) = &document.users {
        let each = if users.planned == 1 { "user" } else { "users" };
        // A pool has the length that requests may have for each of them, and a context that is asked for is that.
        let is_asked = asked.given.context == Some(longest) && document.pool.is_some();
        let of = if is_asked && users.context < longest {
            format!(" of {longest}")
        } else {
            String::new()
        };
        return format!(" · {} {each} × {}{of} tokens", users.planned, users.context);
    }
    let runtime = asked.resolved.runtime;
    if let Some(fitted) = asked.fitted_length().filter(|fitted| tokens < *fitted) {
        return format!(" · {fitted} tokens of context, {tokens} at least");
    }
    if tokens < longest && runtime.is_some_and(|runtime| rules(runtime).evicts()) {
        return format!(" · {tokens} of {longest} tokens of context cached");
    }
    if tokens == longest {
        format!(" · all {longest} tokens of context")
    } else {
        format!(" · {tokens} tokens of context")
    }
}

/// Conversations that are more than a pool holds: it starts, and some of them wait.
fn too_many(document: &Document) -> String {
    let short = document.short_by;
    match &document.users {
        Some(users) => format!(
            ", but its pool holds {} of {} users × {} tokens: {short} short",
            users.expected, users.planned, users.context
        ),
        None => match asked_of_the_pool(document) {
            Some((tokens, asked)) => {
                format!(
                    ", but its pool holds {tokens} of the {asked} tokens asked for: {short} short"
                )
            }
            None => format!(", but its pool is {short} short of what the conversations hold"),
        },
    }
}

/// Tokens that a pool holds, and those of the one conversation that does not fit in it.
fn asked_of_the_pool(document: &Document) -> Option<(u64, u64)> {
    let asked = &document.deployment;
    let tokens = document.pool.as_ref()?.tokens;
    let wanted = asked
        .number(|asked| asked.system_tokens)
        .saturating_add(asked.number(|asked| asked.cache_tokens));
    (asked.number(|asked| asked.batch) <= 1 && tokens < wanted).then_some((tokens, wanted))
}

/// What weights take at the peak.
fn weights(document: &Document) -> Bytes {
    let of_weights = |row: &&ComponentDoc| row.id == Component::Weights;
    document.components.iter().find(of_weights).map_or(Bytes::ZERO, |row| row.expected)
}

/// Weights that are more than a runtime's share of the card, or than the card.
fn too_heavy(document: &Document, weights: Bytes) -> String {
    let usable = document.capacity.usable;
    let each = if document.devices.is_empty() { "" } else { " on each GPU" };
    let Some(pool) = document.pool.as_ref().filter(|_| weights <= usable) else {
        return format!(": the weights take {weights}{each}, more than the {usable} there are");
    };
    let share = shown(document.deployment.resolved.share().as_ref());
    let (limit, flag) = (pool.limit, pool_words(document).share);
    format!(
        ": the weights take {weights}{each}, more than its share of {limit} ({share}): `{flag}` is too small"
    )
}

/// Why a runtime that takes a share of the card refuses to serve: its weights are more than that, too little of it is free, its pool holds no request of the
/// longest kind, or not the conversations asked for.
fn will_not_start(document: &Document) -> Sentence {
    let runtime = document.deployment.runtime();
    let Some(pool) = &document.pool else {
        return Sentence::new(WILL_NOT_START, format!("{} short", document.short_by));
    };
    let start = &pool.start;
    let share = shown(document.deployment.resolved.share().as_ref());
    let words = pool_words(document);
    let (total, usable) = (document.peak.total.expected, document.capacity.usable);
    // What conversations lack is no part of what it takes when it starts.
    let total = total.minus_or_zero(pool.need.expected.minus_or_zero(pool.limit));
    let free = usable.minus_or_zero(total.minus_or_zero(pool.limit));
    let (limit, short) = (pool.limit, total.minus_or_zero(usable));
    let is_small = start.needs > start.has.expected;
    let captured = start.captured.filter(|captured| captured.most < captured.sequences);
    let weights = weights(document);
    let holds = pool.need.expected <= limit;
    let (what, why) = if weights > limit {
        (WILL_NOT_START, too_heavy(document, weights))
    } else if !holds && !is_small && captured.is_none() {
        ("starts", too_many(document))
    } else if total > usable && words.has_two_ends {
        let why = format!(
            ": its share of {share} is {limit}, and what it takes beside that leaves {free}: {short} short"
        );
        ("will run out of memory", why)
    } else if total > usable {
        let why = format!(
            ": its share of {share} is {limit}, and {free} are free when it looks: {short} short"
        );
        (WILL_NOT_START, why)
    } else if is_small && words.has_two_ends {
        let why = format!(
            ": its share of {share} is {limit}, which leaves {} for a pool of {} at least: `{}` is too small",
            start.has.expected, start.needs, words.share
        );
        (WILL_NOT_START, why)
    } else if is_small {
        let longest = match start.longest_context {
            0 => "none starts".to_owned(),
            longest => format!("the largest that starts is {longest}"),
        };
        let why = format!(
            ": `{}` {} needs {} of cache, {} are there; {longest}",
            words.longest, start.context, start.needs, start.has.expected
        );
        (WILL_NOT_START, why)
    } else if let Some(captured) = captured {
        let why = format!(
            ": `max_num_seqs` {} is more than the {} states that its pool holds: `--max-num-seqs {}` starts",
            captured.sequences, captured.most, captured.most
        );
        (WILL_NOT_START, why)
    } else {
        ("starts", too_many(document))
    };
    Sentence { words: format!("{runtime} {what}"), rest: why }
}
