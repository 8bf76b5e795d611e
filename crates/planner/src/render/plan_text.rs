//! The plan for a terminal of 80 columns; readable without colour.

use crate::text::wrap;
use std::fmt::Write as _;

use super::terminal::{WIDTH, finish, range, table};

use super::devices;
use super::document::{ComponentDoc, Document, PoolDoc, TierDoc, shown};
use crate::plan::{Reason, Verdict};
use crate::recommend::Limit;
use crate::spec::Bounds;
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
    let mut text = document.placement.as_ref().map_or(String::new(), |placement| {
        wrap(&placement.first_line(&label_of_gpus(document)), WIDTH)
    });
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
    text.push_str(&verdict(document));
    text
}

fn verdict(document: &Document) -> String {
    match (document.verdict, document.reason) {
        (Verdict::DoesNotFit, Some(Reason::TooSlow)) => {
            "too slow: memory suffices, the decode speed asked for is out of reach\n".to_owned()
        }
        (Verdict::DoesNotFit, Some(Reason::WillNotStart)) => will_not_start(document),
        (Verdict::DoesNotFit, _) => format!("does not fit: {} short\n", document.short_by),
        (Verdict::Tight, _) => format!(
            "tight: fits as expected, but the high bound lacks {}{}\n",
            document.short_by,
            if document.pool.is_some() { "" } else { " of the headroom" }
        ),
        (Verdict::Fits, _) => {
            let usable = document.capacity.usable;
            let left = usable.minus_or_zero(document.peak.total.expected);
            format!("fits: {left} left at the expected peak\n")
        }
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
    let share = shown(asked.resolved.gpu_memory_utilization.as_ref());
    format!(
        "{} takes {} ({share}) whatever is cached: {} blocks, {} tokens by its own count",
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
    for tier in &document.recommendation.tiers {
        rows.add_row(tier_row(tier));
    }
    let recommendation = &document.recommendation;
    let mut text = finish(&rows);
    let _ = writeln!(
        text,
        "\nhard maximum {} tokens · limited by {}\nrecent window: {}\ntok/s: at most, from memory bandwidth alone",
        recommendation.hard_max_cache_tokens,
        limit(recommendation.limited_by, document),
        document.deployment.recent_window_basis,
    );
    text
}

fn tier_row(tier: &TierDoc) -> [String; 6] {
    if tier.max_cache_tokens == 0 {
        let none = "–".to_owned();
        return [
            tier.name.id().to_owned(),
            "nothing fits".to_owned(),
            none.clone(),
            none.clone(),
            none.clone(),
            none,
        ];
    }
    [
        tier.name.id().to_owned(),
        tier.max_cache_tokens.to_string(),
        if tier.recent_window == 0 { "–".to_owned() } else { tier.recent_window.to_string() },
        tier.peak.high.to_string(),
        tier.headroom.to_string(),
        format!("{:.0}", tier.decode_tokens_per_second.high),
    ]
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
