//! The mark that a job of a fleet leaves: that it was begun, and how it ended.

use serde::{Deserialize, Serialize};

use crate::evidence;
use crate::text::{printable, printable_message};

/// The name and version of the schema.
pub const JOB_SCHEMA: &str = "vramplan/fleet-job/v1";

/// How far a job came. The later ones are further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It was begun, and did not come to say how it ended: killed, out of main memory, its node lost; or it runs.
    Begun,
    /// It failed.
    Failed,
    /// It ended well.
    Done,
}

/// What a job says of itself. What is later, or came further, counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JobMark {
    /// `vramplan/fleet-job/v1`.
    pub schema: String,
    /// The kind of card, by the plan's name for it.
    pub kind: String,
    /// Which of the kind's jobs.
    pub index: u64,
    /// How far it came.
    pub state: JobState,
    /// How often it was begun.
    pub tries: u64,
    /// When it was last begun, in UTC.
    pub begun: String,
    /// The exit code of a command that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The scheduler's number of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

impl JobMark {
    /// Reads a mark.
    ///
    /// # Errors
    /// Where it is none, or says what no mark says.
    pub fn read(text: &str) -> Result<Self, String> {
        let mark: Self =
            serde_json::from_str(text).map_err(|error| printable_message(&error.to_string()))?;
        if mark.schema != JOB_SCHEMA {
            return Err(format!("schema `{}`: expected `{JOB_SCHEMA}`", printable(&mark.schema)));
        }
        if !is_kind(&mark.kind) {
            return Err(format!("`kind` = `{}`: expected a plan's name", printable(&mark.kind)));
        }
        if evidence::date(&mark.begun).is_none() {
            return Err(format!("`begun` = `{}`: expected a date", printable(&mark.begun)));
        }
        match mark.job.as_deref().map(evidence::job) {
            Some(None) => Err("`job`: expected the number of a job".to_owned()),
            _ => Ok(mark),
        }
    }

    /// What marks of one job are known by.
    pub fn key(&self) -> (String, u64) {
        (self.kind.clone(), self.index)
    }

    /// Orders marks of one job: the later one counts, of one try that which came further.
    pub fn progress(&self) -> (bool, u64, &str, JobState, &Self) {
        (self.state == JobState::Done, self.tries, &self.begun, self.state, self)
    }

    /// How it ended, in words.
    pub fn words(&self) -> String {
        let tries = match self.tries {
            0 | 1 => String::new(),
            tries => format!(", try {tries}"),
        };
        let how = match (self.state, self.code, self.signal) {
            (JobState::Done, ..) => "done".to_owned(),
            (JobState::Begun, ..) => {
                "begun and not ended: killed, out of memory, its node lost, or still running"
                    .to_owned()
            }
            (_, _, Some(signal)) => format!("ended by signal {signal}"),
            (_, Some(code), _) => format!("failed with exit code {code}"),
            _ => "failed".to_owned(),
        };
        how + &tries
    }
}

/// Whether a text is a name of a kind: what is safe in names of jobs, files and labels.
pub fn is_kind(text: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=50).contains(&text.len())
        && text.bytes().all(is_safe)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
