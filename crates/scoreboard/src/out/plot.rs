//! Distributions of errors, a picture for each runtime: a dot for rows with the same error, larger for
//! more, on an axis that is linear up to 0.01% and logarithmic beyond.

use std::collections::BTreeMap;

use svg::node::element::{Circle, Group, Line, Rectangle, Text, Title};
use vramplan_planner::spec::Runtime;

use crate::table::percent;
use vramplan_scoreboard::{Board, Hit};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 64.0;
const ROW: f64 = 44.0;
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";

/// Where the axis turns from linear to logarithmic, and where it ends.
const LINEAR: f64 = 0.0001;
const END: f64 = 3.0;
const TICKS: [f64; 5] = [0.0, 0.001, 0.01, 0.1, 1.0];

/// File names and pictures.
pub fn pictures(board: &Board) -> Vec<(String, String)> {
    let runtimes = [Runtime::LlamaCpp, Runtime::Vllm, Runtime::Transformers];
    let named = runtimes.map(|runtime| (file(runtime), picture(board, runtime)));
    named.into()
}

/// The file name of a runtime's picture.
pub fn file(runtime: Runtime) -> String {
    format!("{}.svg", runtime.name().replace('.', "-"))
}

fn picture(board: &Board, runtime: Runtime) -> String {
    let groups: Vec<_> = board.groups().filter(|group| group.0 == runtime).collect();
    let mut bottom = TOP;
    let mut body = Group::new();
    for (_, origin, part, hits) in &groups {
        let label = format!("{part}, {origin}");
        body = body.add(text(12.0, bottom + 20.0, &label)).add(
            text(12.0, bottom + 36.0, &format!("{} rows", hits.len()))
                .set("fill", "#555555")
                .set("font-size", 11),
        );
        body = body.add(strip(hits, bottom + ROW / 2.0));
        bottom += ROW;
    }
    let picture = svg::Document::new()
        .set("width", WIDTH)
        .set("height", bottom + 40.0)
        .set("viewBox", format!("0 0 {WIDTH} {}", bottom + 40.0))
        .set("font-family", FONT)
        .set("font-size", 13)
        .add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#ffffff"))
        .add(
            text(12.0, 28.0, &format!("{runtime}: predicted / measured − 1"))
                .set("font-size", 16)
                .set("font-weight", 600),
        )
        .add(axis(bottom))
        .add(body);
    format!("{picture}\n")
}

/// Pixels from the left for an error.
fn x(error: f64) -> f64 {
    let scaled = |error: f64| (1.0 + error / LINEAR).log10();
    let half = (WIDTH - LEFT - RIGHT) / 2.0;
    let share = scaled(error.abs().min(END)) / scaled(END);
    ((LEFT + half + half * share.copysign(error)) * 10.0).round() / 10.0
}

fn axis(bottom: f64) -> Group {
    let ticks = TICKS.iter().flat_map(|tick| [-tick, *tick]).skip(1);
    ticks.fold(Group::new(), |group, tick| {
        let colour = if tick == 0.0 { "#000000" } else { "#dddddd" };
        let line = Line::new()
            .set("x1", x(tick))
            .set("x2", x(tick))
            .set("y1", TOP - 12.0)
            .set("y2", bottom)
            .set("stroke", colour);
        let label = if tick == 0.0 { "0".to_owned() } else { format!("{:+}%", 100.0 * tick) };
        let label = text(x(tick), bottom + 18.0, &label).set("text-anchor", "middle");
        group.add(line).add(label.set("fill", "#555555").set("font-size", 11))
    })
}

/// The dots of a group, those of the half that is held aside in another colour.
fn strip(hits: &[&Hit], y: f64) -> Group {
    let mut dots: BTreeMap<(bool, i64), (f64, u32)> = BTreeMap::new();
    for hit in hits {
        let place = x(hit.error());
        #[allow(clippy::cast_possible_truncation, reason = "a pixel")]
        let pixel = place.round() as i64;
        dots.entry((hit.is_set_from(), pixel)).or_insert((hit.error(), 0)).1 += 1;
    }
    dots.into_iter().fold(Group::new(), |group, ((set_from, _), (error, rows))| {
        let (colour, above) = if set_from { ("#0072b2", -6.0) } else { ("#d55e00", 6.0) };
        let radius = (2.0 + f64::from(rows).sqrt() / 3.0).min(10.0);
        let half = if set_from { "bounds set from" } else { "held aside" };
        let title = format!("{} in {rows} rows, {half}", percent(error));
        group.add(
            Circle::new()
                .set("cx", x(error))
                .set("cy", y + above)
                .set("r", (radius * 10.0).round() / 10.0)
                .set("fill", colour)
                .set("fill-opacity", 0.6)
                .add(Title::new(title)),
        )
    })
}

fn text(x: f64, y: f64, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y)
}
