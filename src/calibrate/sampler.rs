//! Reads a meter again and again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::meter::{Meter, MeterError};
use super::recorder::Recorder;

/// How long a meter is left alone after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// What other threads tell the sampler.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    root: AtomicU32,
    lost: AtomicBool,
}

impl Control {
    /// Ends sampling.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Names the process whose tree is measured.
    pub fn follow(&self, root: u32) {
        self.root.store(root, Ordering::Release);
    }

    /// Whether the meter gave up.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

/// Samples until told to stop, or until the meter is lost.
pub fn sample(meter: &mut dyn Meter, recorder: &Recorder, control: &Control) {
    let mut followed = 0;
    let mut next = Instant::now();
    while !control.stop.load(Ordering::Acquire) {
        let root = control.root.load(Ordering::Acquire);
        if root != followed {
            meter.follow(root);
            followed = root;
        }
        match meter.read() {
            Ok(reading) => recorder.sample(&reading),
            Err(MeterError::Failed(message)) => {
                recorder.gap(&message);
                next = Instant::now() + AFTER_FAILURE;
            }
            Err(MeterError::Lost(message)) => {
                recorder.gap(&message);
                control.lost.store(true, Ordering::Release);
                return;
            }
        }
        next = wait(next, meter.interval());
    }
}

/// Sleeps until the next reading is due; a late one is not made up for.
fn wait(due: Instant, interval: Duration) -> Instant {
    let now = Instant::now();
    if let Some(rest) = due.checked_duration_since(now) {
        std::thread::sleep(rest);
    }
    due.max(now) + interval
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::meter::{MeterKind, Reading, Scripted};
    use crate::calibrate::recording::{End, Event, tests::header};
    use vramplan_planner::units::Bytes;

    #[test]
    fn a_failure_is_a_gap_and_a_loss_ends_sampling() {
        let reading = |used| Ok(Reading { used: Bytes::new(used), holders: None });
        let mut meter = Scripted::new([
            reading(1),
            Err(MeterError::Failed("busy".to_owned())),
            reading(3),
            Err(MeterError::Lost("gone".to_owned())),
            reading(9),
        ]);
        let Event::Header(head) = header(MeterKind::Mock) else { panic!("no header") };
        let recorder = Recorder::new(*head, None);
        let control = Control::default();
        sample(&mut meter, &recorder, &control);
        assert!(control.lost());
        let (events, _) = recorder.finish(End::default());
        let told: Vec<String> = events
            .iter()
            .filter_map(|event| match event {
                Event::Sample(sample) => Some(sample.used.get().to_string()),
                Event::Gap { error, .. } => Some(error.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(told, ["1", "busy", "3", "gone"]);
    }
}
