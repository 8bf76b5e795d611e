//! What a measured run teaches about a card and a runtime.

use super::measurement::Measurement;
use super::meter::MeterKind;
use super::recording::Exit;
use vramplan_planner::protocol::Stage;
use vramplan_planner::read::CalibratedRun;
use vramplan_planner::units::Bytes;

/// Why a run teaches nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// It was not on a GPU.
    #[error("only a run on a GPU says what a GPU holds")]
    NotAGpu,
    /// It failed, or was cut off.
    #[error("the run did not end well")]
    Failed,
    /// The worker did not say what its pool took.
    #[error("the worker did not say what its allocator's pool took")]
    NoPool,
    /// The pool took more than the device held.
    #[error("the pool took {pool}, but only {held} were held: another process gave memory back")]
    Impossible {
        /// What the pool took.
        pool: Bytes,
        /// What the device held.
        held: Bytes,
    },
    /// The recording has no plan.
    #[error("the recording does not say what was run")]
    NoPlan,
}

/// What a run of `calibrate` held beside its pool, and what the pool took beyond what it handed out.
pub fn fit(measured: &Measurement) -> Result<CalibratedRun, FitError> {
    let header = &measured.header;
    if header.device.meter != MeterKind::Nvml {
        return Err(FitError::NotAGpu);
    }
    if measured.exit.as_ref().is_none_or(Exit::failed) {
        return Err(FitError::Failed);
    }
    let counter = |name| measured.counters.get(name).map(|bytes| Bytes::new(*bytes));
    let pool = counter("pool_reserved_bytes").ok_or(FitError::NoPool)?;
    let used = counter("pool_used_bytes").ok_or(FitError::NoPool)?;
    let held = measured.peak.as_ref().map_or(Bytes::ZERO, |peak| peak.held);
    let overhead = held.minus(pool).ok_or(FitError::Impossible { pool, held })?;
    let parts = Parts::of(measured, overhead);
    let plan = header.plan.as_ref().ok_or(FitError::NoPlan)?;
    let asked = &plan.deployment;
    Ok(CalibratedRun {
        date: header.started.clone(),
        tool: header.tool.clone(),
        driver: header.device.driver.clone().unwrap_or_else(|| "unknown".to_owned()),
        model: asked.model.clone().unwrap_or_default(),
        weights: asked.weights.map(|format| format.to_string()).unwrap_or_default(),
        kv: asked.kv.map(|format| format.to_string()).unwrap_or_default(),
        overhead,
        slack: pool.minus_or_zero(used),
        context: parts.map(|parts| parts.context),
        libraries: parts.map(|parts| parts.libraries),
        workspaces: parts.map(|parts| parts.workspaces),
        granule: granule(measured),
    })
}

/// What an overhead consists of, by when it came.
#[derive(Clone, Copy)]
struct Parts {
    context: Bytes,
    libraries: Bytes,
    workspaces: Bytes,
}

impl Parts {
    /// Nothing where the run did not mark the stages, or they hold more than the whole.
    fn of(measured: &Measurement, overhead: Bytes) -> Option<Self> {
        let end = |stage: Stage| {
            let phase = measured.phases.iter().find(|phase| phase.name == stage.id());
            phase.map(|phase| phase.end)
        };
        let context = end(Stage::Context)?;
        let both = end(Stage::Libraries)?;
        let (libraries, workspaces) = (both.minus(context)?, overhead.minus(both)?);
        Some(Self { context, libraries, workspaces })
    }
}

/// What every size of the pool is a multiple of; nothing where it had one size only.
fn granule(measured: &Measurement) -> Option<Bytes> {
    let sizes = measured.counted.get("pool_reserved_bytes")?;
    let divisor = sizes.iter().copied().fold(0, greatest_common_divisor);
    (sizes.len() > 1 && divisor > 0).then(|| Bytes::new(divisor))
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::comparison::tests::plan;
    use crate::calibrate::measurement::tests::{exit, measure, phase, sample, started};
    use crate::calibrate::recording::Event;

    fn run(code: i32, pool: u64) -> Measurement {
        let counter = |name: &str, mib: u64| Event::Counter {
            t: 2500,
            name: name.to_owned(),
            value: mib << 20,
        };
        let mut measured = measure(&[
            sample(0, 100),
            started(1),
            sample(2, 1100),
            counter("pool_reserved_bytes", pool),
            counter("pool_used_bytes", 650),
            exit(3, code),
        ]);
        measured.header.plan = Some(plan());
        measured
    }

    #[test]
    fn what_is_beside_the_pool_is_overhead() {
        let fitted = fit(&run(0, 700)).unwrap();
        let sizes = [fitted.overhead, fitted.slack].map(|size| size.get() >> 20);
        assert_eq!(sizes, [300, 50]);
    }

    #[test]
    fn stages_tell_the_parts_of_an_overhead_apart() {
        let pool = |t: u64, mib: u64| Event::Counter {
            t,
            name: "pool_reserved_bytes".to_owned(),
            value: mib << 20,
        };
        let used = Event::Counter { t: 6500, name: "pool_used_bytes".to_owned(), value: 690 << 20 };
        let mut measured = measure(&[
            sample(0, 100),
            started(1),
            phase(2, "context"),
            sample(3, 300),
            phase(4, "libraries"),
            sample(5, 360),
            phase(6, "weights"),
            pool(6100, 608),
            sample(7, 1100),
            pool(7100, 704),
            used,
            exit(8, 0),
        ]);
        measured.header.plan = Some(plan());
        let fitted = fit(&measured).unwrap();
        let mib = |size: Bytes| size.get() >> 20;
        assert_eq!((mib(fitted.overhead), mib(fitted.slack)), (296, 14));
        let parts = [fitted.context, fitted.libraries, fitted.workspaces, fitted.granule];
        assert_eq!(parts.map(|part| part.map(mib)), [Some(200), Some(60), Some(36), Some(32)]);
    }

    #[test]
    fn a_run_that_teaches_nothing_says_why() {
        assert_eq!(fit(&run(1, 700)), Err(FitError::Failed));
        assert!(matches!(fit(&run(0, 2000)), Err(FitError::Impossible { .. })));
        let mut measured = run(0, 700);
        measured.counters.clear();
        assert_eq!(fit(&measured), Err(FitError::NoPool));
        measured.header.device.meter = MeterKind::Cpu;
        assert_eq!(fit(&measured), Err(FitError::NotAGpu));
    }
}
