//! What each component holds at the peak: a bar for each card, and a row for each component with its bounds.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::paint::{Paint, letter};
use super::{fit, pane};
use crate::explore::state::State;
use vramplan_planner::estimate::Component;
use vramplan_planner::render::terminal::range;
use vramplan_planner::render::{CapacityDoc, CompareDoc, ComponentDoc, Document};
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::Bytes;

/// Bars that are drawn: of more cards the first.
const MOST_BARS: usize = 4;
/// Columns of a size, and of its bounds.
const SIZE: usize = 11;
const RANGE: usize = 17;

/// Lines that everything takes, the frame included.
pub fn height(state: &State) -> u16 {
    let Some(planned) = &state.planned else { return 3 };
    let document = &planned.document;
    let bars = 2 * bars_of(document).len().min(MOST_BARS);
    let rows = bars + document.held().count() + 1 + usize::from(state.pinned.is_some()) + 2;
    u16::try_from(rows).unwrap_or(u16::MAX)
}

pub fn draw(frame: &mut Frame, area: Rect, state: &State, paint: Paint) {
    let title = if state.pinned.is_some() {
        " at the peak, and by how much more than pinned "
    } else {
        " at the peak "
    };
    let block = pane(title.to_owned(), false, paint);
    let inner = block.inner(area);
    let width = usize::from(inner.width);
    let mut lines = Vec::new();
    if let Some(planned) = &state.planned {
        let document = &planned.document;
        for bar in bars_of(document).iter().take(MOST_BARS) {
            lines.push(bar.label(width));
            lines.push(bar.line(width, paint));
        }
        let pinned = state.pinned.as_ref().map(|pinned| &pinned.document);
        lines.push(peak(document, pinned, width));
        lines.extend(document.held().map(|held| component(held, pinned, width, paint)));
        lines.extend(pinned.map(|pinned| changes(pinned, document, width)));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn row(mark: Span<'static>, name: &str, size: &str, beside: &str, width: usize) -> Line<'static> {
    let has_room = width >= 2 + 14 + SIZE + RANGE;
    let beside = if has_room { format!(" {:>RANGE$}", fit(beside, RANGE)) } else { String::new() };
    let used = 2 + SIZE + beside.chars().count();
    let room = width.saturating_sub(used);
    let name = format!(" {:<room$}", fit(name, room));
    Line::from(vec![mark, Span::raw(format!("{name}{size:>SIZE$}{beside}"))])
}

fn component(
    held: &ComponentDoc,
    pinned: Option<&Document>,
    width: usize,
    paint: Paint,
) -> Line<'static> {
    let (cell, style) = paint.cell(held.id);
    let bounds = Bounds { low: held.low, expected: held.expected, high: held.high };
    let elsewhere = held.expected.is_zero();
    let size = if elsewhere { "–".to_owned() } else { held.expected.to_string() };
    let beside = match pinned {
        Some(pinned) => difference(of(pinned, held.id), held.expected),
        None if elsewhere => format!("{} in {}", held.most, held.most_in.title()),
        None => range(bounds),
    };
    row(Span::styled(cell, style), held.id.title(), &size, &beside, width)
}

fn peak(document: &Document, pinned: Option<&Document>, width: usize) -> Line<'static> {
    let total = document.peak.total;
    let beside = match pinned {
        Some(pinned) => difference(pinned.peak.total.expected, total.expected),
        None => range(total),
    };
    let name = format!("peak ({})", document.peak.phase.title());
    row(Span::raw(" "), &name, &total.expected.to_string(), &beside, width).style(Paint::strong())
}

/// What a plan's component holds.
fn of(document: &Document, id: Component) -> Bytes {
    let found = document.components.iter().find(|component| component.id == id);
    found.map_or(Bytes::ZERO, |component| component.expected)
}

/// `+1.20 GiB`; nothing where both are the same.
fn difference(before: Bytes, now: Bytes) -> String {
    match (now.minus(before), before.minus(now)) {
        (Some(more), _) if !more.is_zero() => format!("+{more}"),
        (_, Some(less)) if !less.is_zero() => format!("−{less}"),
        _ => "the same".to_owned(),
    }
}

/// Which inputs are others than those of what is pinned.
fn changes(pinned: &Document, now: &Document, width: usize) -> Line<'static> {
    let compared = CompareDoc::new(("pinned", pinned), ("now", now));
    let change = |change: &vramplan_planner::render::ChangeDoc| {
        format!("{} {} → {}", change.input, change.current, change.proposed)
    };
    let changes: Vec<_> = compared.changes.iter().map(change).collect();
    let text = if changes.is_empty() { "nothing changed".to_owned() } else { changes.join(", ") };
    Line::raw(fit(&text, width))
}

/// A card, or main memory.
struct Bar {
    name: String,
    capacity: Option<CapacityDoc>,
    peak: Bounds,
    parts: Vec<(Component, Bytes)>,
}

fn bars_of(document: &Document) -> Vec<Bar> {
    if document.devices.is_empty() {
        let held = document.components.iter();
        return vec![Bar {
            name: document.deployment.gpu.clone(),
            capacity: Some(document.capacity.clone()),
            peak: document.peak.total,
            parts: held.map(|component| (component.id, component.expected)).collect(),
        }];
    }
    let bar = |device: &vramplan_planner::render::DeviceDoc| {
        let binds = if device.binding { ", the tightest" } else { "" };
        let held = device.components.iter();
        Bar {
            name: if device.host {
                format!("main memory{binds}")
            } else {
                format!("GPU {} · {}{binds}", device.index, device.gpu)
            },
            capacity: device.capacity.clone(),
            peak: device.peak.total,
            parts: held.map(|held| (held.id, held.at_peak.expected)).collect(),
        }
    };
    document.devices.iter().map(bar).collect()
}

impl Bar {
    fn label(&self, width: usize) -> Line<'static> {
        let of = match &self.capacity {
            Some(capacity) => format!(" of {} usable", capacity.usable),
            None => String::new(),
        };
        let figures = format!("{}{of}", self.peak.expected);
        let room = width.saturating_sub(figures.chars().count() + 1);
        Line::raw(format!("{:<room$} {figures}", fit(&self.name, room)))
    }

    /// The components one behind the other, then what the high bound is more, as far as the wider of the card and the
    /// peak goes; `|` is where what can be used ends.
    fn line(&self, width: usize, paint: Paint) -> Line<'static> {
        let usable = self.capacity.as_ref().map(|capacity| capacity.usable);
        let whole = usable.unwrap_or(self.peak.high).max(self.peak.high);
        let columns = width.saturating_sub(1);
        let at = |bytes: Bytes| column(bytes, whole, columns);
        let mut cells: Vec<(&str, Style)> = Vec::with_capacity(width);
        let mut sum = Bytes::ZERO;
        for (id, held) in &self.parts {
            sum = sum.plus(*held).unwrap_or(whole);
            let (cell, style) = paint.cell(*id);
            cells.resize(at(sum).max(cells.len()), (cell, style));
        }
        cells.resize(at(self.peak.high).max(cells.len()), ("░", paint.quiet()));
        cells.resize(columns.max(cells.len()), ("·", paint.quiet()));
        let end = usable.map_or(columns, at).min(cells.len());
        cells.insert(end, ("|", Paint::strong()));
        Line::from(
            cells.into_iter().map(|(cell, style)| Span::styled(cell, style)).collect::<Vec<_>>(),
        )
    }
}

/// Where a size ends in so many columns.
fn column(bytes: Bytes, whole: Bytes, columns: usize) -> usize {
    if whole.is_zero() {
        return 0;
    }
    let columns = u128::try_from(columns).unwrap_or_default();
    let half = u128::from(whole.get()) / 2;
    let column = (u128::from(bytes.get()) * columns + half) / u128::from(whole.get());
    usize::try_from(column.min(columns)).unwrap_or_default()
}

/// The letters of components, where there are no colours to tell them by.
pub fn letters() -> impl Iterator<Item = (&'static str, &'static str)> {
    Component::ALL.into_iter().map(|id| (letter(id), id.title()))
}
