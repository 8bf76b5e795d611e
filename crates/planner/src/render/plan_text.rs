//! The plan for a terminal of 80 columns; readable without colour.

use crate::text::wrap;
use std::fmt::Write as _;

use super::terminal::{WIDTH, finish, range, table};

use super::devices;
use super::document::{ComponentDoc, Document, PoolDoc, SpeedDoc, TierDoc, UsersDoc, shown};
use crate::estimate::rules;
use crate::estimate::rules::PoolWords;
use crate::plan::{Reason, Verdict};
use crate::recommend::Limit;
use crate::spec::{Basis, Bounds, Runtime};
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

/// What comes before every figure: the verdict, what was planned and for what, in lines of 80 columns.
pub fn heading(document: &Document) -> String {
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
    let mut text = answer_alone(document);
    if let Some(users) = &document.users {
        text.push_str(&wrap(&users_line(users), WIDTH));
    }
    text.push_str(&wrap(&title, WIDTH));
    if let Some(origin) = &asked.model.origin {
        text.push_str(&wrap(&origin.text(), WIDTH));
    }
    let fits = document.recommendation.tiers.iter().any(|tier| tier.max_cache_tokens > 0);
    let is_given = asked.given.cache_tokens.is_some() || asked.given.context_per_user.is_some();
    let given = match (is_given, fits) {
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
    if let Some(maker) = document.capacity.maker {
        let line = format!(
            "plans are checked on NVIDIA GPUs: for {} the same buffers are assumed",
            maker.name()
        );
        text.push_str(&wrap(&line, WIDTH));
    }
    if let Some(refusal) = document.refusal() {
        text.push_str(&wrap(&refusal.text, WIDTH));
    }
    text
}

/// The answer alone: the verdict, and where layers and experts go where that was solved.
pub fn answer_alone(document: &Document) -> String {
    let mut text = verdict(document);
    if let Some(placement) = &document.placement {
        text.push_str(&wrap(&placement.first_line(&label_of_gpus(document)), WIDTH));
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
    if let Some(users) = &document.users {
        let each = if users.planned == 1 { "user" } else { "users" };
        return format!(" · {} {each} × {} tokens", users.planned, users.context);
    }
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
    let share = shown(document.deployment.resolved.share().as_ref());
    let words = pool_words(document);
    let (total, usable) = (document.peak.total.expected, document.capacity.usable);
    let free = usable.minus_or_zero(total.minus_or_zero(pool.limit));
    let (limit, short) = (pool.limit, document.short_by);
    let is_small = start.needs > start.has.expected;
    let why = if total > usable && words.has_two_ends {
        format!(
            "will run out of memory: its share of {share} is {limit}, and what it takes beside that leaves {free}: {short} \
             short"
        )
    } else if total > usable {
        format!(
            "will not start: its share of {share} is {limit}, and {free} are free when it looks: {short} short"
        )
    } else if is_small && words.has_two_ends {
        format!(
            "will not start: its share of {share} is {limit}, which leaves {} for a pool of {} at least: `{}` is too small",
            start.has.expected, start.needs, words.share
        )
    } else if is_small {
        let longest = match start.longest_context {
            0 => "none starts".to_owned(),
            longest => format!("the largest that starts is {longest}"),
        };
        format!(
            "will not start: `{}` {} needs {} of cache, {} are there; {longest}",
            words.longest, start.context, start.needs, start.has.expected
        )
    } else if words.has_two_ends {
        format!("starts, and its pool is {short} short of what the conversations hold")
    } else {
        format!("will not start: {short} short of what the conversations hold")
    };
    wrap(&format!("{runtime} {why}"), WIDTH)
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

/// What the runtime's share of the card is, and what its cache holds.
fn pool_line(document: &Document, pool: &PoolDoc) -> String {
    let asked = &document.deployment;
    let share = match asked.resolved.kv_cache_memory_bytes {
        Some(pool) => format!("a pool of {pool}"),
        None => shown(asked.resolved.share().as_ref()),
    };
    let host = match pool.host {
        Some(host) => format!("; it pins {host} of main memory for this GPU"),
        None => String::new(),
    };
    let words = pool_words(document);
    let requests = pool.requests.map(|requests| format!(", {requests} requests together"));
    let takes = format!(
        "{} takes {} ({share}) whatever is cached: {} {}, {} tokens by its own count{}{host}",
        asked.runtime(),
        pool.limit,
        pool.blocks,
        words.block,
        pool.tokens,
        requests.unwrap_or_default()
    );
    if words.has_two_ends {
        takes + &start_window(pool, words)
    } else if asked.resolved.kv_cache_memory_bytes.is_some() {
        takes + &concurrency(pool)
    } else {
        takes + &concurrency(pool) + &startable(pool, words)
    }
}

/// Requests of the longest kind that the pool holds, as vLLM prints them when it starts.
fn concurrency(pool: &PoolDoc) -> String {
    let hundredths = u128::from(pool.tokens) * 100 / u128::from(pool.start.context.max(1));
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    format!(", {whole}.{rest:02} requests of {} tokens", pool.start.context)
}

/// The shares with which a server starts that looks whether its share is free.
fn startable(pool: &PoolDoc, words: PoolWords) -> String {
    let flag = words.share;
    match (&pool.start.smallest_share, &pool.start.largest_share) {
        (Some(least), Some(most)) => {
            format!(
                "; `{flag}` {least} is the smallest that starts, {most} the largest that is safe"
            )
        }
        (Some(least), None) => {
            format!("; `{flag}` {least} is the smallest that starts, and none is safe")
        }
        (None, _) => format!("; with no `{flag}` it starts"),
    }
}

/// The shares with which a server starts and does not run out of memory later, where too small ones fail otherwise than too
/// large ones.
fn start_window(pool: &PoolDoc, words: PoolWords) -> String {
    let flag = words.share;
    match (&pool.start.smallest_share, &pool.start.largest_share) {
        (Some(least), Some(most)) => format!(
            "; `{flag}` below {least} leaves no pool, above {most} the rest may not fit beside it"
        ),
        (Some(least), None) => {
            format!("; `{flag}` below {least} leaves no pool, and the rest may not fit beside any")
        }
        (None, _) => format!("; no `{flag}` leaves a pool"),
    }
}

/// What the runtime calls its pool's parts.
fn pool_words(document: &Document) -> PoolWords {
    let runtime = document.deployment.resolved.runtime.unwrap_or(Runtime::Vllm);
    rules(runtime).pool_words()
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
    let recommendation = &document.recommendation;
    let tiers = recommendation.tiers.as_slice();
    let evicts = tiers.iter().any(|tier| tier.recent_window > 0);
    // Without eviction a cache holds the conversation whole: its size is the context that engines are told.
    let pinned = if evicts { 0 } else { document.deployment.number(|asked| asked.system_tokens) };
    let row = |name: &str, tier: &TierDoc| TierRow { name, tier, evicts, pinned }.cells();
    let sizes: &[&str] = if evicts { &["max_cache_tokens", "recent_window"] } else { &["context"] };
    let header = [&["tier"], sizes, &["peak (high)", "tok/s"]].concat();
    let right: Vec<usize> = (1..header.len()).collect();
    let mut rows = table(&header, &right);
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
        most => format!("at most {} tokens", most.saturating_add(pinned)),
    };
    let limit = limit(recommendation.limited_by, document);
    let mut text = finish(&rows) + "\n" + &wrap(&format!("{most} · limited by {limit}"), WIDTH);
    if evicts {
        let basis = &document.deployment.recent_window_basis;
        text.push_str(&wrap(&format!("recent window: {basis}"), WIDTH));
    }
    text + &wrap("tok/s: from memory bandwidth; the upper end cannot be exceeded", WIDTH)
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
        let fits = tier.max_cache_tokens > 0;
        let shown = |text: String| if fits { text } else { "–".to_owned() };
        let tokens = tier.max_cache_tokens.saturating_add(self.pinned);
        let mut cells = vec![self.name.to_owned()];
        cells.push(if fits { tokens.to_string() } else { "nothing fits".to_owned() });
        if self.evicts {
            cells.push(shown(tier.recent_window.to_string()));
        }
        cells.push(shown(tier.peak.high.to_string()));
        cells.push(shown(speed(&tier.decode_tokens_per_second)));
        cells
    }
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
