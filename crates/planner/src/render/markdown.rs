//! Markdown tables, for a repository or an issue.

use std::fmt::Write as _;

use super::devices;
use super::document::Document;
use crate::text::markdown;

/// The document as Markdown.
pub fn to_markdown(document: &Document) -> String {
    let inputs = &document.inputs;
    let mut text =
        format!("## {} on {}\n\n", markdown(&inputs.model), markdown(&devices::label_of(document)));
    let _ = writeln!(
        text,
        "{} weights, {} KV, `{}` runtime, {} system tokens, {} cached tokens, prefill chunk {}.\n",
        markdown(&inputs.weights),
        inputs.kv,
        inputs.runtime,
        inputs.system_tokens,
        inputs.cache_tokens,
        inputs.prefill_chunk
    );
    text.push_str(&devices::to_markdown(document));
    components(&mut text, document);
    phases(&mut text, document);
    tiers(&mut text, document);
    for advice in &document.advice {
        let _ = writeln!(text, "- {}", advice.text);
    }
    text
}

fn components(text: &mut String, document: &Document) {
    text.push_str("| component | low | expected | high | basis | formula |\n");
    text.push_str("|---|---:|---:|---:|---|---|\n");
    for row in &document.components {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.id.title(),
            row.low,
            row.expected,
            row.high,
            row.basis,
            row.formula.replace('|', "\\|")
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
        document.verdict.replace('_', " "),
        document.capacity.usable
    );
}

fn phases(text: &mut String, document: &Document) {
    text.push_str("| phase | persistent | transient | low | expected | high |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    for row in &document.phases {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.id.title(),
            row.persistent,
            row.transient,
            row.total.low,
            row.total.expected,
            row.total.high
        );
    }
    text.push('\n');
}

fn tiers(text: &mut String, document: &Document) {
    text.push_str("| tier | `max_cache_tokens` | `recent_window` | peak (high) | free then |\n");
    text.push_str("|---|---:|---:|---:|---:|\n");
    for tier in &document.recommendation.tiers {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            tier.name, tier.max_cache_tokens, tier.recent_window, tier.peak.high, tier.headroom
        );
    }
    let recommendation = &document.recommendation;
    let _ = writeln!(
        text,
        "\nHard maximum {} tokens; limited by {}. Recent window: {}.\n",
        recommendation.hard_max_cache_tokens,
        recommendation.limited_by,
        document.inputs.recent_window_basis
    );
}
