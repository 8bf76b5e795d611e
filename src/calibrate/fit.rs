//! What a measured run teaches about a card and a runtime.

use super::measurement::Measurement;
use super::meter::MeterKind;
use super::recording::Exit;
use crate::source::CalibratedRun;
use crate::units::Bytes;

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
    let plan = header.plan.as_ref().ok_or(FitError::NoPlan)?;
    let input = |name: &str| plan.inputs.get(name).cloned().unwrap_or_default();
    Ok(CalibratedRun {
        date: header.started.clone(),
        tool: header.tool.clone(),
        driver: header.device.driver.clone().unwrap_or_else(|| "unknown".to_owned()),
        model: input("model"),
        weights: input("weights"),
        kv: input("kv"),
        overhead: held.minus(pool).ok_or(FitError::Impossible { pool, held })?,
        slack: pool.minus_or_zero(used),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::comparison::tests::plan;
    use crate::calibrate::measurement::tests::{exit, measure, sample, started};
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
