//! What jobs brought, put together: the order does not matter, nothing counts twice, and nothing that was known is lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::job::{JobMark, JobState};
use crate::evidence::{Book, Digest, Group, Record, summarise};

/// The name and version of the schema.
pub const MERGED_SCHEMA: &str = "vramplan/fleet/v1";

/// Records and marks of jobs, each once, and what could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    records: BTreeMap<Digest, Record>,
    jobs: BTreeMap<(String, u64), JobMark>,
    refused: BTreeMap<String, String>,
}

/// What could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefusedDoc {
    /// The file, and the line of one of several records.
    pub file: String,
    /// Why.
    pub why: String,
}

/// What jobs brought, for programs: schema `vramplan/fleet/v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MergedDoc {
    /// `vramplan/fleet/v1`.
    pub schema: String,
    /// Records, each once.
    pub records: u64,
    /// What they say together.
    pub groups: Vec<Group>,
    /// Jobs that ended well.
    pub done: u64,
    /// Jobs that did not: their figures are in no median.
    pub failed: Vec<JobMark>,
    /// Files that could not be read.
    pub refused: Vec<RefusedDoc>,
}

impl Merged {
    /// Adds a record.
    pub fn record(&mut self, record: Record) {
        self.records.insert(record.id(), record);
    }

    /// Adds the mark of a job.
    pub fn job(&mut self, mark: JobMark) {
        let kept = self.jobs.entry(mark.key()).or_insert_with(|| mark.clone());
        if mark.progress() > kept.progress() {
            *kept = mark;
        }
    }

    /// A file that could not be read.
    pub fn refuse(&mut self, file: String, why: String) {
        let kept = self.refused.entry(file).or_insert_with(|| why.clone());
        if why > *kept {
            *kept = why;
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { records, jobs, refused } = other;
        for record in records.into_values() {
            self.record(record);
        }
        for mark in jobs.into_values() {
            self.job(mark);
        }
        for (file, why) in refused {
            self.refuse(file, why);
        }
        self
    }

    /// The records, by what they are known by.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The records, to be planned with.
    pub fn book(&self) -> Book {
        Book::new(self.records.values().cloned())
    }

    /// One record a line, sorted by what they are known by: what merging it again gives.
    pub fn to_lines(&self) -> String {
        self.records.values().map(|record| record.to_line() + "\n").collect()
    }

    /// What it says.
    pub fn document(&self) -> MergedDoc {
        let done = self.jobs.values().filter(|mark| mark.state == JobState::Done).count();
        let failed = self.jobs.values().filter(|mark| mark.state != JobState::Done);
        let refused =
            |(file, why): (&String, &String)| RefusedDoc { file: file.clone(), why: why.clone() };
        MergedDoc {
            schema: MERGED_SCHEMA.to_owned(),
            records: self.records.len() as u64,
            groups: summarise(self.records.values()),
            done: done as u64,
            failed: failed.cloned().collect(),
            refused: self.refused.iter().map(refused).collect(),
        }
    }
}
