//! What is asked: a row for each field, what was said in bold, what follows by itself without.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::paint::Paint;
use super::{fit, pane, window};
use crate::explore::fields::{Field, Kind, shown};
use crate::explore::state::{Focus, State};

const LABEL: usize = 15;

pub fn draw(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    let is_focused = state.focus == Focus::Inputs;
    let block = pane(" inputs ".to_owned(), is_focused, paint);
    let inner = block.inner(area);
    let fields = state.fields();
    let at = fields.iter().position(|(place, _)| *place == state.field).unwrap_or_default();
    let rows = window(fields.len(), usize::from(inner.height), at);
    let width = usize::from(inner.width);
    let line = |(place, field): &(usize, &'static Field)| {
        row(state, field, width, is_focused && *place == state.field, paint)
    };
    let lines: Vec<Line> = fields.get(rows).unwrap_or_default().iter().map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn row(
    state: &State,
    field: &'static Field,
    width: usize,
    is_marked: bool,
    paint: Paint,
) -> Line<'static> {
    let room = width.saturating_sub(LABEL);
    let (text, is_said) = match state.value(field) {
        Some((value, is_said)) => (shown(value), is_said),
        None => (none(field.kind).to_owned(), false),
    };
    let value = format!("{:<room$}", fit(&text, room));
    let style = if is_said { Paint::strong() } else { paint.quiet() };
    let line = Line::from(vec![
        Span::raw(format!("{:<LABEL$}", fit(field.label, LABEL - 1))),
        Span::styled(value, style),
    ]);
    if is_marked { line.style(Paint::marked()) } else { line }
}

/// What stands where nothing was said and nothing follows.
const fn none(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "no",
        Kind::Count { .. } | Kind::Doubling { .. } => "by itself",
        Kind::List { .. } | Kind::Share | Kind::Text => "–",
    }
}
