//! What a record says of the machine that made it.

use vramplan_planner::evidence::{Digest, job};

/// Where a record is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The host, as a digest.
    pub host: Option<Digest>,
    /// The scheduler's number of the job.
    pub job: Option<String>,
}

/// Variables that hold the number of a job, and the one beside it that holds which of an array it is.
const JOBS: [(&str, Option<&str>); 3] = [
    ("VRAMPLAN_JOB", None),
    ("SLURM_ARRAY_JOB_ID", Some("SLURM_ARRAY_TASK_ID")),
    ("SLURM_JOB_ID", None),
];

/// This machine. `VRAMPLAN_HOST` names it where its own name is one of a container.
pub fn machine() -> Machine {
    let said = std::env::var("VRAMPLAN_HOST").ok().filter(|name| !name.is_empty());
    let own = || fs_err::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = said.or_else(own).map(|name| name.trim().to_owned());
    Machine {
        host: host.filter(|name| !name.is_empty()).map(|name| Digest::of("host", name.as_bytes())),
        job: number_of_job(),
    }
}

fn number_of_job() -> Option<String> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        job(&text).map(str::to_owned)
    };
    JOBS.iter().find_map(|(name, of_array)| {
        let first = number(name)?;
        match of_array {
            Some(task) => Some(format!("{first}_{}", number(task)?)),
            None => Some(first),
        }
    })
}
