//! How large the cache can be, and what would help.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::paint::Paint;
use super::{fit, pane};
use crate::explore::state::{Focus, Planned, State};
use vramplan_planner::render::TierDoc;
use vramplan_planner::text::{printable_message, wrap};

/// Lines of the sizes, the frame included.
pub const TIERS: u16 = 6;

pub fn draw_tiers(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    let block = pane(" cached tokens that fit ".to_owned(), false, paint);
    let width = usize::from(block.inner(area).width);
    let lines = match &state.planned {
        Some(planned) if planned.is_outline => vec![Line::raw("working them out…")],
        Some(planned) => tiers(planned, width),
        None => Vec::new(),
    };
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn tiers(planned: &Planned, width: usize) -> Vec<Line<'static>> {
    let sizes = &planned.document.recommendation;
    let mut lines: Vec<_> =
        sizes.tiers.iter().map(|tier| Line::raw(fit(&row(tier), width))).collect();
    let limit = sizes.limited_by.id();
    let most = format!("at most {}, limited by {limit}", sizes.hard_max_cache_tokens);
    lines.push(Line::raw(fit(&most, width)));
    lines
}

fn row(tier: &TierDoc) -> String {
    let name = tier.name.id();
    if tier.max_cache_tokens == 0 {
        return format!("{name:<12} {:>8}", "none");
    }
    let speed = &tier.decode_tokens_per_second;
    let speed = if speed.high > 0.0 {
        format!("{:.0} – {:.0} tok/s", speed.expected, speed.high)
    } else {
        String::new()
    };
    format!(
        "{name:<12} {:>8} {:>10} {speed:>15}",
        tier.max_cache_tokens,
        tier.peak.high.to_string()
    )
}

pub fn draw_advice(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    let is_focused = state.focus == Focus::Advice;
    let block = pane(" advice ".to_owned(), is_focused, paint);
    let inner = block.inner(area);
    let lines = match &state.planned {
        Some(planned) if planned.is_outline => vec![Line::raw("working it out…")],
        Some(planned) => {
            let marked = is_focused.then_some(state.advice);
            advice(planned, marked, inner.width, inner.height, paint)
        }
        None => Vec::new(),
    };
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// From the marked piece on where not everything has room.
fn advice(
    planned: &Planned,
    marked: Option<usize>,
    width: u16,
    height: u16,
    paint: Paint,
) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(width), usize::from(height));
    let mut lines = Vec::new();
    let mut ends = Vec::new();
    for (place, advice) in planned.document.advice.iter().enumerate() {
        let can_be_taken = planned.changes.get(place).is_some_and(Option::is_some);
        let bullet = if can_be_taken { '⏎' } else { '·' };
        let text = wrap(&format!("{bullet} {}", printable_message(&advice.text)), width.max(20));
        for line in text.lines() {
            let line = Line::raw(line.to_owned());
            let is_marked = marked == Some(place);
            lines.push(if is_marked { line.style(Paint::marked()) } else { line });
        }
        ends.push(lines.len());
    }
    if lines.is_empty() {
        lines.push(Line::styled("none", paint.quiet()));
    }
    let end = marked.and_then(|at| ends.get(at)).copied().unwrap_or_default();
    let from = end.saturating_sub(height).min(lines.len().saturating_sub(1));
    lines.split_off(from)
}
