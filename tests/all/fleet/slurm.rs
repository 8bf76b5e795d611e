//! Real Slurm, of three nodes on this machine with cards that are none (`tests/support/slurm`): from its list of nodes to
//! an array of jobs, one of which is killed, one out of main memory, one on a node that goes away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::json;
use crate::observe::support::{Place, file, stderr, stdout};
use crate::skip::skipped;

fn cluster_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/slurm/cluster.sh")
}

/// A cluster, which is stopped whatever becomes of the test.
struct Cluster {
    folder: PathBuf,
    conf: PathBuf,
}

impl Cluster {
    /// Nothing, and a word about it, where Slurm is not installed or may not be run.
    fn start(folder: PathBuf) -> Option<Self> {
        let programs = ["sinfo", "sbatch", "slurmctld", "slurmd", "munged"];
        let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
        let is_there =
            |name: &str| folders.iter().any(|folder| Path::new(folder).join(name).exists());
        if let Some(absent) = programs.into_iter().find(|name| !is_there(name)) {
            skipped(format_args!("`{absent}` is not installed: it is in slurm-wlm and munge"));
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skipped("only root can start Slurm's daemons with cards that are none");
            return None;
        }
        let mut start = Command::new(cluster_script());
        start.arg("start").arg(&folder).args(["l4-1=l4:1", "l4-2=l4:1", "a100-1=a100:1"]);
        let cluster = Self { conf: folder.join("slurm.conf"), folder };
        let output = start.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        Some(cluster)
    }

    fn down(&self, node: &str) {
        let status =
            Command::new(cluster_script()).arg("down").arg(&self.folder).arg(node).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(cluster_script()).arg("stop").arg(&self.folder).status();
    }
}

/// What each job of the array does. Its card is a fake driver's of its own; its worker follows a script.
const JOB: &str = r#"#!/bin/sh
set -eu
cd "$(mktemp -d "$REPORTS-XXXXXX")"
case "$1" in L4) name='NVIDIA L4' total=23034 ;; *) name='NVIDIA A100 80GB PCIe' total=81920 ;; esac
export FAKE_NVML="$PWD/nvml" XDG_RUNTIME_DIR="$PWD"
printf 'name=%s\nuuid=GPU-%s\ndriver=550.54.15\ntotal=%s\nreserved=476\nused=100\n' \
    "$name" "$SLURM_JOB_ID" "$total" > nvml
case "$SLURM_ARRAY_TASK_ID" in
1) kill -KILL "$PPID" $$ ;;
2) (ulimit -v 400000; exec python3 -c 'b = bytearray(1 << 30)') ;;
3) if [ "$1" = L4 ] && [ ! -e "$REPORTS/lost" ]; then echo "$SLURMD_NODENAME" > "$REPORTS/lost"; exec sleep 600; fi ;;
esac
export WORKER_SCRIPT='{"type":"hello","protocol":3,"version":"0"}
{"type":"begin","phase":"decode"}
gpu used=1100
sleep 0.05
{"type":"pool","used":681574400,"reserved":734003200}
{"type":"end","phase":"decode"}
{"type":"done"}
gpu used=100'
exec "$VRAMPLAN" calibrate --model qwen2.5-0.5b --synthetic --tolerance 100 --learn --json
"#;

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(240), "{what}: not after four minutes");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one fleet's life, from its list to its status")]
fn a_fleet_is_calibrated_by_real_slurm() {
    let place = Place::with_driver("");
    let Some(cluster) = Cluster::start(place.path("cluster")) else { return };
    let (reports, job) = (place.path("reports"), place.path("job.sh"));
    fs_err::create_dir_all(reports.join("logs")).unwrap();
    fs_err::create_dir_all(reports.join("evidence")).unwrap();
    fs_err::write(&job, JOB).unwrap();
    let reports = reports.to_str().unwrap();
    let vramplan = |arguments: &[&str]| {
        let mut command =
            place.command(&[arguments, &["--evidence", &format!("{reports}/evidence")]].concat());
        command.env("SLURM_CONF", &cluster.conf).output().unwrap()
    };

    // The nodes, as Slurm lists them: nothing is known of their cards.
    let plan =
        vramplan(&["fleet", "plan", "--ask", "sinfo", "--gpu-type", "a100=A100-80GB", "--json"]);
    assert!(plan.status.success(), "{}", stderr(&plan));
    fs_err::write(place.path("plan.json"), &plan.stdout).unwrap();
    let kinds: Vec<(String, String, usize)> = json(&plan)["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| {
            let text = |name: &str| kind[name].as_str().unwrap().to_owned();
            (text("id"), text("state"), kind["nodes"].as_array().unwrap().len())
        })
        .collect();
    let missing = |id: &str, nodes| (id.to_owned(), "missing".to_owned(), nodes);
    assert_eq!(kinds, [missing("a100-80gb", 1), missing("l4", 2)]);
    assert_eq!(vramplan(&["fleet", "status", "plan.json"]).status.code(), Some(4));

    // An array for each kind.
    let program = env!("CARGO_BIN_EXE_vramplan");
    let emitted = vramplan(&[
        "fleet",
        "emit",
        "slurm",
        "plan.json",
        "--reports",
        reports,
        "--runs",
        "4",
        "--minutes",
        "5",
        "--memory",
        "100 MiB",
        "--cpus",
        "1",
        "--program",
        program,
        "--",
        "sh",
        job.to_str().unwrap(),
        "{gpu}",
    ]);
    assert!(emitted.status.success(), "{}", stderr(&emitted));
    let script = stdout(&emitted);
    assert_eq!(script.matches("#SBATCH --array=0-3").count(), 2, "{script}");
    fs_err::write(place.path("submit.sh"), &script).unwrap();
    let library = place.command(&[]);
    let variables =
        library.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let submitted = Command::new("sh")
        .arg(place.path("submit.sh"))
        .envs(variables)
        .env("SLURM_CONF", &cluster.conf)
        .env("VRAMPLAN", program)
        .env("REPORTS", reports)
        .env("VRAMPLAN_WORKER", file("worker.py"))
        .output()
        .unwrap();
    assert!(submitted.status.success(), "{}", stderr(&submitted));

    // The node that the fourth job is on goes away; Slurm starts the job again on the other.
    let mark = |name: &str| -> Value {
        let text =
            fs_err::read_to_string(format!("{reports}/jobs/{name}.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let lost = format!("{reports}/lost");
    wait("a job that hangs", || {
        fs_err::read_to_string(&lost).is_ok_and(|node| node.ends_with('\n'))
    });
    let node = fs_err::read_to_string(&lost).unwrap();
    cluster.down(node.trim());
    let is_done = |name: &str| mark(name)["state"] == "done";
    wait("jobs that end well", || ["l4.0", "l4.3", "a100-80gb.0"].into_iter().all(is_done));
    wait("jobs that fail", || {
        mark("l4.2")["state"] == "failed" && mark("l4.1")["state"] == "begun"
    });
    wait("the other array", || {
        mark("a100-80gb.2")["state"] == "failed"
            && mark("a100-80gb.1")["state"] == "begun"
            && is_done("a100-80gb.3")
    });
    assert_eq!(mark("l4.3")["tries"], 2, "it was begun on {node} and again on the other node");

    // What they brought: those that ended well are counted, the others are named.
    let merged = vramplan(&[
        "fleet",
        "merge",
        reports,
        "--out",
        place.path("fleet.jsonl").to_str().unwrap(),
        "--json",
    ]);
    assert!(merged.status.success(), "{}", stderr(&merged));
    let document = json(&merged);
    assert_eq!((&document["records"], &document["done"]), (&4.into(), &4.into()), "{document:#}");
    let failed: Vec<String> = document["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mark| {
            format!(
                "{} {} {}",
                mark["kind"].as_str().unwrap(),
                mark["index"],
                mark["state"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(failed, ["a100-80gb 1 begun", "a100-80gb 2 failed", "l4 1 begun", "l4 2 failed"]);
    let overheads: Vec<&Value> = document["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|group| group["term"] == "overhead")
        .collect();
    assert_eq!(overheads.len(), 2, "{document:#}");
    for group in overheads {
        assert_eq!(
            (&group["median"], &group["driver"]),
            (&(300u64 << 20).into(), &"550.54.15".into()),
            "{group}"
        );
        assert_eq!(
            (&group["runs"], &group["hosts"]),
            (&2.into(), &1.into()),
            "two cards of one host: {group}"
        );
    }
    let text = stdout(&vramplan(&["fleet", "merge", reports]));
    assert!(
        text.contains("failed, not counted: l4 1 (job ")
            && text.contains("failed with exit code 1"),
        "{text}"
    );

    // Every kind is calibrated now; started again, nothing is run that was done.
    let status = vramplan(&["fleet", "status", "plan.json"]);
    assert_eq!(status.status.code(), Some(0), "{}", stdout(&status));
    assert!(
        stdout(&vramplan(&["fleet", "plan", "--ask", "sinfo"])).contains("1 of its nodes down")
    );
}
