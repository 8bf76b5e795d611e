//! Whether a rehearsed program may go on: it has come as far as was asked, it serves and nobody asks, it hangs.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::trace::Trace;
use crate::calibrate::Recorder;
use crate::calibrate::cpu_time;
use crate::calibrate::session::Guard;
use vramplan_planner::text::printable;
use vramplan_virtual_gpu::{Progress, Rehearsal};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Calls without work after which a program is one that asks.
const ASKS: u64 = 100;
/// A program whose processes use less than this share of a core only waits.
const BUSY: f64 = 0.05;

/// `--stop-after`: how far a program is rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAfter {
    /// Until its context is made.
    Context,
    /// Until its first token is out.
    FirstToken,
    /// For so long.
    Time(Duration),
}

impl FromStr for StopAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "context" => return Ok(Self::Context),
            "first-token" => return Ok(Self::FirstToken),
            _ => {}
        }
        let seconds = text.strip_suffix('s').and_then(|number| number.trim().parse().ok());
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.filter(|time| !time.is_zero()).map(Self::Time).ok_or_else(|| {
            format!(
                "`{}`: expected `context`, `first-token`, or a time such as `30s`",
                printable(text)
            )
        })
    }
}

impl fmt::Display for StopAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context => f.write_str("context"),
            Self::FirstToken => f.write_str("first-token"),
            Self::Time(time) => write!(f, "{}s", time.as_secs_f64()),
        }
    }
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A server that is ready may wait so long for a request; for ever where there is no limit.
    pub idle: Option<Duration>,
    /// A program that gets on with nothing for so long hangs.
    pub hang: Duration,
    /// Whether it is ended then, or only told of.
    pub ends_hangs: bool,
}

/// Why a program was asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has come as far as was asked for.
    Reached(StopAfter),
    /// It served, and nobody asked.
    Idle,
    /// It got on with nothing.
    Hung(Hang),
    /// It cannot be rehearsed after all.
    Impossible(String),
}

/// What a hang looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hang {
    /// Since when, as time since the start.
    pub since: Duration,
    /// How long it had lasted when it was noticed.
    pub lasted: Duration,
    /// Whether it went on calling: it waits in a loop for something that does not happen.
    pub calling: bool,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lasted, since) = (self.lasted.as_secs(), self.since.as_secs_f64());
        let what = if self.calling {
            "it goes on asking for something that does not happen: no kernel runs"
        } else {
            "its processes wait: for input, a request, or a kernel's result"
        };
        write!(f, "no launch and no allocation for {lasted} s after {since:.1} s; {what}")
    }
}

/// Watches one program.
pub struct Watcher<'a> {
    rehearsal: &'a Rehearsal,
    trace: &'a Trace,
    stop: Option<StopAfter>,
    patience: Patience,
    begun: Instant,
    looked: Option<Instant>,
    seen: Seen,
    /// Why it was asked to end.
    pub why: Option<Why>,
    /// The first hang, where there was one.
    pub hang: Option<Hang>,
    /// A hang that was not told yet.
    tell: fn(&Hang),
}

/// What was seen when the program last got on.
#[derive(Clone, Copy)]
struct Seen {
    progress: Progress,
    at: Instant,
    cpu: Duration,
}

impl<'a> Watcher<'a> {
    /// A watcher of a program that starts now; hangs are told as they are noticed.
    pub fn new(
        rehearsal: &'a Rehearsal,
        trace: &'a Trace,
        stop: Option<StopAfter>,
        patience: Patience,
        tell: fn(&Hang),
    ) -> Self {
        let now = Instant::now();
        let seen = Seen { progress: rehearsal.progress(), at: now, cpu: cpu_time() };
        Self {
            rehearsal,
            trace,
            stop,
            patience,
            begun: now,
            looked: None,
            seen,
            why: None,
            hang: None,
            tell,
        }
    }

    /// Whether it has come as far as was asked for.
    fn reached(&self) -> Option<Why> {
        let stop = self.stop?;
        let reached = match stop {
            StopAfter::Context => self.trace.reached().context,
            StopAfter::FirstToken => self.trace.reached().first_token,
            StopAfter::Time(time) => self.begun.elapsed() >= time,
        };
        reached.then_some(Why::Reached(stop))
    }

    fn look(&mut self) -> Option<Why> {
        if let Some(reason) = self.rehearsal.impossible() {
            return Some(Why::Impossible(reason));
        }
        let progress = self.rehearsal.progress();
        self.trace.launches(progress.launches);
        if progress.work != self.seen.progress.work {
            self.seen = Seen { progress, at: Instant::now(), cpu: cpu_time() };
            return None;
        }
        let quiet = self.seen.at.elapsed();
        let serves = self.trace.reached().serves;
        // One that goes on asking has a request at hand.
        let calling = progress.calls > self.seen.progress.calls + ASKS;
        if serves && !calling {
            let idle = self.patience.idle.is_some_and(|idle| quiet >= idle);
            return idle.then_some(Why::Idle);
        }
        self.hang(progress, quiet, calling)
    }

    /// No work for a while is a hang where the program only asks, or only waits: one that computes on the
    /// processor gets on, and one that never asked the card for anything is not this one's business.
    fn hang(&mut self, progress: Progress, quiet: Duration, calling: bool) -> Option<Why> {
        if quiet < self.patience.hang || progress.calls == 0 {
            return None;
        }
        let used = cpu_time().saturating_sub(self.seen.cpu);
        if !calling && used.as_secs_f64() > BUSY * quiet.as_secs_f64() {
            return None;
        }
        let since = self.begun.elapsed().saturating_sub(quiet);
        let hang = Hang { since, lasted: quiet, calling };
        if self.hang.is_none() {
            self.hang = Some(hang);
            (self.tell)(&hang);
        }
        self.patience.ends_hangs.then_some(Why::Hung(hang))
    }
}

impl Guard for Watcher<'_> {
    fn check(&mut self, _recorder: &Recorder) -> Option<String> {
        let mut why = self.reached();
        if why.is_none() && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.looked = Some(Instant::now());
            why = self.look();
        }
        let reason = why.as_ref().map(|why| match why {
            Why::Reached(stop) => format!("reached {stop}"),
            Why::Idle => "nobody asked".to_owned(),
            Why::Hung(hang) => hang.to_string(),
            Why::Impossible(reason) => reason.clone(),
        });
        self.why = self.why.take().or(why);
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_is_parsed_and_said() {
        for text in ["context", "first-token", "30s", "0.5s"] {
            assert_eq!(text.parse::<StopAfter>().unwrap().to_string(), text);
        }
        for wrong in ["", "load", "30", "-1s", "0s", "xs", "infs", "nans"] {
            assert!(wrong.parse::<StopAfter>().is_err(), "{wrong}");
        }
    }
}
