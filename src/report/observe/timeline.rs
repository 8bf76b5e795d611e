//! A picture: memory over time, phases as bands, the plan's bounds as a band in each phase.
//!
//! Colours follow the reader's scheme, light or dark.

use std::fmt::Write as _;

use svg::node::element::{Group, Line, Path, Rectangle, Style, Text, Title};

use crate::calibrate::PlannedRun;
use crate::calibrate::measurement::{Measurement, Point, Span};
use crate::calibrate::recording::shown;
use vramplan_planner::spec::Bounds;
use vramplan_planner::text::printable_message;
use vramplan_planner::units::Bytes;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 836.0;
const TOP: f64 = 104.0;
const BOTTOM: f64 = 368.0;
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
/// Columns of the curve: more points than that do not show.
const COLUMNS: usize = 1600;
/// Room that a letter takes, about.
const LETTER: f64 = 7.0;

const STYLE: &str = "\
.back{fill:#ffffff}.ink{fill:#1a1a1a}.dim{fill:#595959}.axis{stroke:#bdbdbd;stroke-width:1}\
.even{fill:#f1f4f8}.odd{fill:#e2e8f0}.plan{fill:#009e73;fill-opacity:.22}\
.expected{stroke:#00724f;stroke-width:1.5;stroke-dasharray:5 3}\
.held{fill:#0072b2;fill-opacity:.16}.curve{fill:none;stroke:#0072b2;stroke-width:1.8}\
.peak{stroke:#b03a00;stroke-width:1.5}.mark{fill:#b03a00}\
@media(prefers-color-scheme:dark){.back{fill:#14171c}.ink{fill:#ececec}.dim{fill:#a8b0ba}\
.axis{stroke:#4a515c}.even{fill:#1d222a}.odd{fill:#272e38}\
.plan{fill:#2fc79a;fill-opacity:.24}.expected{stroke:#5fe0b8}\
.held{fill:#56b4e9;fill-opacity:.18}.curve{stroke:#56b4e9}.peak{stroke:#ff9a5c}.mark{fill:#ff9a5c}}";

/// From moments and sizes to places.
struct Scale {
    start: u64,
    end: u64,
    most: Bytes,
}

impl Scale {
    fn of(measured: &Measurement, plan: Option<&PlannedRun>) -> Self {
        let held = measured.peak.as_ref().map_or(Bytes::ZERO, |peak| peak.held);
        let spans = measured.spans.iter();
        let planned = spans.filter_map(|span| Some(planned(span, plan?)?.high)).max();
        let most = held.max(planned.unwrap_or_default());
        let end = measured.end.as_ref().map_or(measured.stopped, |end| end.t);
        // What follows the end is worth a glance, not half of the picture.
        let glance = measured.stopped + measured.duration() / 12;
        let end = end.min(glance).max(measured.started + 1);
        Self { start: measured.started, end, most: nice(most) }
    }

    #[allow(clippy::cast_precision_loss)]
    fn x(&self, t: u64) -> f64 {
        let share = t.clamp(self.start, self.end).saturating_sub(self.start) as f64
            / (self.end - self.start) as f64;
        round(LEFT + share * (RIGHT - LEFT))
    }

    fn y(&self, size: Bytes) -> f64 {
        round(BOTTOM - size.min(self.most).as_f64() / self.most.as_f64() * (BOTTOM - TOP))
    }
}

fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// The smallest of 1, 2, 4, 6, 8 and so on times a power of two that leaves a little room.
fn nice(size: Bytes) -> Bytes {
    let wanted = size.scale(107, 100).unwrap_or(size).max(Bytes::MIB);
    let unit = (wanted.get() / 8).next_power_of_two().max(1);
    wanted.round_up(Bytes::new(unit)).unwrap_or(wanted)
}

fn planned(span: &Span, plan: &PlannedRun) -> Option<Bounds> {
    let whole = span.by.is_none() && span.name.as_deref() == Some("run");
    let phase = span.name.as_deref().and_then(|name| plan.phase(name));
    phase.map(|phase| phase.total).or(whole.then_some(plan.peak))
}

/// The measurement as a self-contained SVG.
pub fn to_timeline(measured: &Measurement, plan: Option<&PlannedRun>) -> String {
    let scale = Scale::of(measured, plan);
    let mut picture = svg::Document::new()
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
        .set("font-family", FONT)
        .set("font-size", 13)
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("width", "100%").set("height", "100%").set("class", "back"))
        .add(heading(measured, plan))
        .add(bands(measured, &scale))
        .add(grid(&scale))
        .add(curve(measured, &scale));
    if let Some(plan) = plan {
        picture = picture.add(plans(measured, plan, &scale));
    }
    picture = picture.add(peak(measured, &scale)).add(legend(plan.is_some()));
    format!("{picture}\n")
}

fn text(x: f64, y: f64, class: &str, content: &str) -> Text {
    Text::new(printable_message(content)).set("x", round(x)).set("y", round(y)).set("class", class)
}

fn heading(measured: &Measurement, plan: Option<&PlannedRun>) -> Group {
    let device = &measured.header.device;
    let peak = measured.peak.as_ref().map_or(Bytes::ZERO, |peak| peak.held);
    let title = format!("{peak} at the peak on {}", device.name);
    let command = shown(&measured.header.command.join(" ")).chars().take(110).collect::<String>();
    let mut subtitle = device.meter.figures().to_owned();
    if let Some(plan) = plan {
        subtitle = format!(
            "planned {} ({} to {}) · {subtitle}",
            plan.peak.expected, plan.peak.low, plan.peak.high
        );
    }
    Group::new()
        .add(text(24.0, 32.0, "ink", &title).set("font-size", 18).set("font-weight", 600))
        .add(text(24.0, 53.0, "dim", &command))
        .add(text(24.0, 72.0, "dim", &subtitle))
}

/// Phases behind everything, with their names above where there is room.
fn bands(measured: &Measurement, scale: &Scale) -> Group {
    let mut group = Group::new();
    let mut free = LEFT;
    for (index, span) in measured.spans.iter().enumerate() {
        let (left, right) = (scale.x(span.start), scale.x(span.end));
        let class = if index % 2 == 0 { "even" } else { "odd" };
        let name = span.name.as_deref().unwrap_or("");
        group = group.add(
            Rectangle::new()
                .set("x", left)
                .set("y", TOP)
                .set("width", round(right - left))
                .set("height", BOTTOM - TOP)
                .set("class", class)
                .add(Title::new(printable_message(name))),
        );
        #[allow(clippy::cast_precision_loss)]
        let width = name.chars().count() as f64 * LETTER;
        // A recording's names may be longer than the picture is wide.
        if name.is_empty() || width > RIGHT - LEFT {
            continue;
        }
        let centre = f64::midpoint(left, right).clamp(LEFT + width / 2.0, RIGHT - width / 2.0);
        if centre - width / 2.0 >= free {
            let label = text(centre, TOP - 8.0, "ink", name).set("text-anchor", "middle");
            group = group.add(label);
            free = centre + width / 2.0 + LETTER;
        }
    }
    group
}

fn grid(scale: &Scale) -> Group {
    let mut group = Group::new();
    for step in 0..=4u64 {
        let size = scale.most.scale(step, 4).unwrap_or_default();
        let y = scale.y(size);
        let line = Line::new().set("x1", LEFT).set("x2", RIGHT).set("y1", y).set("y2", y);
        let label = if step == 0 { "0".to_owned() } else { size.to_string() };
        group = group
            .add(line.set("class", "axis"))
            .add(text(LEFT - 8.0, y + 4.0, "dim", &label).set("text-anchor", "end"));
    }
    for step in 0..=4u64 {
        let after = (scale.end - scale.start) * step / 4;
        let x = scale.x(scale.start + after);
        let anchor = if step == 4 { "end" } else { "middle" };
        let label = text(x, BOTTOM + 18.0, "dim", &time(after)).set("text-anchor", anchor);
        group = group.add(label);
    }
    group
}

/// Microseconds as a reader says them.
#[allow(clippy::cast_precision_loss)]
fn time(micros: u64) -> String {
    match micros {
        0 => "0 s".to_owned(),
        micros if micros < 10_000_000 => format!("{:.2} s", micros as f64 / 1e6),
        micros if micros < 600_000_000 => format!("{:.0} s", micros as f64 / 1e6),
        micros => format!("{:.0} min", micros as f64 / 6e7),
    }
}

/// The level over time as a staircase, filled.
fn curve(measured: &Measurement, scale: &Scale) -> Group {
    let mut steps = format!("M{} {}", scale.x(scale.start), scale.y(level(measured, scale.start)));
    for point in thinned(measured, scale) {
        let _ = write!(steps, "H{}V{}", scale.x(point.t), scale.y(point.held));
    }
    let _ = write!(steps, "H{}", scale.x(scale.end));
    let area = format!("{steps}V{BOTTOM}H{LEFT}Z");
    Group::new()
        .add(Path::new().set("d", area).set("class", "held"))
        .add(Path::new().set("d", steps).set("class", "curve"))
}

fn level(measured: &Measurement, t: u64) -> Bytes {
    measured.level_at(t)
}

/// The points in the picture; where many fall into a column, its first, lowest, highest and last.
fn thinned(measured: &Measurement, scale: &Scale) -> Vec<Point> {
    let inside = |point: &&Point| point.t > scale.start && point.t <= scale.end;
    let points: Vec<Point> = measured.points.iter().filter(inside).copied().collect();
    if points.len() <= COLUMNS {
        return points;
    }
    let width = ((scale.end - scale.start) / COLUMNS as u64).max(1);
    let mut kept = Vec::new();
    for column in points.chunk_by(|a, b| a.t / width == b.t / width) {
        let low = column.iter().min_by_key(|point| point.held);
        let high = column.iter().max_by_key(|point| point.held);
        let mut marks: Vec<Point> =
            [column.first(), low, high, column.last()].into_iter().flatten().copied().collect();
        marks.sort_by_key(|point| point.t);
        marks.dedup();
        kept.extend(marks);
    }
    kept
}

fn plans(measured: &Measurement, plan: &PlannedRun, scale: &Scale) -> Group {
    let mut group = Group::new();
    for span in &measured.spans {
        let Some(bounds) = planned(span, plan) else { continue };
        let (left, right) = (scale.x(span.start), scale.x(span.end));
        let (top, bottom) = (scale.y(bounds.high), scale.y(bounds.low));
        let label = format!("planned {} to {}", bounds.low, bounds.high);
        let band = Rectangle::new()
            .set("x", left)
            .set("y", top)
            .set("width", round(right - left))
            .set("height", round((bottom - top).max(1.0)))
            .set("class", "plan")
            .add(Title::new(label));
        let y = scale.y(bounds.expected);
        let line = Line::new().set("x1", left).set("x2", right).set("y1", y).set("y2", y);
        group = group.add(band).add(line.set("class", "expected"));
    }
    group
}

fn peak(measured: &Measurement, scale: &Scale) -> Group {
    let Some(peak) = &measured.peak else { return Group::new() };
    let (x, y) = (scale.x(peak.t), scale.y(peak.held));
    let mark = svg::node::element::Circle::new().set("cx", x).set("cy", y).set("r", 4);
    let label = format!("peak {}", peak.held);
    let (at, anchor) =
        if x > f64::midpoint(LEFT, RIGHT) { (x - 8.0, "end") } else { (x + 8.0, "start") };
    Group::new()
        .add(mark.set("class", "mark"))
        .add(text(at, y - 7.0, "mark", &label).set("text-anchor", anchor).set("font-weight", 600))
}

fn legend(planned: bool) -> Group {
    let y = HEIGHT - 22.0;
    let line = |x: f64, class: &str| {
        let line = Line::new().set("x1", x).set("x2", x + 22.0).set("y1", y - 4.0);
        line.set("y2", y - 4.0).set("class", class)
    };
    let mut group =
        Group::new().add(line(LEFT, "curve")).add(text(LEFT + 30.0, y, "dim", "measured"));
    if planned {
        let band = Rectangle::new().set("x", LEFT + 120.0).set("y", y - 10.0);
        group = group
            .add(band.set("width", 22).set("height", 12).set("class", "plan"))
            .add(line(LEFT + 120.0, "expected"))
            .add(text(LEFT + 150.0, y, "dim", "planned: expected, from low to high bound"));
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_a_little_above_what_it_shows() {
        for size in [1u64, 5 << 20, 100 << 20, 7 << 30, (7 << 30) + 12345] {
            let (size, top) = (Bytes::new(size), nice(Bytes::new(size)));
            assert!(top > size, "{size}");
            assert!(top <= Bytes::MIB.max(size.scale(13, 10).unwrap()), "{size} {top}");
        }
    }

    #[test]
    fn times_are_said_as_readers_do() {
        assert_eq!(
            [0, 1_500_000, 75_000_000, 5_400_000_000].map(time),
            ["0 s", "1.50 s", "75 s", "90 min"]
        );
    }
}
