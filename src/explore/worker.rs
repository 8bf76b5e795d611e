//! Plans on a thread of their own. Of questions that wait only the newest is answered; one that takes long is answered
//! in short first, and left where a newer one came meanwhile.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vramplan_planner::form::{Given, Problem};

use super::state::Planned;

/// Who plans.
pub trait Planner {
    /// The plan, without sizes and advice where those cost more; nothing where there is no such short cut.
    fn outline(&self, given: &Given) -> Result<Option<Planned>, Problem>;

    /// The plan, with everything.
    fn plan(&self, given: &Given) -> Result<Planned, Problem>;
}

/// A question with its number.
pub struct Asked {
    /// The number.
    pub asked: u64,
    /// The question.
    pub given: Given,
}

/// A number with its answer.
pub struct Answered {
    /// The number.
    pub asked: u64,
    /// The answer.
    pub answer: Result<Planned, Problem>,
}

/// Plans that take longer than this are shown in short first.
const LONG: Duration = Duration::from_millis(60);

/// Starts the thread: what it answers goes to `to`, until nobody asks or listens any more. The planner is made there.
///
/// # Errors
/// Where no thread can be had.
pub fn start<P: Planner>(
    make: impl FnOnce() -> P + Send + 'static,
    to: impl Fn(Answered) -> bool + Send + 'static,
) -> std::io::Result<(Sender<Asked>, JoinHandle<()>)> {
    let (sender, asked) = channel();
    let thread = std::thread::Builder::new().name("planner".to_owned());
    let handle = thread.spawn(move || answer(&make(), &asked, &to))?;
    Ok((sender, handle))
}

fn answer(planner: &impl Planner, asked: &Receiver<Asked>, to: &impl Fn(Answered) -> bool) {
    let mut is_slow = false;
    let mut next = asked.recv().ok();
    while let Some(first) = next.take() {
        // What came since then is newer.
        let Asked { asked: number, given } = asked.try_iter().last().unwrap_or(first);
        let tell = |answer| to(Answered { asked: number, answer });
        let started = Instant::now();
        if is_slow && let Ok(Some(outline)) = planner.outline(&given) {
            if !tell(Ok(outline)) {
                return;
            }
            next = asked.try_iter().last();
            if next.is_some() {
                continue;
            }
        }
        let answer = planner.plan(&given);
        is_slow = started.elapsed() > LONG;
        if !tell(answer) {
            return;
        }
        next = asked.recv().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// Refuses everything in the words of what was asked, once it may.
    struct Slow(Receiver<()>, Sender<u64>);

    impl Planner for Slow {
        fn outline(&self, _: &Given) -> Result<Option<Planned>, Problem> {
            Ok(None)
        }

        fn plan(&self, given: &Given) -> Result<Planned, Problem> {
            let _ = self.1.send(given["n"].as_u64().unwrap());
            let _ = self.0.recv();
            Err(Problem::new(given["n"].to_string()))
        }
    }

    #[test]
    fn the_newest_question_is_answered_and_those_between_are_not() {
        let (may, waits) = sync_channel(100);
        let (begun, begins) = channel();
        let (told, tells) = channel();
        let to = move |answered: Answered| told.send(answered).is_ok();
        let (ask, thread) = start(move || Slow(waits, begun), to).unwrap();
        let question = |n: u64| {
            let mut given = Given::new();
            given.insert("n".to_owned(), n.into());
            ask.send(Asked { asked: n, given }).unwrap();
        };
        question(1);
        assert_eq!(begins.recv().unwrap(), 1);
        (2..=50).for_each(question);
        (0..2).for_each(|_| may.send(()).unwrap());
        assert_eq!(tells.recv().unwrap().asked, 1);
        let last = tells.recv().unwrap();
        assert_eq!((last.asked, last.answer.unwrap_err().message), (50, "50".to_owned()));
        drop(ask);
        thread.join().unwrap();
        assert!(tells.recv().is_err());
    }
}
