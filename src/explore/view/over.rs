//! What lies over the page: keys, the command, a list to choose from.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Clear, Paragraph, Wrap};

use super::paint::Paint;
use super::{fit, plan, window};
use crate::explore::fields::{FIELDS, Kind};
use crate::explore::state::{Over, Picker, State};
use vramplan_planner::text::printable;

const KEYS: [(&str, &str); 13] = [
    ("↑ ↓", "another field or piece of advice (k j)"),
    ("← →", "less and more, the one before and behind (h l)"),
    ("shift ← →", "the same by a little ([ ])"),
    ("enter", "choose from a list or type; take the advice"),
    ("0 – 9", "type a number: 8192, 8k"),
    ("backspace", "back to the default"),
    ("tab", "from the inputs to the advice and back"),
    ("/", "find a model: type parts of its name, or a repository"),
    ("c", "pin this plan to compare with; again: no longer"),
    ("y", "show the command, and copy it"),
    ("u", "undo"),
    ("?", "this"),
    ("q", "end, and print the command"),
];

pub fn draw(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    match &state.over {
        Over::Nothing => {}
        Over::Help => draw_help(frame, area, paint),
        Over::Command { line } => draw_command(frame, area, line),
        Over::Picker(picker) => draw_picker(frame, area, state, picker, paint),
    }
}

/// A frame of this size in the middle, as far as there is room.
fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}

fn framed(title: &str) -> Block<'_> {
    Block::bordered().border_type(BorderType::Thick).title(title)
}

fn draw_help(frame: &mut Frame, area: Rect, paint: Paint) {
    let mut lines: Vec<Line> =
        KEYS.iter().map(|(key, does)| Line::raw(format!("{key:<10} {does}"))).collect();
    lines.push(Line::raw(""));
    lines.push(Line::raw("Bold inputs were said, the others follow from them."));
    if paint == Paint::Plain {
        let letters: Vec<_> =
            plan::letters().map(|(letter, title)| format!("{letter} {title}")).collect();
        lines.push(Line::raw(letters.join(", ")));
    }
    let place = middle(area, 72, 20);
    frame.render_widget(Clear, place);
    let text = Paragraph::new(lines).wrap(Wrap { trim: true });
    frame.render_widget(text.block(framed(" keys ")), place);
}

fn draw_command(frame: &mut Frame, area: Rect, line: &str) {
    let width = area.width.saturating_sub(4);
    let inner = usize::from(width.saturating_sub(2)).max(1);
    let rows = line.chars().count().div_ceil(inner) + 4;
    let place = middle(area, width, u16::try_from(rows).unwrap_or(u16::MAX));
    frame.render_widget(Clear, place);
    let lines = vec![
        Line::raw(printable(line)),
        Line::raw(""),
        Line::raw("copied, where the terminal takes it (OSC 52)"),
    ];
    let text = Paragraph::new(lines).wrap(Wrap { trim: true });
    frame.render_widget(text.block(framed(" command ")), place);
}

fn draw_picker(frame: &mut Frame, area: Rect, state: &State, picker: &Picker, paint: Paint) {
    let Some(field) = FIELDS.get(picker.field) else { return };
    let matches = state.matches(picker);
    let is_list = matches!(field.kind, Kind::List { .. });
    let height = if is_list { area.height.saturating_sub(4) } else { 4 };
    let place = middle(area, 60, height);
    let title = format!(" {} ", field.label);
    let block = framed(&title);
    let inner = block.inner(place);
    frame.render_widget(Clear, place);
    frame.render_widget(block, place);
    let width = usize::from(inner.width);
    // The end of what is typed is what is looked at.
    let typed = printable(&picker.typed);
    let skipped = typed.chars().count().saturating_sub(width.saturating_sub(3));
    let typed: String = typed.chars().skip(skipped).collect();
    let cursor = u16::try_from(typed.chars().count() + 2).unwrap_or_default();
    let mut lines = vec![Line::raw(format!("> {typed}"))];
    let rows = window(matches.len(), usize::from(inner.height.saturating_sub(1)), picker.row);
    for (place, name) in matches.iter().enumerate().skip(rows.start).take(rows.len()) {
        let line = Line::raw(fit(name, width));
        lines.push(if place == picker.row { line.style(Paint::marked()) } else { line });
    }
    if matches.is_empty() {
        let none = if is_list { "nothing has that in its name" } else { "type a value" };
        lines.push(Line::styled(none, paint.quiet()));
    }
    frame.render_widget(Paragraph::new(lines), inner);
    let x = inner.x.saturating_add(cursor).min(inner.right().saturating_sub(1));
    frame.set_cursor_position(Position { x, y: inner.y });
}
