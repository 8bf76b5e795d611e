//! The page: what of the state goes where on the screen. Draws into a frame and changes nothing.

mod inputs;
mod over;
mod paint;
mod plan;
mod sizes;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Wrap};

pub use paint::Paint;

use super::state::{Focus, State};
use vramplan_planner::text::printable;

/// What is needed for one pane below the answer.
const LEAST: (u16, u16) = (40, 12);
/// From so many columns on there are two beside each other.
const WIDE: u16 = 72;
/// Columns of the inputs beside the plan.
const INPUTS: u16 = 29;
/// Lines of the answer.
const ANSWER: u16 = 3;

/// Draws everything.
pub fn draw(frame: &mut Frame, state: &State, paint: Paint) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return draw_too_small(frame, area);
    }
    let rows = [Constraint::Length(ANSWER), Constraint::Min(0), Constraint::Length(1)];
    let [answer, body, keys] = Layout::vertical(rows).areas(area);
    draw_answer(frame, answer, state, paint);
    if area.width < WIDE {
        draw_narrow(frame, body, state, paint);
    } else {
        draw_wide(frame, body, state, paint);
    }
    draw_keys(frame, keys, state, paint);
    over::draw(frame, area, state, paint);
}

fn draw_too_small(frame: &mut Frame, area: Rect) {
    let (columns, rows) = LEAST;
    let text = format!(
        "{} × {} is too small: expected {columns} × {rows} at least. q ends.",
        area.width, area.height
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn draw_wide(frame: &mut Frame, body: Rect, state: &State, paint: Paint) {
    let columns = [Constraint::Length(INPUTS), Constraint::Min(0)];
    let [left, right] = Layout::horizontal(columns).areas(body);
    inputs::draw(frame, left, state, paint);
    let components = plan::height(state).min(right.height.saturating_sub(8));
    let rows =
        [Constraint::Length(components), Constraint::Length(sizes::TIERS), Constraint::Min(3)];
    let [held, tiers, advice] = Layout::vertical(rows).areas(right);
    plan::draw(frame, held, state, paint);
    sizes::draw_tiers(frame, tiers, state, paint);
    sizes::draw_advice(frame, advice, state, paint);
}

/// One pane at a time: the inputs over what is held, or the sizes over the advice.
fn draw_narrow(frame: &mut Frame, body: Rect, state: &State, paint: Paint) {
    let halves = [Constraint::Percentage(50), Constraint::Min(0)];
    let [above, below] = Layout::vertical(halves).areas(body);
    match state.focus {
        Focus::Inputs => {
            inputs::draw(frame, above, state, paint);
            plan::draw(frame, below, state, paint);
        }
        Focus::Advice => {
            let rows = [Constraint::Length(sizes::TIERS), Constraint::Min(0)];
            let [tiers, advice] = Layout::vertical(rows).areas(body);
            sizes::draw_tiers(frame, tiers, state, paint);
            sizes::draw_advice(frame, advice, state, paint);
        }
    }
}

/// The command's own first lines; where there is no plan, why.
fn draw_answer(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    let lines: Vec<Line> = match (&state.problem, &state.planned) {
        (Some(problem), _) => {
            let error = format!("error: {}", problem.message);
            let hints = problem.hints.iter().map(|hint| Line::raw(format!("hint: {hint}")));
            std::iter::once(Line::styled(error, paint.failure())).chain(hints).collect()
        }
        (None, Some(planned)) => {
            let mut lines = unwrapped(&planned.heading).into_iter();
            let first = lines.next().unwrap_or_default();
            let style = paint.verdict(planned.document.verdict);
            let first = match first.split_once(": ") {
                Some((word, rest)) => Line::from(vec![
                    Span::styled(word.to_owned(), style),
                    Span::raw(format!(": {rest}")),
                ]),
                None => Line::styled(first, style),
            };
            std::iter::once(first).chain(lines.map(Line::raw)).collect()
        }
        (None, None) => vec![Line::raw("planning…")],
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}

/// The planner's lines, those that were wrapped joined again.
fn unwrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.trim_end().lines() {
        match lines.last_mut() {
            Some(last) if line.starts_with("  ") => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn draw_keys(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    let keys = match state.focus {
        Focus::Inputs => "↑↓ field  ←→ change  [ ] finer  ⏎ choose  ⇥ advice",
        Focus::Advice => "↑↓ advice  ⏎ take it  ⇥ inputs",
    };
    let state_of_plan = if state.is_waiting { "planning…  " } else { "" };
    let text = format!("{state_of_plan}{keys}  c pin  y copy  ? help  q end");
    frame.render_widget(Line::styled(text, paint.quiet()), area);
}

/// A frame around a pane, brighter where the arrows move in it.
fn pane(title: String, is_focused: bool, paint: Paint) -> Block<'static> {
    let border = if is_focused { BorderType::Thick } else { BorderType::Plain };
    let style = if is_focused { Paint::strong() } else { paint.quiet() };
    Block::bordered().border_type(border).border_style(style).title(title)
}

/// A text in so many columns, cut with an ellipsis where it is longer; safe to show.
fn fit(text: &str, width: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// Which of so many rows are shown in a height, so that the marked one is.
fn window(count: usize, height: usize, marked: usize) -> std::ops::Range<usize> {
    let height = height.min(count);
    let from = marked.saturating_sub(height.saturating_sub(1)).min(count - height);
    from..from + height
}
