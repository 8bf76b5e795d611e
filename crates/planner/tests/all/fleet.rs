//! Laws of merging what a fleet's jobs bring, and of judging its kinds by it.

use proptest::collection::vec;
use proptest::prelude::*;
use vramplan_planner::deployment::Question;
use vramplan_planner::evidence::{
    CardDoc, Digest, Ended, EngineDoc, How, ReadIn, Record, SCHEMA, TermDoc, TermId, Where, several,
};
use vramplan_planner::fleet::{
    FleetPlan, JOB_SCHEMA, JobMark, JobState, Merged, State, Types, Wanted, nodes, to_labels,
    to_prometheus,
};
use vramplan_planner::spec::Runtime;
use vramplan_planner::units::Bytes;

fn record(gpu: &str, driver: &str, day: u64, mib: u64, host: u64) -> Record {
    Record {
        schema: SCHEMA.to_owned(),
        how: How::Calibrated,
        date: Some(format!("2026-01-{day:02}T00:00:00Z")),
        thread: None,
        ended: Ended::Well,
        engine: EngineDoc { runtime: Runtime::Vramplan, version: None },
        card: CardDoc { name: gpu.to_owned(), total: None, count: 1 },
        driver: Some(driver.to_owned()),
        deployment: Question::default(),
        left_out: std::collections::BTreeSet::new(),
        terms: vec![TermDoc {
            term: TermId::Overhead,
            size: Bytes::mib(mib).unwrap(),
            within: Bytes::ZERO,
            at: Where::Card,
            read: ReadIn::NvmlLessPool,
            line: None,
        }],
        host: Some(Digest::of("host", &host.to_le_bytes())),
        gpu: Some(Digest::of("gpu", &host.to_le_bytes())),
        job: None,
    }
}

fn mark(kind: &str, index: u64, tries: u64, state: JobState) -> JobMark {
    JobMark {
        schema: JOB_SCHEMA.to_owned(),
        kind: kind.to_owned(),
        index,
        state,
        tries,
        begun: format!("2026-01-{:02}T00:00:00Z", tries.min(28)),
        code: (state == JobState::Failed).then_some(1),
        signal: None,
        job: None,
    }
}

fn records() -> impl Strategy<Value = Record> {
    let names = prop::sample::select(vec!["L4", "T4", "A100-40GB"]);
    let drivers = prop::sample::select(vec!["535.183.06", "550.54.15"]);
    let mib = prop_oneof![240u64..270, 240u64..270, Just(9_000)];
    (names, drivers, 1u64..28, mib, 0u64..6)
        .prop_map(|(gpu, driver, day, mib, host)| record(gpu, driver, day, mib, host))
}

fn marks() -> impl Strategy<Value = JobMark> {
    let states = prop::sample::select(vec![JobState::Begun, JobState::Failed, JobState::Done]);
    (prop::sample::select(vec!["l4", "t4"]), 0u64..3, 1u64..4, states)
        .prop_map(|(kind, index, tries, state)| mark(kind, index, tries, state))
}

fn merged() -> impl Strategy<Value = Merged> {
    let refused = vec((prop::sample::select(vec!["a.json", "b.json"]), "[a-c]{1,3}"), 0..3);
    (vec(records(), 0..12), vec(marks(), 0..6), refused).prop_map(|(records, marks, refused)| {
        let mut merged = Merged::default();
        for record in records {
            merged.record(record);
        }
        for mark in marks {
            merged.job(mark);
        }
        for (file, why) in refused {
            merged.refuse(file.to_owned(), why);
        }
        merged
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn merging_twice_is_merging_once(a in merged()) {
        prop_assert_eq!(a.clone().and(a.clone()), a.clone());
        // What is written is merged again.
        let mut again = Merged::default();
        for (_, record) in several(&a.to_lines()) {
            again.record(record.unwrap());
        }
        prop_assert_eq!(again.to_lines(), a.to_lines());
        prop_assert_eq!(again.document().groups, a.document().groups);
    }

    #[test]
    fn the_order_does_not_matter(a in merged(), b in merged(), c in merged()) {
        prop_assert_eq!(a.clone().and(b.clone()), b.clone().and(a.clone()));
        let left = a.clone().and(b.clone()).and(c.clone());
        prop_assert_eq!(&left, &a.and(b.and(c)));
        prop_assert_eq!(left.document(), left.document());
    }

    #[test]
    fn what_was_known_stays_known(a in merged(), b in merged()) {
        let both = a.clone().and(b);
        let keys = |merged: &Merged| -> Vec<_> {
            merged.document().groups.into_iter().map(|group| group.key).collect()
        };
        let known = keys(&both);
        for key in keys(&a) {
            prop_assert!(known.contains(&key));
        }
        prop_assert!(both.document().records >= a.document().records);
        prop_assert!(both.document().done >= a.document().done);
        prop_assert!(both.document().refused.len() >= a.document().refused.len());
    }

    #[test]
    fn medians_are_measured_and_within_their_bounds(a in merged()) {
        let sizes: Vec<Bytes> = a.records().flat_map(|record| record.terms.iter().map(|term| term.size)).collect();
        for group in a.document().groups {
            prop_assert!(group.low <= group.median && group.median <= group.high);
            prop_assert!(sizes.contains(&group.median));
            prop_assert!(group.runs >= 1);
        }
    }

    #[test]
    fn lists_of_nodes_are_read_or_refused(text in ".{0,400}") {
        if let Ok(found) = nodes(&text, &Types::default()) {
            let plan = FleetPlan::new(&found, [], &Wanted::default());
            let json = serde_json::to_string(&plan).unwrap();
            prop_assert_eq!(FleetPlan::read(&json).unwrap(), plan);
        }
    }
}

fn plan(list: &str, records: &[Record], wanted: &Wanted) -> Vec<(String, State, String)> {
    let found = nodes(list, &Types::default()).unwrap();
    let plan = FleetPlan::new(&found, records, wanted);
    plan.kinds.into_iter().map(|kind| (kind.id, kind.state, kind.why)).collect()
}

#[test]
fn kinds_are_judged_by_what_is_known() {
    let list = "l4-1,L4,1,550.54.15\nt4-1,T4,1,535.183.06\nodd,Alice 9000\n";
    let old = [record("L4", "535.183.06", 1, 250, 0), record("T4", "535.183.06", 2, 150, 1)];
    let state = |records: &[Record], wanted: &Wanted, kind: &str| {
        let found = plan(list, records, wanted).into_iter().find(|(id, ..)| id == kind).unwrap();
        (found.1, found.2)
    };
    let any = Wanted::default();
    assert_eq!(state(&[], &any, "l4").0, State::Missing);
    assert_eq!(
        state(&old, &any, "l4"),
        (State::Drifted, "measured under driver 535.183.06 only".to_owned())
    );
    assert_eq!(
        state(&old, &any, "t4"),
        (State::Calibrated, "1 run, the last on 2026-01-02".to_owned())
    );
    let since = Wanted { since: Some("2026-01-10T00:00:00Z".to_owned()), ..Wanted::default() };
    assert_eq!(state(&old, &since, "t4"), (State::Old, "last measured on 2026-01-02".to_owned()));
    let other = Wanted { runtime: Some(Runtime::Vllm), ..Wanted::default() };
    assert_eq!(state(&old, &other, "t4").0, State::Missing);
    assert_eq!(state(&old, &any, "alice-9000").0, State::Unknown);
    // The last run says otherwise than those before it.
    let mut more = old.to_vec();
    more.extend([3, 4].map(|day| record("T4", "535.183.06", day, 151, day)));
    assert_eq!(state(&more, &any, "t4").0, State::Calibrated);
    more.push(record("T4", "535.183.06", 9, 400, 9));
    let (found, why) = state(&more, &any, "t4");
    assert_eq!(found, State::Drifted);
    assert_eq!(why, "overhead: 400.00 MiB on 2026-01-09, 151.00 MiB before");
}

#[test]
fn a_run_again_of_one_card_counts_once_and_failed_jobs_do_not() {
    let mut merged = Merged::default();
    for (day, mib) in [(1, 250), (2, 260), (3, 270)] {
        merged.record(record("L4", "550.54.15", day, mib, 0));
    }
    merged.record(record("L4", "550.54.15", 1, 251, 1));
    merged.job(mark("l4", 0, 1, JobState::Begun));
    merged.job(mark("l4", 1, 2, JobState::Failed));
    merged.job(mark("l4", 1, 1, JobState::Done));
    let document = merged.document();
    assert_eq!(document.records, 4);
    let [group] = document.groups.as_slice() else { panic!("{:?}", document.groups) };
    assert_eq!((group.runs, group.hosts), (2, 2));
    assert_eq!((group.low.get() >> 20, group.high.get() >> 20), (251, 270));
    // A job that was once done is done, whatever a later try came to.
    assert_eq!((document.done, document.failed.len()), (1, 1));
    assert!(document.failed[0].words().starts_with("begun and not ended"));
}

#[test]
fn states_are_labels_and_metrics() {
    let records = [record("L4", "550.54.15", 1, 250, 0)];
    let found = nodes("l4-[1-2],L4,2,550.54.15\nt4-1,T4,1\n", &Types::default()).unwrap();
    let plan = FleetPlan::new(&found, &records, &Wanted::default());
    assert!(!plan.is_in_order());
    assert_eq!(
        to_labels(&plan),
        "l4-1 vramplan.dev/kind=l4 vramplan.dev/state=calibrated\n\
         l4-2 vramplan.dev/kind=l4 vramplan.dev/state=calibrated\n\
         t4-1 vramplan.dev/kind=t4 vramplan.dev/state=missing\n"
    );
    let mut merged = Merged::default();
    merged.record(records[0].clone());
    let text = to_prometheus(&plan, &merged.document());
    for line in [
        "vramplan_fleet_state{kind=\"l4\",gpu=\"L4\",driver=\"550.54.15\",state=\"calibrated\"} 1",
        "vramplan_fleet_state{kind=\"t4\",gpu=\"T4\",driver=\"\",state=\"missing\"} 1",
        "vramplan_fleet_cards{kind=\"l4\",gpu=\"L4\",driver=\"550.54.15\"} 4",
        "vramplan_fleet_constant_bytes{gpu=\"L4\",driver=\"550.54.15\",runtime=\"vramplan\",release=\"\",gpus=\"1\",term=\"overhead\",bound=\"median\"} 262144000",
        "vramplan_fleet_jobs_failed 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    // Each family once, with its help before its samples.
    let helps: Vec<&str> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
    assert_eq!(helps.len(), 6, "{helps:?}");
}

#[test]
fn marks_of_strangers_are_read_or_refused() {
    let good = serde_json::to_string(&mark("l4", 0, 1, JobState::Done)).unwrap();
    assert!(JobMark::read(&good).is_ok());
    for (from, to, part) in [
        ("fleet-job/v1", "fleet-job/v2", "expected `vramplan/fleet-job/v1`"),
        ("\"l4\"", "\"../../etc\"", "`kind`"),
        ("2026-01-01T00:00:00Z", "\\u001b]0;", "`begun` = `\\\\u{1b}"),
        ("\"tries\":1", "\"tries\":-1", "invalid value"),
        ("\"tries\":1", "\"tries\":1,\"user\":\"alice\"", "unknown field"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = JobMark::read(&text).unwrap_err();
        assert!(error.contains(&part.replace("\\\\", "\\")), "{error}");
    }
}
