//! The plan for a terminal of 80 columns; readable without colour.

use crate::text::wrap;
use std::fmt::Write as _;

use super::terminal::{WIDTH, finish, range, table};

use super::devices;
use super::document::{ComponentDoc, Document, PoolDoc, SpeedDoc, TierDoc, shown};
use crate::plan::{Reason, Verdict};
use crate::recommend::Limit;
use crate::spec::{Basis, Bounds};
use crate::units::Bytes;

/// Cells of a full bar.
const BAR: u64 = 10;

/// The document as text.
pub fn to_table(document: &Document) -> String {
    let sections = [
        heading(document),
        devices::to_table(document),
        components(document),
        phases(document),
        tiers(document),
        placements(document),
        advice(document),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn heading(document: &Document) -> String {
    let asked = &document.deployment;
    let chosen = if asked.given.runtime.is_some() { "" } else { " (see `--runtime`)" };
    let title = format!(
        "{} · {} weights · {} KV · {} runtime{chosen} · {}",
        asked.model.name,
        asked.weights(),
        asked.kv(),
        asked.runtime(),
        devices::label_of(document)
    );
    let mut text = verdict(document);
    if let Some(placement) = &document.placement {
        text.push_str(&wrap(&placement.first_line(&label_of_gpus(document)), WIDTH));
    }
    text.push_str(&wrap(&title, WIDTH));
    if let Some(origin) = &asked.model.origin {
        text.push_str(&wrap(&origin.text(), WIDTH));
    }
    let fits = document.recommendation.tiers.iter().any(|tier| tier.max_cache_tokens > 0);
    let given = match (asked.given.cache_tokens.is_some(), fits) {
        (true, _) => "given",
        (false, true) => "recommended",
        (false, false) => "the smallest that can work",
    };
    let batch = asked.number(|asked| asked.batch);
    let batch = if batch > 1 { format!(" · batch {batch}") } else { String::new() };
    let line = format!(
        "{} system tokens · {} cached tokens ({given}) · prefill chunk {}{batch}",
        asked.number(|asked| asked.system_tokens),
        asked.number(|asked| asked.cache_tokens),
        asked.number(|asked| asked.prefill_chunk),
    );
    text.push_str(&wrap(&line, WIDTH));
    if let Some(refusal) = document.refusal() {
        text.push_str(&wrap(&refusal.text, WIDTH));
    }
    text
}

/// The GPUs without main memory.
fn label_of_gpus(document: &Document) -> String {
    let gpus = document.devices.iter().filter(|device| !device.host);
    devices::label(gpus.map(|device| device.gpu.as_str()))
}

fn components(document: &Document) -> String {
    let usable = document.capacity.usable;
    let header = ["component", "at peak", "low – high", "of usable", "basis"];
    let mut rows = table(&header, &[1, 2]);
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
    finish(&rows) + &capacity(document)
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

fn capacity(document: &Document) -> String {
    let capacity = &document.capacity;
    let mut line = format!(
        "usable {} = {} total − {} reserved by the driver",
        capacity.usable, capacity.total, capacity.reserved
    );
    if !capacity.other_use.is_zero() {
        let _ = write!(line, " − {} in other use", capacity.other_use);
    }
    let _ = write!(line, "; headroom {}", capacity.headroom);
    let mut text = format!("\n{}", wrap(&line, WIDTH));
    if let Some(pool) = &document.pool {
        text.push_str(&wrap(&pool_line(document, pool), WIDTH));
    }
    if capacity.basis == Basis::Assumed {
        let line = format!("the total is assumed: {}", capacity.source);
        text.push_str(&wrap(&line, WIDTH));
    }
    text
}

/// The answer: whether it fits, how much of the card it takes, and for how long a context.
fn verdict(document: &Document) -> String {
    let (peak, usable) = (document.peak.total, document.capacity.usable);
    let line = match (document.verdict, document.reason) {
        (Verdict::DoesNotFit, Some(Reason::TooSlow)) => too_slow(document),
        (Verdict::DoesNotFit, Some(Reason::WillNotStart)) => return will_not_start(document),
        (Verdict::DoesNotFit, _) => {
            let short = document.short_by;
            format!("does not fit: {} is {short} more than the {usable} there are", peak.expected)
        }
        (Verdict::Tight, _) => format!(
            "tight: {} of {usable}, but up to {}, which lacks {}{}",
            peak.expected,
            peak.high,
            document.short_by,
            if document.pool.is_some() { "" } else { " of the headroom" }
        ),
        (Verdict::Fits, _) => {
            let context = context(document);
            format!("fits: {} of {usable} (up to {}){context}", peak.expected, peak.high)
        }
    };
    wrap(&line, WIDTH)
}

fn too_slow(document: &Document) -> String {
    let tiers = document.recommendation.tiers.iter();
    let speeds = tiers.map(|tier| tier.decode_tokens_per_second.high).filter(|speed| *speed > 0.0);
    match speeds.reduce(f64::max) {
        Some(most) => {
            format!("too slow: memory suffices, but at most {most:.0} tok/s can be reached")
        }
        None => {
            "too slow: memory suffices, but the decode speed asked for cannot be reached".to_owned()
        }
    }
}

/// What a conversation can be long, the pinned prompt included.
fn context(document: &Document) -> String {
    let asked = &document.deployment;
    let tokens = asked
        .number(|asked| asked.system_tokens)
        .saturating_add(asked.number(|asked| asked.cache_tokens));
    let longest = asked.number(|asked| asked.context);
    if tokens == longest {
        format!(" · all {longest} tokens of context")
    } else {
        format!(" · {tokens} tokens of context")
    }
}

/// Why a runtime that takes a share of the card refuses to serve: too little of it is free, its pool holds no request of the
/// longest kind, or not the conversations asked for.
fn will_not_start(document: &Document) -> String {
    let runtime = document.deployment.runtime();
    let Some(pool) = &document.pool else {
        return format!("will not start: {} short\n", document.short_by);
    };
    let start = &pool.start;
    let usable = document.capacity.usable;
    let outside = document.peak.total.expected.minus_or_zero(pool.limit);
    let why = if document.peak.total.expected > usable {
        let share = shown(document.deployment.resolved.gpu_memory_utilization.as_ref());
        let free = usable.minus_or_zero(outside);
        format!(
            "its share of {share} is {}, and {free} are free when it looks: {} short",
            pool.limit, document.short_by
        )
    } else if start.needs > start.has.expected {
        let longest = match start.longest_context {
            0 => "none starts".to_owned(),
            longest => format!("the largest that starts is {longest}"),
        };
        format!(
            "`max_model_len` {} needs {} of cache, {} are there; {longest}",
            start.context, start.needs, start.has.expected
        )
    } else {
        format!("{} short of what the conversations hold", document.short_by)
    };
    wrap(&format!("{runtime} will not start: {why}"), WIDTH)
}

/// What the runtime's share of the card is, and what its cache holds.
fn pool_line(document: &Document, pool: &PoolDoc) -> String {
    let asked = &document.deployment;
    let share = match asked.resolved.kv_cache_memory_bytes {
        Some(pool) => format!("a pool of {pool}"),
        None => shown(asked.resolved.gpu_memory_utilization.as_ref()),
    };
    let host = match pool.host {
        Some(host) => format!("; it pins {host} of main memory for this GPU"),
        None => String::new(),
    };
    format!(
        "{} takes {} ({share}) whatever is cached: {} blocks, {} tokens by its own count{host}",
        asked.runtime(),
        pool.limit,
        pool.blocks,
        pool.tokens
    )
}

fn phases(document: &Document) -> String {
    let mut rows =
        table(&["phase", "persistent", "transient", "held", "total", "high"], &[1, 2, 3, 4, 5]);
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
    finish(&rows)
}

/// The placements worth having, each for a context of its own.
fn placements(document: &Document) -> String {
    let Some(placement) = &document.placement else { return String::new() };
    if placement.trades.is_empty() {
        return String::new();
    }
    let mut rows = table(&["tokens", "placement", "tok/s", "low – high"], &[0, 2]);
    for trade in &placement.trades {
        let speed = &trade.decode_tokens_per_second;
        rows.add_row([
            trade.tokens.to_string(),
            trade.flags.clone(),
            format!("{:.1}", speed.expected),
            format!("{:.1} – {:.1}", speed.low, speed.high),
        ]);
    }
    let notes = format!(
        "tok/s: bytes of a token over the bandwidth of each memory; RAM {}/s ({})",
        placement.ram_bandwidth, placement.ram_bandwidth_source
    );
    finish(&rows) + &wrap(&notes, WIDTH)
}

fn tiers(document: &Document) -> String {
    let header = ["tier", "max_cache_tokens", "recent_window", "peak (high)", "free then", "tok/s"];
    let mut rows = table(&header, &[1, 2, 3, 4, 5]);
    let recommendation = &document.recommendation;
    match recommendation.tiers.as_slice() {
        [first, others @ ..] if others.iter().all(|tier| tier.asks_as(first)) => {
            rows.add_row(tier_row("every", first));
        }
        tiers => {
            for tier in tiers {
                rows.add_row(tier_row(tier.name.id(), tier));
            }
        }
    }
    let most = match recommendation.hard_max_cache_tokens {
        0 => "no cache size fits".to_owned(),
        most => format!("at most {most} tokens"),
    };
    let limit = limit(recommendation.limited_by, document);
    finish(&rows)
        + "\n"
        + &wrap(&format!("{most} · limited by {limit}"), WIDTH)
        + &wrap(&format!("recent window: {}", document.deployment.recent_window_basis), WIDTH)
        + &wrap("tok/s: from memory bandwidth; the upper end cannot be exceeded", WIDTH)
}

fn tier_row(name: &str, tier: &TierDoc) -> [String; 6] {
    if tier.max_cache_tokens == 0 {
        let none = "–".to_owned();
        return [
            name.to_owned(),
            "nothing fits".to_owned(),
            none.clone(),
            none.clone(),
            none.clone(),
            none,
        ];
    }
    [
        name.to_owned(),
        tier.max_cache_tokens.to_string(),
        if tier.recent_window == 0 { "–".to_owned() } else { tier.recent_window.to_string() },
        tier.peak.high.to_string(),
        tier.headroom.to_string(),
        speed(&tier.decode_tokens_per_second),
    ]
}

/// `~15 (7–25)`; nothing where no bandwidth is known.
fn speed(speed: &SpeedDoc) -> String {
    if speed.high <= 0.0 {
        return "–".to_owned();
    }
    let digits =
        |speed: f64| if speed < 10.0 { format!("{speed:.1}") } else { format!("{speed:.0}") };
    format!("~{} ({}–{})", digits(speed.expected), digits(speed.low), digits(speed.high))
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

fn advice(document: &Document) -> String {
    let mut text = String::new();
    for advice in document.advice_below().filter(|advice| advice.code != "placement") {
        let line = format!("- {}", advice.text);
        text.push_str(&wrap(&line, WIDTH));
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
