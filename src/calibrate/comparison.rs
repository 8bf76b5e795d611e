//! A measurement beside a plan, phase by phase and component by component.

use std::str::FromStr;

use super::measurement::Measurement;
use super::planned::PlannedRun;
use vramplan_planner::estimate::Component;
use vramplan_planner::spec::Bounds;
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// How far outside of the plan's bounds a figure may be, as a share of the expected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    hundredths: u64,
}

impl Tolerance {
    /// 5%.
    pub const DEFAULT: Self = Self { hundredths: 500 };

    /// In percent.
    #[allow(clippy::cast_precision_loss)]
    pub fn percent(self) -> f64 {
        self.hundredths as f64 / 100.0
    }

    fn of(self, expected: Bytes) -> Bytes {
        expected.scale(self.hundredths, 10_000).unwrap_or(expected)
    }
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{}` is not a tolerance: expected a percentage from 0 to 100", printable(text))
        };
        let percent: f64 = text.trim().trim_end_matches('%').parse().map_err(|_| wrong())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let hundredths = (percent * 100.0).round() as u64;
        Ok(Self { hundredths })
    }
}

/// Where a figure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between the bounds, or as close to them as the tolerance allows.
    Within,
    /// Less than planned.
    Below,
    /// More than planned.
    Above,
}

impl Place {
    /// The word in every output.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Below => "below",
            Self::Above => "above",
        }
    }

    fn of(measured: Bytes, plan: Bounds, tolerance: Tolerance) -> Self {
        let slack = tolerance.of(plan.expected);
        if measured.diff(plan.high) > i128::from(slack.get()) {
            Self::Above
        } else if plan.low.diff(measured) > i128::from(slack.get()) {
            Self::Below
        } else {
            Self::Within
        }
    }
}

/// A figure beside its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was planned.
    pub plan: Bounds,
    /// What was measured.
    pub measured: Bytes,
    /// `measured − expected`, in bytes.
    pub difference: i128,
    /// Where that lies.
    pub place: Place,
}

impl Row {
    /// A figure beside its plan.
    pub fn new(plan: Bounds, measured: Bytes, tolerance: Tolerance) -> Self {
        let difference = measured.diff(plan.expected);
        Self { plan, measured, difference, place: Place::of(measured, plan, tolerance) }
    }

    /// Whether it lies where it was planned.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "programs are rehearsed on Linux")
    )]
    pub fn is_within(&self) -> bool {
        self.place == Place::Within
    }
}

/// A component beside its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentRow {
    /// Which.
    pub component: Component,
    /// What was planned for the peak.
    pub plan: Bounds,
    /// What the program said that it held there, where it did.
    pub stated: Option<Row>,
}

/// A component in a phase beside its plan, as the program stated it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseComponentRow {
    /// The phase, as the run calls it.
    pub phase: String,
    /// Which component.
    pub component: Component,
    /// How it compares.
    pub row: Row,
}

/// A measurement beside a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How far outside the bounds is still inside.
    pub tolerance: Tolerance,
    /// The peak of the whole run.
    pub peak: Option<Row>,
    /// Phases that the run marked and the plan knows.
    pub phases: Vec<(String, Row)>,
    /// Every component of the plan.
    pub components: Vec<ComponentRow>,
    /// Every component in every phase in which the program stated it.
    pub by_phase: Vec<PhaseComponentRow>,
    /// What the peak is beyond the sum of the components, each as stated, else as expected.
    pub unexplained: Option<i128>,
}

impl Comparison {
    /// Puts what was measured beside every figure of the plan that it has a counterpart to; what misses the
    /// bounds by no more than `tolerance` is within.
    pub fn new(measured: &Measurement, plan: &PlannedRun, tolerance: Tolerance) -> Self {
        let row = |planned: Bounds, held: Bytes| Row::new(planned, held, tolerance);
        let phases = measured.phases.iter().filter_map(|phase| {
            let planned = plan.phase(&phase.name)?;
            Some((phase.name.clone(), row(planned.total, phase.peak)))
        });
        let component = |planned: &super::planned::PlannedComponent| ComponentRow {
            component: planned.id,
            plan: planned.at_peak,
            stated: stated_at(measured, plan, planned.id).map(|held| row(planned.at_peak, held)),
        };
        let components: Vec<_> = plan.components.iter().map(component).collect();
        let peak = measured.peak.as_ref();
        Self {
            tolerance,
            by_phase: by_phase(measured, plan, tolerance),
            peak: peak.map(|peak| row(plan.peak, peak.held)),
            phases: phases.collect(),
            unexplained: peak.map(|peak| {
                let of = |row: &ComponentRow| {
                    let stated = row.stated.map(|stated| stated.measured);
                    i128::from(stated.unwrap_or(row.plan.expected).get())
                };
                i128::from(peak.held.get()) - components.iter().map(of).sum::<i128>()
            }),
            components,
        }
    }

    /// Whether the peak, every phase and every component that was stated lie where they were planned.
    pub fn is_within(&self) -> bool {
        self.peak.is_some() && self.outside().is_empty()
    }

    /// What does not, by name, each once: components, then phases, then the peak.
    pub fn outside(&self) -> Vec<(String, Row)> {
        let stated = |row: &ComponentRow| Some((row.component.id().to_owned(), row.stated?));
        let by_phase = |row: &PhaseComponentRow| (row.component.id().to_owned(), row.row);
        let phases = self.phases.iter().map(|(name, row)| (format!("phase {name}"), *row));
        let peak = self.peak.iter().map(|row| ("peak".to_owned(), *row));
        let components = self.components.iter().filter_map(stated);
        let mut outside: Vec<(String, Row)> = Vec::new();
        for (name, row) in
            components.chain(self.by_phase.iter().map(by_phase)).chain(phases).chain(peak)
        {
            if row.place != Place::Within && outside.iter().all(|(known, _)| *known != name) {
                outside.push((name, row));
            }
        }
        outside
    }
}

/// What a component held in the plan's largest phase as the program said there, or else at the
/// measured peak.
fn stated_at(measured: &Measurement, plan: &PlannedRun, component: Component) -> Option<Bytes> {
    let name = |phase: &super::measurement::PhaseMeasure| {
        plan.phase(&phase.name).is_some_and(|planned| planned.id == plan.peak_phase)
    };
    let peak = measured.phases.iter().find(|phase| name(phase));
    let there = peak.and_then(|phase| measured.stated_in(component, &phase.name));
    there.or_else(|| measured.stated_at_peak(component))
}

fn by_phase(
    measured: &Measurement,
    plan: &PlannedRun,
    tolerance: Tolerance,
) -> Vec<PhaseComponentRow> {
    let mut rows = Vec::new();
    for phase in &measured.phases {
        let Some(planned) = plan.phase(&phase.name) else { continue };
        for component in &planned.components {
            let Some(held) = measured.stated_in(component.id, &phase.name) else { continue };
            rows.push(PhaseComponentRow {
                phase: phase.name.clone(),
                component: component.id,
                row: Row::new(component.at_peak, held, tolerance),
            });
        }
    }
    rows
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::calibrate::measurement::tests::{exit, measure, phase, sample, started};
    use crate::calibrate::planned::{PlannedComponent, PlannedPhase};
    use vramplan_planner::estimate::Phase;

    fn mib(low: u64, expected: u64, high: u64) -> Bounds {
        let mib = |n| Bytes::mib(n).unwrap();
        Bounds::new(mib(low), mib(expected), mib(high))
    }

    pub fn plan() -> PlannedRun {
        PlannedRun {
            deployment: vramplan_planner::deployment::Question::default(),
            peak_phase: Phase::Prefill,
            peak: mib(90, 100, 110),
            phases: vec![
                PlannedPhase {
                    id: Phase::Prefill,
                    total: mib(90, 100, 110),
                    components: Vec::new(),
                },
                PlannedPhase { id: Phase::Decode, total: mib(50, 60, 70), components: Vec::new() },
            ],
            components: vec![
                PlannedComponent { id: Component::Weights, at_peak: mib(70, 70, 70) },
                PlannedComponent { id: Component::RuntimeOverhead, at_peak: mib(20, 30, 40) },
            ],
        }
    }

    #[test]
    fn figures_lie_within_their_bounds_or_near_enough() {
        let tolerance = Tolerance::DEFAULT;
        let place = |held: u64| Place::of(Bytes::mib(held).unwrap(), mib(90, 100, 110), tolerance);
        assert_eq!(
            [84, 85, 100, 115, 116].map(place),
            [Place::Below, Place::Within, Place::Within, Place::Within, Place::Above]
        );
    }

    #[test]
    fn phases_meet_their_plan_and_what_no_component_explains_is_a_row() {
        let holds =
            Event::Holds { t: 2, component: Component::Weights, bytes: Bytes::mib(75).unwrap() };
        let measured = measure(&[
            sample(0, 0),
            started(1),
            holds,
            phase(2, "prefill"),
            sample(3, 104),
            phase(4, "decode"),
            sample(5, 80),
            phase(6, "shutdown"),
            exit(7, 0),
        ]);
        let compared = Comparison::new(&measured, &plan(), Tolerance::DEFAULT);
        let places: Vec<_> =
            compared.phases.iter().map(|(name, row)| (name.as_str(), row.place)).collect();
        // The level that decode began with counts: memory that is kept is held.
        assert_eq!(places, [("prefill", Place::Within), ("decode", Place::Above)]);
        assert_eq!(compared.unexplained, Some((104 - 75 - 30) << 20));
        let weights = compared.components[0].stated.unwrap();
        assert_eq!((weights.difference, weights.place), (5 << 20, Place::Above));
        assert!(!compared.is_within());
    }

    use crate::calibrate::recording::Event;

    #[test]
    fn tolerances_are_percentages() {
        assert_eq!("2.5%".parse::<Tolerance>(), Ok(Tolerance { hundredths: 250 }));
        for wrong in ["", "x", "-1", "101", "NaN"] {
            assert!(wrong.parse::<Tolerance>().is_err(), "{wrong}");
        }
    }
}
