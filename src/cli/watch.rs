//! `observe --watch`: two lines at the foot of the terminal that say what a running program holds beside its plan. What the
//! program prints scrolls above them, in a region of its own.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::problem::Problem;
use crate::calibrate::session::Guard;
use crate::calibrate::{PlannedRun, Recorder};
use vramplan_planner::render::terminal::range;
use vramplan_planner::spec::Bounds;
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// How often the lines are drawn.
const OFTEN: Duration = Duration::from_millis(150);
/// Lines at the foot, and the smallest terminal that has room for them.
const LINES: u16 = 2;
const LEAST: (u16, u16) = (30, 6);

/// Draws while a program runs; asked whether it may go on, it always says so.
pub struct Watch<'a> {
    plan: Option<&'a PlannedRun>,
    begun: Instant,
    drawn: Option<Instant>,
    /// What others held before.
    baseline: Option<Bytes>,
    most: Bytes,
    /// The size of the terminal that the region was made for.
    region: Option<Size>,
}

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    columns: u16,
    rows: u16,
}

/// What there is to show.
struct Shown<'a> {
    phase: &'a str,
    now: Bytes,
    most: Bytes,
    /// What was planned for this phase, and for the largest.
    planned: Option<[Bounds; 2]>,
    elapsed: Duration,
}

impl<'a> Watch<'a> {
    /// On the terminal that standard error is.
    ///
    /// # Errors
    /// Where it is none.
    pub fn new(plan: Option<&'a PlannedRun>) -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            let message = "`--watch` draws on a terminal, which standard error is not";
            return Err(Problem::usage(message).hint("drop it: the report is the same").into());
        }
        let now = Instant::now();
        Ok(Self { plan, begun: now, drawn: None, baseline: None, most: Bytes::ZERO, region: None })
    }

    fn draw(&mut self, recorder: &Recorder, used: Bytes) {
        let baseline = *self.baseline.get_or_insert(used);
        let now = used.minus_or_zero(baseline);
        self.most = self.most.max(now);
        let Some(size) = size() else { return };
        let phase = recorder.current_phase();
        let planned = self.plan.map(|plan| {
            let of_phase = plan.phase(&phase).map_or(plan.peak, |phase| phase.total);
            [of_phase, plan.peak]
        });
        let shown =
            Shown { phase: &phase, now, most: self.most, planned, elapsed: self.begun.elapsed() };
        let mut text = String::new();
        if self.region != Some(size) {
            text.push_str(&reserve(size));
            self.region = Some(size);
        }
        text.push_str(&at_the_foot(size, &shown.lines(usize::from(size.columns))));
        say(&text);
    }
}

impl Guard for Watch<'_> {
    fn check(&mut self, recorder: &Recorder) -> Option<String> {
        let (_, last) = recorder.latest();
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= OFTEN);
        if let (Some(used), true) = (last, is_due) {
            self.drawn = Some(Instant::now());
            self.draw(recorder, used);
        }
        None
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(size) = self.region.take() {
            say(&release(size));
        }
    }
}

/// One write, so that what the program prints meanwhile does not come between.
fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    // Who watches may have closed the terminal; the run goes on.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The terminal's size, where there is room.
fn size() -> Option<Size> {
    let found = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    let size = Size { columns: found.ws_col, rows: found.ws_row };
    (size.columns >= LEAST.0 && size.rows >= LEAST.1).then_some(size)
}

/// Scrolls so that the last lines are free, and lets only those above them scroll from now on (DECSTBM).
fn reserve(size: Size) -> String {
    let free = "\n".repeat(usize::from(LINES));
    let last = size.rows - LINES;
    // Saved and restored, for the region's beginning takes the cursor to the corner.
    format!("{free}\x1b[{LINES}A\x1b7\x1b[1;{last}r\x1b8")
}

fn at_the_foot(size: Size, lines: &[String; 2]) -> String {
    let first = size.rows - LINES + 1;
    let [above, below] = lines;
    format!("\x1b7\x1b[{first};1H\x1b[2K{above}\x1b[{};1H\x1b[2K{below}\x1b8", size.rows)
}

/// The whole terminal scrolls again, and the lines are gone.
fn release(size: Size) -> String {
    let first = size.rows - LINES + 1;
    format!("\x1b7\x1b[r\x1b[{first};1H\x1b[J\x1b8")
}

impl Shown<'_> {
    fn lines(&self, width: usize) -> [String; 2] {
        // The last column is left free: some terminals wrap behind it.
        let width = width.saturating_sub(1);
        [fit(&self.figures(), width), self.bar(width)]
    }

    fn figures(&self) -> String {
        let seconds = self.elapsed.as_secs();
        let mut text = format!(
            "{}  {} now · {} most · {seconds} s",
            printable(self.phase),
            self.now,
            self.most
        );
        if let Some([planned, _]) = self.planned {
            let bounds = range(planned);
            let bounds = if bounds.is_empty() { bounds } else { format!(" ({bounds})") };
            let _ = write!(text, " · planned {}{bounds}", planned.expected);
        }
        text
    }

    /// What is held now, then what was held; `[` and `]` are the bounds of the plan.
    fn bar(&self, width: usize) -> String {
        let planned = self.planned.map(|[planned, _]| planned);
        let peak = self.planned.map_or(Bytes::ZERO, |[_, peak]| peak.high);
        let whole = peak.max(self.most).max(Bytes::new(1));
        let at = |bytes: Bytes| column(bytes, whole, width);
        let mut cells = vec!['·'; width];
        cells[..at(self.most)].fill('░');
        cells[..at(self.now)].fill('█');
        if let Some(planned) = planned {
            let mark = |cells: &mut Vec<char>, bytes, sign| {
                let place = at(bytes).min(width.saturating_sub(1));
                if let Some(cell) = cells.get_mut(place) {
                    *cell = sign;
                }
            };
            mark(&mut cells, planned.low, '[');
            mark(&mut cells, planned.high, ']');
        }
        cells.into_iter().collect()
    }
}

fn column(bytes: Bytes, whole: Bytes, width: usize) -> usize {
    let width = u128::try_from(width).unwrap_or_default();
    let column = u128::from(bytes.get()) * width / u128::from(whole.get()).max(1);
    usize::try_from(column.min(width)).unwrap_or_default()
}

fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mib(count: u64) -> Bytes {
        Bytes::mib(count).unwrap()
    }

    #[test]
    fn the_lines_say_what_is_held_beside_the_plan() {
        let planned = Bounds { low: mib(600), expected: mib(700), high: mib(800) };
        let shown = Shown {
            phase: "prefill\x1b",
            now: mib(400),
            most: mib(500),
            planned: Some([planned, planned]),
            elapsed: Duration::from_millis(2500),
        };
        let [figures, bar] = shown.lines(41);
        assert_eq!(figures.chars().count(), 40);
        assert_eq!(bar, "████████████████████░░░░░·····[········]");
        let [figures, _] = shown.lines(121);
        let expected =
            "400.00 MiB now · 500.00 MiB most · 2 s · planned 700.00 MiB (600.00 – 800.00 MiB)";
        assert!(figures.ends_with(expected) && !figures.contains('\x1b'), "{figures}");
    }

    #[test]
    fn without_a_plan_the_bar_ends_with_the_most() {
        let shown = Shown {
            phase: "start",
            now: Bytes::ZERO,
            most: Bytes::ZERO,
            planned: None,
            elapsed: Duration::ZERO,
        };
        assert_eq!(shown.lines(5)[1], "····");
        let shown = Shown { now: mib(1), most: mib(2), ..shown };
        assert_eq!(shown.lines(5)[1], "██░░");
    }
}
