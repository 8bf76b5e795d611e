//! A picture: what each component takes at the peak, stacked against the card.

use svg::node::element::{Group, Line, Rectangle, Text, Title};

use super::document::{ComponentDoc, Document};
use super::verdict::verdict_words;
use crate::estimate::Component;
use crate::plan::Verdict;
use crate::text::printable_message;
use crate::units::Bytes;

const WIDTH: u32 = 860;
const MARGIN: f64 = 24.0;
const BAR_WIDTH: f64 = 812.0;
const BAR_TOP: f64 = 84.0;
const BAR_HEIGHT: f64 = 46.0;
const LEGEND_TOP: f64 = 204.0;
const LEGEND_ROW: f64 = 24.0;
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";

/// Colours that stay apart for colour-blind readers (Okabe and Ito), darkest for the largest parts; in the order of
/// [`Component::ALL`].
const COLOURS: [&str; Component::ALL.len()] = [
    "#0072b2", "#009e73", "#56b4e9", "#cc79a7", "#d55e00", "#e69f00", "#f0e442", "#999999",
    "#555555", "#bbbbbb",
];

/// The colour of a component: the same in every picture, whatever else a plan holds.
///
/// ```
/// use vramplan_planner::estimate::Component;
/// use vramplan_planner::render::colour;
///
/// assert_eq!(colour(Component::Weights), "#0072b2");
/// ```
pub fn colour(component: Component) -> &'static str {
    let mut colours = Component::ALL.into_iter().zip(COLOURS);
    colours.find(|(id, _)| *id == component).map_or("#000000", |(_, colour)| colour)
}

/// The document as a self-contained SVG.
pub fn to_svg(document: &Document) -> String {
    let rows = document.held().count() + 1;
    let height = LEGEND_TOP + LEGEND_ROW * to_f64(rows) + 24.0;
    let picture = svg::Document::new()
        .set("width", WIDTH)
        .set("height", height)
        .set("viewBox", format!("0 0 {WIDTH} {height}"))
        .set("font-family", FONT)
        .set("font-size", 14)
        .add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#ffffff"))
        .add(heading(document))
        .add(bar(document))
        .add(marks(document))
        .add(legend(document));
    format!("{picture}\n")
}

fn heading(document: &Document) -> Group {
    let asked = &document.deployment;
    let gpu = match document.devices.iter().find(|device| device.binding) {
        Some(device) => format!("GPU {} of {}", device.index, super::devices::label_of(document)),
        None => asked.gpu.clone(),
    };
    let title = format!(
        "{}: {} ({} weights, {} KV) on {}: {} at the peak",
        verdict_words(document),
        asked.model.name,
        asked.weights(),
        asked.kv(),
        gpu,
        document.peak.total.expected
    );
    let subtitle = format!(
        "{} runtime · {} pinned + {} cached tokens · peak in {} · low {}, high {}",
        asked.runtime(),
        asked.number(|asked| asked.system_tokens),
        asked.number(|asked| asked.cache_tokens),
        document.peak.phase.title(),
        document.peak.total.low,
        document.peak.total.high,
    );
    Group::new()
        .add(text(MARGIN, 34.0, &title).set("font-size", 18).set("font-weight", 600))
        .add(text(MARGIN, 58.0, &subtitle).set("fill", "#555555"))
}

/// Pixels from the bar's left edge for a size; the whole bar is the card's total, or the high bound
/// where that is more.
fn scale(document: &Document, size: Bytes) -> f64 {
    let whole = document.capacity.total.max(document.peak.total.high);
    (BAR_WIDTH * size.as_f64() / whole.as_f64() * 100.0).round() / 100.0
}

fn bar(document: &Document) -> Group {
    let whole = scale(document, document.capacity.total);
    let mut group = Group::new().add(rectangle(MARGIN, whole, "#f2f2f2"));
    let reserved = scale(document, document.capacity.reserved);
    group = group.add(rectangle(MARGIN + whole - reserved, reserved, "#d0d0d0"));
    let mut left = MARGIN;
    for component in document.held() {
        let width = scale(document, component.expected);
        let label = format!("{}: {}", component.id.title(), component.expected);
        group = group.add(rectangle(left, width, colour(component.id)).add(Title::new(label)));
        left += width;
    }
    group
}

fn rectangle(x: f64, width: f64, colour: &str) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", BAR_TOP)
        .set("width", width)
        .set("height", BAR_HEIGHT)
        .set("fill", colour)
}

/// Where the card ends for a process, and how far the high bound reaches.
fn marks(document: &Document) -> Group {
    let usable = MARGIN + scale(document, document.capacity.usable);
    let high = MARGIN + scale(document, document.peak.total.high);
    let bottom = BAR_TOP + BAR_HEIGHT;
    let line = |x: f64, colour: &str, dash: &str| {
        Line::new()
            .set("x1", x)
            .set("x2", x)
            .set("y1", BAR_TOP - 6.0)
            .set("y2", bottom + 8.0)
            .set("stroke", colour)
            .set("stroke-width", 2)
            .set("stroke-dasharray", dash)
    };
    let anchor = |x: f64| if x > MARGIN + BAR_WIDTH * 0.7 { "end" } else { "start" };
    let usable_label = format!("usable {}", document.capacity.usable);
    let high_label = format!("high bound {}", document.peak.total.high);
    Group::new()
        .add(line(usable, "#000000", "none"))
        .add(line(high, "#b00020", "4 3"))
        .add(text(usable, bottom + 24.0, &usable_label).set("text-anchor", anchor(usable)))
        .add(
            text(high, bottom + 42.0, &high_label)
                .set("text-anchor", anchor(high))
                .set("fill", "#b00020"),
        )
}

fn legend(document: &Document) -> Group {
    let mut group = Group::new();
    for (index, component) in document.held().enumerate() {
        group = group.add(legend_row(index, component));
    }
    let left = document.capacity.usable.minus_or_zero(document.peak.total.expected);
    let y = LEGEND_TOP + LEGEND_ROW * to_f64(document.held().count());
    let label = match document.verdict {
        Verdict::DoesNotFit => format!("{}: {} short", verdict_words(document), document.short_by),
        _ => format!("{left} of {} usable left", document.capacity.usable),
    };
    group.add(text(MARGIN + 24.0, y, &label).set("font-weight", 600))
}

fn legend_row(index: usize, component: &ComponentDoc) -> Group {
    let y = LEGEND_TOP + LEGEND_ROW * to_f64(index);
    let square = Rectangle::new()
        .set("x", MARGIN)
        .set("y", y - 12.0)
        .set("width", 14)
        .set("height", 14)
        .set("fill", colour(component.id));
    let (size, range) = if component.expected.is_zero() {
        ("–".to_owned(), format!("{} in {}", component.most, component.most_in.title()))
    } else if component.low == component.high {
        (component.expected.to_string(), String::new())
    } else {
        (component.expected.to_string(), format!("{} – {}", component.low, component.high))
    };
    Group::new()
        .add(square)
        .add(text(MARGIN + 24.0, y, component.id.title()))
        .add(text(MARGIN + 300.0, y, size.as_str()).set("text-anchor", "end"))
        .add(text(MARGIN + 340.0, y, range.as_str()).set("fill", "#555555"))
        .add(text(MARGIN + 600.0, y, component.basis.name()).set("fill", "#555555"))
}

fn text(x: f64, y: f64, content: &str) -> Text {
    Text::new(printable_message(content)).set("x", x).set("y", y)
}

fn to_f64(n: usize) -> f64 {
    u32::try_from(n).map_or(0.0, f64::from)
}
