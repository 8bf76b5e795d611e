//! Reading records, which come from strangers.

use serde::Deserialize;

use super::record::{Record, SCHEMA, TermDoc};
use super::scrub::{card_of, scrub};
use super::words;
use crate::deployment::MOST_GPUS;
use crate::spec::LARGEST_MEMORY;
use crate::text::{printable, printable_message};

/// The longest record, in bytes of its JSON.
pub const MOST_RECORD: u64 = 64 << 10;
/// The longest file of several records, one a line.
pub const MOST_LINES: u64 = 64 << 20;

/// Most terms of a record.
const MOST_TERMS: usize = 256;

/// Why something is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is longer than records are.
    #[error("it is {length} B long: a record has at most {MOST_RECORD} B")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// It is no JSON, or not of this form.
    #[error("{0}")]
    Form(String),
    /// It is of another schema, or of a later version.
    #[error("schema `{found}`: expected `{SCHEMA}`")]
    Schema {
        /// What it says.
        found: String,
    },
    /// A value is none that records hold.
    #[error("`{field}` = `{found}`: expected {expected}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it says, safe to print.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
}

#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

/// Reads one record.
///
/// # Errors
/// Where it is too long, is no JSON of the schema, or holds what no record may: a name, a path, a size that no machine
/// has.
pub fn one(text: &str) -> Result<Record, RecordError> {
    if text.len() as u64 > MOST_RECORD {
        return Err(RecordError::TooLong { length: text.len() });
    }
    let head: Head = parsed(text)?;
    match head.schema.as_deref() {
        Some(SCHEMA) => {}
        found => {
            let found = printable(found.unwrap_or("none"));
            return Err(RecordError::Schema { found });
        }
    }
    let record: Record = parsed(text)?;
    check(&record)?;
    Ok(record)
}

/// Reads records, one a line; each line that is none, by its number.
pub fn several(text: &str) -> Vec<(u64, Result<Record, RecordError>)> {
    let lines = (1..).zip(text.lines());
    lines.filter(|(_, line)| !line.trim().is_empty()).map(|(at, line)| (at, one(line))).collect()
}

fn parsed<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, RecordError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = serde_path_to_error::deserialize(&mut json);
    let wrong = |error: String| RecordError::Form(printable_message(&error));
    let found = found.map_err(|error| wrong(error.to_string()))?;
    json.end().map_err(|error| wrong(error.to_string()))?;
    Ok(found)
}

/// Refuses what no record may hold.
fn check(record: &Record) -> Result<(), RecordError> {
    let value = |field, found: &dyn std::fmt::Display, expected| {
        let found = printable(&found.to_string());
        Err(RecordError::Value { field, found, expected })
    };
    if let Some(date) = record.date.as_deref().filter(|date| words::date(date).is_none()) {
        return value("date", &date, "a date such as `2026-03-01T12:00:00Z`");
    }
    if let Some(thread) = record.thread.as_deref().filter(|text| words::thread(text).is_none()) {
        return value("thread", &thread, "the address of an issue, a pull request or a discussion");
    }
    if let Some(version) = &record.engine.version
        && words::version(version).as_ref() != Some(version)
    {
        return value("engine.version", version, "numbers, such as `0.11.2` or `b8193`");
    }
    if let Some(driver) = &record.driver
        && words::driver(driver).as_ref() != Some(driver)
    {
        return value("driver", driver, "numbers, such as `550.54.15`");
    }
    if let Some(job) = record.job.as_deref().filter(|job| words::job(job) != Some(*job)) {
        return value("job", &job, "the number of a job, such as `4711_3`");
    }
    let card = &record.card;
    if card_of(&card.name, None).as_ref() != Some(&card.name) {
        return value("card.name", &card.name, "the name of a built-in profile, or a size in MiB");
    }
    if !(1..=MOST_GPUS).contains(&card.count) {
        return value("card.count", &card.count, "1 to 64");
    }
    let scrubbed = scrub(&record.deployment);
    if scrubbed.deployment != record.deployment {
        let found = scrubbed.left_out.iter().next();
        let found = found.map_or_else(|| "a name".to_owned(), |what| format!("{what:?}"));
        return value(
            "deployment",
            &found,
            "profiles' own names, and no files, patterns or builds",
        );
    }
    if record.terms.is_empty() || record.terms.len() > MOST_TERMS {
        return value("terms", &record.terms.len(), "1 to 256 of them");
    }
    let too_large = |term: &&TermDoc| term.size.max(term.within) > LARGEST_MEMORY;
    match record.terms.iter().find(too_large) {
        Some(term) => value("terms.size", &term.size, "a size that a machine has"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::*;
    use super::*;
    use crate::deployment::Question;
    use crate::spec::Runtime;
    use crate::units::Bytes;

    pub fn record() -> Record {
        Record {
            schema: SCHEMA.to_owned(),
            how: How::Log,
            date: Some("2026-03-01T12:00:00Z".to_owned()),
            thread: None,
            ended: Ended::Well,
            engine: EngineDoc { runtime: Runtime::Vllm, version: Some("0.11.2".to_owned()) },
            card: CardDoc { name: "L4".to_owned(), total: None, count: 1 },
            driver: Some("550.54.15".to_owned()),
            deployment: Question { batch: Some(2), ..Question::default() },
            left_out: [LeftOut::Model].into(),
            terms: vec![TermDoc {
                term: TermId::NonTorch,
                size: Bytes::new(100 << 20),
                within: Bytes::new(5 << 20),
                at: Where::CardOf(1),
                read: ReadIn::Log,
                line: Some(7),
            }],
            host: Some(Digest::of("host", b"a")),
            gpu: None,
            job: Some("4711_3".to_owned()),
        }
    }

    use super::super::Digest;

    #[test]
    fn what_is_written_is_read() {
        let record = record();
        assert_eq!(one(&record.to_line()), Ok(record.clone()));
        let pretty = serde_json::to_string_pretty(&record).unwrap();
        assert_eq!(one(&pretty).unwrap().id(), record.id());
    }

    #[test]
    fn nothing_that_names_somebody_is_read() {
        let good = record().to_line();
        for (from, to, field) in [
            ("2026-03-01T12:00:00Z", "alice", "date"),
            ("\"how\"", "\"thread\":\"https://alice.example/\",\"how\"", "thread"),
            ("0.11.2", "0.11.2-alice", "engine.version"),
            ("550.54.15", "alice", "driver"),
            ("4711_3", "alice-job", "job"),
            ("\"L4\"", "\"Alice 9000\"", "card.name"),
            ("\"L4\"", "\"nvidia l4\"", "card.name"),
            ("\"batch\":2", "\"model\":\"/home/alice/m.gguf\"", "deployment"),
            ("\"batch\":2", "\"model\":\"alice/qwen2.5-14b\"", "deployment"),
            ("\"batch\":2", "\"lora\":[\"/home/alice/l\"]", "deployment"),
            ("\"count\":1", "\"count\":65", "card.count"),
            ("104857600", "1125899906842625", "terms.size"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            match one(&text) {
                Err(RecordError::Value { field: found, .. }) => assert_eq!(found, field, "{to}"),
                other => panic!("{to}: {other:?}"),
            }
        }
        for (from, to) in [
            ("\"how\"", "\"user\":\"alice\",\"how\""),
            ("\"batch\":2", "\"prompt\":\"alice\""),
            ("\"read\":\"log\"", "\"read\":\"/home/alice\""),
            ("\"left_out\":[\"model\"]", "\"left_out\":[\"alice\"]"),
            ("\"how\":\"log\"", "\"how\":\"log\",\"how\":\"log\""),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            assert!(matches!(one(&text), Err(RecordError::Form(_))), "{to}");
        }
        let digest = Digest::of("host", b"a").to_string();
        assert!(one(&good.replacen(&digest, "alice", 1)).is_err());
    }

    #[test]
    fn what_is_no_record_says_why() {
        for (text, part) in [
            ("", "EOF"),
            ("{}", "schema `none`"),
            ("{\"schema\": \"vramplan/evidence/v2\"}", "expected `vramplan/evidence/v1`"),
            ("{\"schema\": \"vramplan/evidence/v1\"}", "missing field"),
            ("[1,2", "invalid type"),
        ] {
            let error = one(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = format!("{{\"schema\": \"{}\"}}", "x".repeat(70_000));
        assert!(matches!(one(&long), Err(RecordError::TooLong { .. })));
        let deep = "[".repeat(60_000);
        assert!(one(&deep).is_err());
        let mixed = format!("{}\n\nnot json\n{}\n", record().to_line(), record().to_line());
        let found: Vec<_> = several(&mixed).into_iter().map(|(at, r)| (at, r.is_ok())).collect();
        assert_eq!(found, [(1, true), (3, false), (4, true)]);
    }
}
