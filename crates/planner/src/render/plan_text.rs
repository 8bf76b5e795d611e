//! The plan for a terminal; readable without colour.

use std::fmt::Write as _;

use super::devices;
use super::document::{ComponentDoc, Document, RecommendationDoc, TierDoc, UsersDoc};
use super::pool_text::pool_line;
use super::terminal::{Rows, WIDTH, range};
use super::verdict::verdict;
use crate::estimate::rules;
use crate::recommend::Limit;
use crate::spec::{Basis, Bounds};
use crate::text::{printable, printable_message, wrap};
use crate::units::Bytes;

/// Cells of a full bar.
const BAR: u64 = 10;

/// The document as text of 80 columns.
pub fn to_table(document: &Document) -> String {
    to_table_on(document, WIDTH)
}

/// The document as text of so many columns.
pub fn to_table_on(document: &Document, width: usize) -> String {
    let sections = [
        heading_on(document, width),
        devices::to_table(document, width),
        components(document, width),
        phases(document, width),
        tiers(document, width),
        placements(document, width),
        advice(document, width),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What comes before every figure: the verdict, what was planned and for what, in lines of 80 columns.
pub fn heading(document: &Document) -> String {
    heading_on(document, WIDTH)
}

fn heading_on(document: &Document, width: usize) -> String {
    let asked = &document.deployment;
    let chosen = if asked.given.runtime.is_some() { "" } else { " (see `--runtime`)" };
    let version = asked.given.runtime_version.as_deref();
    let version = match (version, asked.resolved.runtime.and_then(|kind| rules(kind).newest_read()))
    {
        (Some(version), _) => format!(" {}", printable(version)),
        (None, Some(release)) => format!(" (as of {release})"),
        (None, None) => String::new(),
    };
    let title = format!(
        "{} · {} weights · {} KV · {} runtime{version}{chosen} · {}",
        asked.model.name,
        asked.weights(),
        asked.kv(),
        asked.runtime(),
        devices::label_of(document)
    );
    let mut text = answer_alone(document, width);
    if let Some(users) = &document.users {
        text.push_str(&wrap(&users_line(users), width));
    }
    text.push_str(&wrap(&title, width));
    for replaced in asked.replaced.iter().chain(&asked.left_out) {
        text.push_str(&wrap(&printable_message(replaced), width));
    }
    if let Some(origin) = &asked.model.origin {
        text.push_str(&wrap(&origin.text(), width));
    }
    if let Some(own) = asked.said_by_configuration() {
        text.push_str(&wrap(&own, width));
    }
    let given = size_of(document);
    let batch = asked.number(|asked| asked.batch);
    let batch = if batch > 1 { format!(" · batch {batch}") } else { String::new() };
    let line = format!(
        "{} system tokens · {} cached tokens ({given}) · prefill chunk {}{batch}",
        asked.number(|asked| asked.system_tokens),
        asked.number(|asked| asked.cache_tokens),
        asked.number(|asked| asked.prefill_chunk),
    );
    text.push_str(&wrap(&line, width));
    if let Some(note) = document.maker_note() {
        text.push_str(&wrap(&note, width));
    }
    if let Some(refusal) = document.refusal() {
        text.push_str(&wrap(&refusal.text, width));
    }
    text
}

/// Where the size of the cache is from.
fn size_of(document: &Document) -> &'static str {
    let (given, resolved) = (&document.deployment.given, &document.deployment.resolved);
    let plans_whole = resolved.runtime.is_some_and(|runtime| rules(runtime).plans_given_context());
    let is_given = given.cache_tokens.is_some()
        || given.context_per_user.is_some()
        || (given.context.is_some() && plans_whole);
    let recommendation = &document.recommendation;
    let fits = recommendation.tiers.iter().any(|tier| tier.max_cache_tokens > 0);
    match (is_given, fits) {
        (true, _) => "given",
        (false, true) => "recommended",
        (false, false) if recommendation.hard_max_cache_tokens > 0 => "the most that may work",
        (false, false) => "the smallest that can work",
    }
}

/// The answer alone: the verdict, and where layers and experts go where that was solved.
pub fn answer_alone(document: &Document, width: usize) -> String {
    let mut text = wrap(&verdict(document).text(), width);
    if let Some(placement) = &document.placement {
        let places_itself =
            document.deployment.resolved.runtime.is_some_and(|kind| rules(kind).places_itself());
        let line = placement.first_line(&label_of_gpus(document), places_itself);
        text.push_str(&wrap(&line, width));
    }
    text
}

/// The GPUs without main memory.
fn label_of_gpus(document: &Document) -> String {
    let gpus = document.devices.iter().filter(|device| !device.host);
    devices::label(gpus.map(|device| device.gpu.as_str()))
}

fn components(document: &Document, width: usize) -> String {
    let usable = document.capacity.usable;
    let header = ["component", "at peak", "low – high", "of usable", "basis"];
    // On a narrow screen the figures stay longest.
    let mut rows = Rows::new(&header, &[1, 2]).dropping(&[&[3], &[4], &[2]]);
    for component in document.held() {
        let elsewhere = component.expected.is_zero();
        let size = if elsewhere { "–".to_owned() } else { component.expected.to_string() };
        let range = if elsewhere {
            format!("{} in {}", component.most, component.most_in.title())
        } else {
            range(bounds(component))
        };
        rows.add_row([
            component.id.title().to_owned(),
            size,
            range,
            bar(component.expected, usable),
            component.basis.to_string(),
        ]);
    }
    let peak = document.peak.total;
    rows.add_row([
        format!("peak ({})", document.peak.phase.title()),
        peak.expected.to_string(),
        range(peak),
        bar(peak.expected, usable),
        String::new(),
    ]);
    rows.finish(width) + &capacity(document, width)
}

fn bounds(component: &ComponentDoc) -> Bounds {
    Bounds { low: component.low, expected: component.expected, high: component.high }
}

/// A bar whose length is `part / whole`.
fn bar(part: Bytes, whole: Bytes) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if whole.is_zero() {
        return String::new();
    }
    let eighths = part.scale(BAR * 8, whole.get()).map_or(BAR * 8, Bytes::get).min(BAR * 8);
    let partial = usize::try_from(eighths % 8).unwrap_or(0);
    let full = usize::try_from(eighths / 8).unwrap_or(0);
    let sliver = if eighths == 0 && !part.is_zero() { "▏" } else { EIGHTHS[partial] };
    "█".repeat(full) + sliver
}

fn capacity(document: &Document, width: usize) -> String {
    let capacity = &document.capacity;
    let mut line = format!(
        "usable {} = {} total − {}",
        capacity.usable,
        capacity.total,
        capacity.reserved_words()
    );
    if !capacity.other_use.is_zero() {
        let _ = write!(line, " − {} in other use", capacity.other_use);
    }
    let _ = write!(line, "; headroom {}", capacity.headroom);
    let mut text = format!("\n{}", wrap(&line, width));
    if let Some(pool) = &document.pool {
        text.push_str(&wrap(&pool_line(document, pool), width));
    }
    if capacity.basis == Basis::Assumed {
        let line = format!("the total is assumed: {}", capacity.source);
        text.push_str(&wrap(&line, width));
    }
    text
}

/// For how many users there is room.
fn users_line(users: &UsersDoc) -> String {
    let UsersDoc { context, safe, expected, .. } = *users;
    let count = |users: u64| match users {
        0 => "no user".to_owned(),
        1 => "1 user".to_owned(),
        users => format!("{users} users"),
    };
    let mut line = format!("room for {} with {context} tokens each at once", count(safe));
    if expected > safe {
        let _ = write!(line, ", {expected} if all is as expected");
    }
    line
}

fn phases(document: &Document, width: usize) -> String {
    let header = ["phase", "persistent", "transient", "held", "total", "high"];
    // The three that add up to the total go together.
    let mut rows = Rows::new(&header, &[1, 2, 3, 4, 5]).dropping(&[&[5], &[1, 2, 3]]);
    for phase in &document.phases {
        rows.add_row([
            phase.id.title().to_owned(),
            phase.persistent.to_string(),
            phase.transient.to_string(),
            phase.held.to_string(),
            phase.total.expected.to_string(),
            phase.total.high.to_string(),
        ]);
    }
    rows.finish(width)
}

/// The placements worth having, each for a context of its own.
fn placements(document: &Document, width: usize) -> String {
    let Some(placement) = &document.placement else { return String::new() };
    if placement.trades.is_empty() {
        return String::new();
    }
    let header = ["tokens", "placement", "tok/s", "low – high"];
    let mut rows = Rows::new(&header, &[0, 2]).dropping(&[&[3]]);
    for trade in &placement.trades {
        let speed = &trade.decode_tokens_per_second;
        let (expected, range) = if speed.high > 0.0 {
            let range = format!("{:.1} – {:.1}", speed.low, speed.high);
            (format!("{:.1}", speed.expected), range)
        } else {
            ("–".to_owned(), String::new())
        };
        rows.add_row([trade.tokens.to_string(), trade.flags.clone(), expected, range]);
    }
    let notes = format!(
        "tok/s: bytes of a token over the bandwidth of each memory; RAM {}/s ({})",
        placement.ram_bandwidth, placement.ram_bandwidth_source
    );
    rows.finish(width) + &wrap(&notes, width)
}

/// The tokens of the largest tier.
fn aggressive(recommendation: &RecommendationDoc) -> u64 {
    recommendation.tiers.iter().map(|tier| tier.max_cache_tokens).max().unwrap_or(0)
}

fn tiers(document: &Document, width: usize) -> String {
    let recommendation = &document.recommendation;
    let tiers = recommendation.tiers.as_slice();
    let evicts = tiers.iter().any(|tier| tier.recent_window > 0);
    // Without eviction a cache holds the conversation whole: its size is the context that engines are told.
    let pinned = if evicts { 0 } else { document.deployment.number(|asked| asked.system_tokens) };
    let row = |name: &str, tier: &TierDoc| TierRow { name, tier, evicts, pinned }.cells();
    let sizes: &[&str] = if evicts { &["max_cache_tokens", "recent_window"] } else { &["context"] };
    let header = [&["tier"], sizes, &["peak (high)", "tok/s"]].concat();
    let right: Vec<usize> = (1..header.len()).collect();
    let mut rows = Rows::new(&header, &right).dropping(&[&[header.len() - 2], &[header.len() - 1]]);
    match tiers {
        [first, others @ ..] if others.iter().all(|tier| tier.asks_as(first)) => {
            rows.add_row(row("every", first));
        }
        tiers => {
            for tier in tiers {
                rows.add_row(row(tier.name.id(), tier));
            }
        }
    }
    let most = match recommendation.hard_max_cache_tokens {
        0 if evicts => "no cache size fits".to_owned(),
        0 => "no context fits".to_owned(),
        // A pool is as large as the rest leaves, which is not known to the byte.
        most if document.pool.is_some() && most > aggressive(recommendation) => format!(
            "at most {} tokens, should all else take as little as it may",
            most.saturating_add(pinned)
        ),
        most => format!("at most {} tokens", most.saturating_add(pinned)),
    };
    let limit = limit(recommendation.limited_by, document);
    let mut text =
        rows.finish(width) + "\n" + &wrap(&format!("{most} · limited by {limit}"), width);
    if evicts {
        let basis = &document.deployment.recent_window_basis;
        text.push_str(&wrap(&format!("recent window: {basis}"), width));
    }
    text + &wrap("tok/s: from memory bandwidth; the upper end cannot be exceeded", width)
}

/// A tier as a row.
struct TierRow<'a> {
    name: &'a str,
    tier: &'a TierDoc,
    /// Whether there is a recent window.
    evicts: bool,
    /// Tokens beside the cache that are counted with it.
    pinned: u64,
}

impl TierRow<'_> {
    fn cells(&self) -> Vec<String> {
        let tier = self.tier;
        let fits = tier.fits();
        let shown = |text: String| if fits { text } else { "–".to_owned() };
        let tokens = tier.max_cache_tokens.saturating_add(self.pinned);
        let mut cells = vec![self.name.to_owned()];
        cells.push(if fits { tokens.to_string() } else { "nothing fits".to_owned() });
        if self.evicts {
            cells.push(shown(tier.recent_window.to_string()));
        }
        cells.push(shown(tier.peak.high.to_string()));
        cells.push(shown(tier.decode_tokens_per_second.text()));
        cells
    }
}

fn limit(limited_by: Limit, document: &Document) -> String {
    match limited_by {
        Limit::Context => {
            let context = document.deployment.number(|asked| asked.context);
            format!("the context of {context} tokens, not by memory")
        }
        Limit::Speed => "the decode speed asked for".to_owned(),
        Limit::Vram => "memory".to_owned(),
    }
}

fn advice(document: &Document, width: usize) -> String {
    let mut text = String::new();
    for advice in document.advice_below().filter(|advice| advice.code != "placement") {
        let line = format!("- {}", advice.text);
        text.push_str(&wrap(&line, width));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let whole = Bytes::new(1400);
        assert_eq!(bar(Bytes::new(700), whole), "█████");
        assert_eq!(bar(Bytes::new(1), whole), "▏");
        assert_eq!(bar(Bytes::ZERO, whole), "");
        assert_eq!(bar(Bytes::new(9999), whole).chars().count(), 10);
    }
}
