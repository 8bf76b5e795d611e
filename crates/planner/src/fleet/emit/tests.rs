use super::*;
use crate::fleet::{FleetPlan, Types, Wanted, nodes};

fn plan() -> FleetPlan {
    let text = "l4-[1-2],L4,2,550.54.15\nl4-3,L4,1,560.35.03\nbox,RTX 4090\n";
    FleetPlan::new(&nodes(text, &Types::default()).unwrap(), [], &Wanted::default())
}

fn asked() -> Jobs {
    Jobs {
        command: ["vramplan", "calibrate", "--gpu", "{gpu}", "--learn"].map(str::to_owned).into(),
        program: "vramplan".to_owned(),
        runs: 3,
        minutes: 10,
        memory: Bytes::mib(8192).unwrap(),
        cpus: 2,
        reports: "/shared/reports".to_owned(),
        image: Some("registry.example/vramplan:1".to_owned()),
        claim: Some("reports".to_owned()),
        all: false,
    }
}

#[test]
fn a_kind_is_a_card_under_a_driver() {
    let ids: Vec<_> = plan().kinds.into_iter().map(|kind| (kind.id, kind.nodes.len())).collect();
    let expected = [("l4-550-54-15", 2), ("l4-560-35-03", 1), ("rtx-4090", 1)];
    assert_eq!(ids, expected.map(|(id, nodes)| (id.to_owned(), nodes)));
}

#[test]
fn slurm_gets_an_array_for_each_kind() {
    let written = jobs(Target::Slurm, &plan(), &asked()).unwrap();
    let text = together(Target::Slurm, &written);
    assert_eq!(text.matches("sbatch <<'VRAMPLAN_JOB'").count(), 3);
    for line in [
        "#SBATCH --array=0-2",
        "#SBATCH --gres=gpu:l4:1",
        "#SBATCH --exclude=l4-3",
        "#SBATCH --mem=8192M",
        "#SBATCH --time=00:10:00",
        "#SBATCH --requeue",
        "#SBATCH --output=/shared/reports/logs/l4-550-54-15-%a.log",
        "exec vramplan fleet run --kind rtx-4090 --reports /shared/reports -- vramplan calibrate --gpu 'RTX 4090' --learn",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn clouds_get_a_task_for_each_kind() {
    for (target, words) in
        [(Target::Sky, "\"RTX4090:1\""), (Target::Dstack, "\"duration\": \"1h\"")]
    {
        let written = jobs(target, &plan(), &asked()).unwrap();
        assert_eq!(written.len(), 3);
        assert!(written[2].text.contains(words), "{}", written[2].text);
        assert!(written[2].text.contains("VRAMPLAN_INDEX=2 vramplan fleet run"));
        serde_json::from_str::<serde_json::Value>(&written[2].text).unwrap();
    }
}

#[test]
fn what_cannot_be_in_a_job_is_refused() {
    let of = |target, change: fn(&mut Jobs)| {
        let mut jobs = asked();
        change(&mut jobs);
        super::jobs(target, &plan(), &jobs).unwrap_err().to_string()
    };
    for (error, part) in [
        (
            of(Target::Slurm, |jobs| jobs.reports = "/a\n#SBATCH x".to_owned()),
            "`--reports` = `/a\\u{a}",
        ),
        (of(Target::Slurm, |jobs| jobs.reports = "reports".to_owned()), "a whole path"),
        (of(Target::Slurm, |jobs| jobs.command.push("a\nVRAMPLAN_JOB\nb".to_owned())), "`CMD`"),
        (of(Target::Kubernetes, |jobs| jobs.image = None), "`--image` is missing"),
        (of(Target::Kubernetes, |jobs| jobs.claim = None), "`--claim` is missing"),
        (of(Target::Kubernetes, |jobs| jobs.image = Some("a b".to_owned())), "without spaces"),
    ] {
        assert!(error.contains(part), "{error}");
    }
    let nothing = FleetPlan { kinds: Vec::new(), ..plan() };
    assert_eq!(jobs(Target::Slurm, &nothing, &asked()), Err(JobsError::Nothing));
}
