//! Jobs for a scheduler that is there: for every kind that needs it one small job, of as many runs as are asked for.
//!
//! Each run is `vramplan fleet run`, which leaves a mark of how it ended and does nothing where that was done before: a
//! job can be started again at any time.

mod cloud;
mod kubernetes;
mod slurm;

use std::fmt;
use std::str::FromStr;

use super::plan::{FleetPlan, KindDoc, State};
use crate::text::{printable, shell_word};
use crate::units::Bytes;

/// A scheduler that jobs are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Slurm: a shell script of `sbatch` arrays.
    Slurm,
    /// Kubernetes: a list of indexed Jobs.
    Kubernetes,
    /// `SkyPilot`: tasks.
    Sky,
    /// dstack: tasks.
    Dstack,
}

impl Target {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Slurm, Self::Kubernetes, Self::Sky, Self::Dstack];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slurm => "slurm",
            Self::Kubernetes => "k8s",
            Self::Sky => "sky",
            Self::Dstack => "dstack",
        }
    }

    /// How its files end.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Slurm => "sh",
            Self::Kubernetes => "json",
            Self::Sky => "sky.yaml",
            Self::Dstack => "dstack.yml",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|target| target.name() == text);
        found.ok_or_else(|| "expected `slurm`, `k8s`, `sky` or `dstack`".to_owned())
    }
}

/// What jobs are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jobs {
    /// The command of a run, in which `{gpu}` stands for the card's name.
    pub command: Vec<String>,
    /// The program on the nodes: `vramplan`, or its path.
    pub program: String,
    /// Runs of each kind.
    pub runs: u64,
    /// Minutes that a run may take.
    pub minutes: u64,
    /// Main memory of a run.
    pub memory: Bytes,
    /// Processors of a run.
    pub cpus: u64,
    /// The directory that all nodes write into.
    pub reports: String,
    /// The image, under Kubernetes.
    pub image: Option<String>,
    /// The claim of the volume that `reports` is in, under Kubernetes.
    pub claim: Option<String>,
    /// Kinds that were measured, too.
    pub all: bool,
}

/// A job as it is written: the kind's name, and the text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The kind.
    pub kind: String,
    /// The text.
    pub text: String,
}

/// Why jobs cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// A value is none that jobs may hold.
    #[error("`{flag}` = `{found}`: expected {expected}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What it says, safe to print.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
    /// Something is missing.
    #[error("`{0}` is missing: pods have no {1} unless it is said")]
    Missing(&'static str, &'static str),
    /// There is nothing to run.
    #[error("no kind needs a run: every one is calibrated, or its card is not known")]
    Nothing,
}

/// Writes the jobs of a plan, one for each kind that needs it.
///
/// # Errors
/// Where a value cannot be in a job, or none is needed.
pub fn jobs(target: Target, plan: &FleetPlan, jobs: &Jobs) -> Result<Vec<Written>, JobsError> {
    check(target, jobs)?;
    let needs = |kind: &&KindDoc| {
        kind.gpu.is_some()
            && (jobs.all || kind.state != State::Calibrated)
            && kind.nodes.len() as u64 > kind.down
    };
    let written: Vec<Written> = plan
        .kinds
        .iter()
        .filter(needs)
        .map(|kind| Written {
            kind: kind.id.clone(),
            text: match target {
                Target::Slurm => slurm::script(kind, plan, jobs),
                Target::Kubernetes => kubernetes::job(kind, jobs),
                Target::Sky => cloud::sky(kind, jobs),
                Target::Dstack => cloud::dstack(kind, jobs),
            },
        })
        .collect();
    if written.is_empty() { Err(JobsError::Nothing) } else { Ok(written) }
}

/// Jobs as one text, where their scheduler takes one.
pub fn together(target: Target, written: &[Written]) -> String {
    match target {
        Target::Slurm => slurm::together(written),
        Target::Kubernetes => kubernetes::together(written),
        Target::Sky | Target::Dstack => {
            written.iter().map(|job| job.text.as_str()).collect::<Vec<_>>().join("---\n")
        }
    }
}

fn check(target: Target, jobs: &Jobs) -> Result<(), JobsError> {
    let value = |flag, found: &str, expected| {
        Err(JobsError::Value { flag, found: printable(found), expected })
    };
    let is_path = |text: &str| {
        text.starts_with('/')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b))
    };
    if !is_path(&jobs.reports) {
        let expected = "a whole path of letters, digits and `/._-+@`, as batch systems read it";
        return value("--reports", &jobs.reports, expected);
    }
    // A line of its own could end the script that it stands in.
    let is_odd = |word: &&String| word.contains(char::is_control);
    if let Some(word) = jobs.command.iter().find(is_odd) {
        return value("CMD", word, "words without line ends or other control characters");
    }
    if is_odd(&&jobs.program) || jobs.program.is_empty() {
        return value("--program", &jobs.program, "a name without control characters");
    }
    for (flag, found) in [("--image", &jobs.image), ("--claim", &jobs.claim)] {
        if let Some(found) = found
            .as_ref()
            .filter(|text| text.is_empty() || text.contains(|c: char| c.is_control() || c == ' '))
        {
            return value(flag, found, "a name without spaces");
        }
    }
    match (target, &jobs.image, &jobs.claim) {
        (Target::Kubernetes, None, _) => Err(JobsError::Missing("--image", "image")),
        (Target::Kubernetes, _, None) => Err(JobsError::Missing("--claim", "directory in common")),
        _ => Ok(()),
    }
}

/// The words of a run: `vramplan fleet run` around the command.
fn words(kind: &KindDoc, jobs: &Jobs) -> Vec<String> {
    let gpu = kind.gpu.as_deref().unwrap_or_default();
    let own = ["fleet", "run", "--kind", &kind.id, "--reports", &jobs.reports, "--"];
    let command = jobs.command.iter().map(|word| word.replace("{gpu}", gpu));
    std::iter::once(jobs.program.clone()).chain(own.map(str::to_owned)).chain(command).collect()
}

/// The same as a shell reads it.
fn line(kind: &KindDoc, jobs: &Jobs) -> String {
    // Words that no shell takes were refused.
    let quoted =
        |word: &String| shell_word(word).map_or_else(String::new, std::borrow::Cow::into_owned);
    words(kind, jobs).iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
