//! Markdown tables, for a repository or an issue.

use std::fmt::Write as _;

use super::devices;
use super::document::Document;
use super::verdict::verdict;
use crate::text::markdown;

/// The document as Markdown.
pub fn to_markdown(document: &Document) -> String {
    let asked = &document.deployment;
    let answer = verdict(document);
    let mut text = format!(
        "## {} on {}\n\n**{}**{}.\n\n",
        markdown(&asked.model.name),
        markdown(&devices::label_of(document)),
        answer.words,
        markdown(&answer.rest)
    );
    let _ = writeln!(
        text,
        "{} weights, {} KV, `{}` runtime, {} system tokens, {} cached tokens, prefill chunk {}.\n",
        markdown(&asked.weights()),
        asked.kv(),
        asked.runtime(),
        asked.number(|asked| asked.system_tokens),
        asked.number(|asked| asked.cache_tokens),
        asked.number(|asked| asked.prefill_chunk)
    );
    if let Some(origin) = &asked.model.origin {
        let _ = writeln!(text, "Read {}.\n", markdown(&origin.text()));
    }
    let notes = [asked.said_by_configuration(), document.maker_note()];
    for note in notes.into_iter().flatten() {
        let _ = writeln!(text, "{}.\n", markdown(&sentence(&note)));
    }
    text.push_str(&devices::to_markdown(document));
    components(&mut text, document);
    phases(&mut text, document);
    tiers(&mut text, document);
    for advice in &document.advice {
        let _ = writeln!(text, "- {}", advice.text);
    }
    text
}

/// A note as a sentence of its own.
fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn components(text: &mut String, document: &Document) {
    text.push_str("| component | low | expected | high | basis | formula |\n");
    text.push_str("|---|---:|---:|---:|---|---|\n");
    for row in document.held() {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.id.title(),
            row.low,
            row.expected,
            row.high,
            row.basis,
            row.formula_and_size().replace('|', "\\|")
        );
    }
    let peak = &document.peak;
    let _ = writeln!(
        text,
        "| **peak ({})** | {} | **{}** | {} | {} | usable {} |\n",
        peak.phase.title(),
        peak.total.low,
        peak.total.expected,
        peak.total.high,
        document.verdict.words(),
        document.capacity.usable
    );
}

fn phases(text: &mut String, document: &Document) {
    text.push_str("| phase | persistent | transient | held | low | expected | high |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    for row in &document.phases {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.id.title(),
            row.persistent,
            row.transient,
            row.held,
            row.total.low,
            row.total.expected,
            row.total.high
        );
    }
    text.push('\n');
}

fn tiers(text: &mut String, document: &Document) {
    text.push_str(
        "| tier | `max_cache_tokens` | `recent_window` | peak (high) | free then | tok/s |\n",
    );
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    for tier in &document.recommendation.tiers {
        let _ = if tier.fits() {
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                tier.name.id(),
                tier.max_cache_tokens,
                tier.recent_window,
                tier.peak.high,
                tier.headroom,
                tier.decode_tokens_per_second.text()
            )
        } else {
            writeln!(text, "| {} | nothing fits | – | – | – | – |", tier.name.id())
        };
    }
    let recommendation = &document.recommendation;
    let _ = writeln!(
        text,
        "\nHard maximum {} tokens; limited by {}. Recent window: {}.\n",
        recommendation.hard_max_cache_tokens,
        recommendation.limited_by.id(),
        document.deployment.recent_window_basis
    );
}
