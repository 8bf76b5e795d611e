//! A recording: what happened and what was held, one JSON object a line.
//!
//! ```text
//! {"type":"header","schema":"vramplan/recording/v1","tool":"vramplan 0.1.0",…}
//! {"type":"sample","t":812,"used":1073741824}
//! {"type":"started","t":50311,"taken":97}
//! {"type":"phase","t":61200,"name":"load","by":"pipe","taken":118}
//! {"type":"exit","t":902133,"taken":1761,"code":0}
//! {"type":"end","t":1002133,"taken":1958}
//! ```
//!
//! Times are microseconds since sampling began. A sample stands for all that follow it until the next
//! one: only changes are written. `taken` is the number of readings so far. A recording that was cut
//! off is valid up to its last whole line.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

use serde::{Deserialize, Serialize};

use super::meter::{Device, Holder};
use super::planned::PlannedRun;
use vramplan_planner::estimate::Component;

use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// The name and version of the format.
pub const SCHEMA: &str = "vramplan/recording/v1";

/// A line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Header(Box<Header>),
    /// What is held from here on.
    Sample(Sample),
    /// The command was started.
    Started {
        /// When, in µs.
        t: u64,
        /// Readings so far.
        taken: u64,
    },
    /// A phase begins, and the one before it ends.
    Phase {
        /// When, in µs.
        t: u64,
        /// Its name; none where a phase ends and no other begins.
        name: Option<String>,
        /// What said so.
        by: By,
        /// Readings so far.
        taken: u64,
    },
    /// The program says what a part of it holds.
    Holds {
        /// When, in µs.
        t: u64,
        /// Which part.
        component: Component,
        /// How much.
        bytes: Bytes,
    },
    /// The program says something else about itself that can be counted, such as its allocator's pool.
    Counter {
        /// When, in µs.
        t: u64,
        /// What.
        name: String,
        /// How much.
        value: u64,
    },
    /// A reading failed.
    Gap {
        /// When, in µs.
        t: u64,
        /// What the meter said.
        error: String,
    },
    /// The command ended.
    Exit(Exit),
    /// Sampling ended.
    End(End),
}

/// The first line: what was measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// `vramplan/recording/v1`.
    pub schema: String,
    /// The name and version of what wrote it.
    pub tool: String,
    /// When, in UTC.
    pub started: String,
    /// What was measured.
    pub device: Device,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// What the run was planned to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlannedRun>,
    /// What else was told about the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// What is held from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in µs.
    pub t: u64,
    /// What the meter read, in bytes.
    pub used: Bytes,
    /// Who holds it, where that was asked anew and is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<Holder>>,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When, in µs.
    pub t: u64,
    /// Readings so far.
    pub taken: u64,
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// How a recording ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When, in µs.
    pub t: u64,
    /// Readings in all.
    pub taken: u64,
    /// A line of the command's output that says that memory ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_text: Option<String>,
    /// Processes that the kernel killed for want of memory meanwhile, on the whole machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Processes of the tree that outlived the command and were ended.
    #[serde(default)]
    pub left: u64,
    /// What was wrong with what the run said about itself, or with the run; the supervisor's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<String>,
}

impl Exit {
    /// Whether the command failed.
    pub fn failed(&self) -> bool {
        self.code != Some(0)
    }
}

/// What said that a phase begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The program, through its pipe.
    Pipe,
    /// A line of its output.
    Output,
    /// The clock.
    Time,
    /// What the program called: the card's functions, or those of a library.
    Calls,
}

/// A word of a command as it is shown: on one line, safe to print.
pub fn shown(word: &str) -> String {
    printable(&word.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Why a text is no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// It has no header.
    #[error("line 1 is not the header of a recording: expected `\"schema\": \"{SCHEMA}\"`")]
    NoHeader,
    /// A line in the middle is not one of a recording.
    #[error("line {line} is not a line of a recording: {message}")]
    Malformed {
        /// Which, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// Time runs backwards.
    #[error("line {line}: the time {t} µs is before that of the line above it")]
    Backwards {
        /// Which, from 1.
        line: usize,
        /// Its time.
        t: u64,
    },
    /// Too long.
    #[error("line {line} is longer than {most} bytes")]
    TooLong {
        /// Which, from 1.
        line: usize,
        /// What is taken.
        most: usize,
    },
    /// It is no text.
    #[error("line {line} is not UTF-8")]
    NotText {
        /// Which, from 1.
        line: usize,
    },
    /// Too long as a whole.
    #[error("it is larger than {most} bytes")]
    TooLarge {
        /// What is taken.
        most: u64,
    },
    /// It cannot be read on.
    #[error("line {line} cannot be read: {message}")]
    Unreadable {
        /// Which, from 1.
        line: usize,
        /// What the system said.
        message: String,
    },
}

/// The longest line that is read.
const LONGEST: usize = 1 << 20;
/// The largest recording that is read, in bytes.
pub const MOST: u64 = 512 << 20;

/// The events of a recording. The last line may have been cut off.
pub fn parse(text: &str) -> Result<Vec<Event>, RecordingError> {
    read(text.as_bytes())
}

/// The events of a recording, read line by line: what is none is refused by its first line, however much
/// of it there is.
///
/// # Errors
/// Where it is no recording, is larger than [`MOST`], or cannot be read.
pub fn read(mut from: impl BufRead) -> Result<Vec<Event>, RecordingError> {
    let mut reader = Reader::default();
    let mut size = 0;
    for number in 1.. {
        let mut line = Vec::new();
        // One more than the longest line with its end, to tell a longer one by.
        let most = LONGEST as u64 + 3;
        from.by_ref().take(most).read_until(b'\n', &mut line).map_err(|error| {
            let message = printable(&error.to_string());
            RecordingError::Unreadable { line: number, message }
        })?;
        size += line.len() as u64;
        if size > MOST {
            return Err(RecordingError::TooLarge { most: MOST });
        }
        if line.is_empty() || !reader.take(number, &line)? {
            break;
        }
    }
    reader.finish()
}

/// The lines of a recording that were read so far.
#[derive(Default)]
struct Reader {
    events: Vec<Event>,
    latest: u64,
}

impl Reader {
    /// Takes the next line, its end included; whether another may follow.
    fn take(&mut self, number: usize, line: &[u8]) -> Result<bool, RecordingError> {
        let whole = line.ends_with(b"\n");
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LONGEST {
            return Err(RecordingError::TooLong { line: number, most: LONGEST });
        }
        let line = match std::str::from_utf8(line) {
            Ok(line) => line,
            // It was cut off within a character.
            Err(_) if !whole && number > 1 => return Ok(false),
            Err(_) => return Err(RecordingError::NotText { line: number }),
        };
        match serde_json::from_str::<Event>(line) {
            Ok(event) if self.events.is_empty() != matches!(event, Event::Header(_)) => {
                Err(misplaced(number))
            }
            Ok(event) if event.time() < self.latest => {
                Err(RecordingError::Backwards { line: number, t: event.time() })
            }
            Ok(event) => {
                self.latest = event.time();
                self.events.push(event.cleaned());
                Ok(true)
            }
            Err(_) if number == 1 => Err(RecordingError::NoHeader),
            // It was cut off.
            Err(_) if !whole => Ok(false),
            Err(error) => {
                let message = printable(&error.to_string());
                Err(RecordingError::Malformed { line: number, message })
            }
        }
    }

    fn finish(self) -> Result<Vec<Event>, RecordingError> {
        match self.events.first() {
            Some(Event::Header(header)) if header.schema == SCHEMA => Ok(self.events),
            _ => Err(RecordingError::NoHeader),
        }
    }
}

fn misplaced(line: usize) -> RecordingError {
    if line == 1 {
        return RecordingError::NoHeader;
    }
    RecordingError::Malformed { line, message: "a second header".to_owned() }
}

impl Event {
    /// When it happened, in µs; a header is at the start.
    pub const fn time(&self) -> u64 {
        match self {
            Self::Header(_) => 0,
            Self::Sample(sample) => sample.t,
            Self::Exit(exit) => exit.t,
            Self::End(end) => end.t,
            Self::Started { t, .. }
            | Self::Phase { t, .. }
            | Self::Holds { t, .. }
            | Self::Counter { t, .. }
            | Self::Gap { t, .. } => *t,
        }
    }

    /// The same with every text made safe to print.
    fn cleaned(self) -> Self {
        match self {
            Self::Header(mut header) => {
                let device = &mut header.device;
                device.name = printable(&device.name);
                device.uuid = device.uuid.as_deref().map(printable);
                device.driver = device.driver.as_deref().map(printable);
                header.tool = printable(&header.tool);
                header.started = printable(&header.started);
                header.command = header.command.iter().map(|word| shown(word)).collect();
                let clean = |(key, value): (&String, &String)| (printable(key), printable(value));
                header.notes = header.notes.iter().map(clean).collect();
                header.plan = header.plan.map(PlannedRun::cleaned);
                Self::Header(header)
            }
            Self::Phase { t, name, by, taken } => {
                Self::Phase { t, name: name.as_deref().map(printable), by, taken }
            }
            Self::Counter { t, name, value } => Self::Counter { t, name: printable(&name), value },
            Self::Gap { t, error } => Self::Gap { t, error: printable(&error) },
            Self::End(end) => Self::End(End {
                oom_text: end.oom_text.as_deref().map(printable),
                complaints: end.complaints.iter().map(|text| printable(text)).collect(),
                ..end
            }),
            other => other,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::calibrate::meter::MeterKind;

    /// A header for synthetic recordings.
    pub fn header(meter: MeterKind) -> Event {
        Event::Header(Box::new(Header {
            schema: SCHEMA.to_owned(),
            tool: "test".to_owned(),
            started: "1970-01-01T00:00:00Z".to_owned(),
            device: Device {
                meter,
                name: "mock".to_owned(),
                uuid: None,
                total: Some(Bytes::GIB),
                reserved: None,
                driver: None,
            },
            command: vec!["true".to_owned()],
            plan: None,
            notes: BTreeMap::new(),
        }))
    }

    fn text(events: &[Event]) -> String {
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let events = [
            header(MeterKind::Mock),
            Event::Sample(Sample { t: 1, used: Bytes::MIB, holders: None }),
            Event::Started { t: 2, taken: 1 },
            Event::Phase { t: 3, name: Some("load".to_owned()), by: By::Pipe, taken: 2 },
            Event::Exit(Exit { t: 4, taken: 3, code: Some(0), signal: None }),
            Event::End(End { t: 5, taken: 4, ..End::default() }),
        ];
        assert_eq!(parse(&text(&events)).unwrap(), events);
    }

    #[test]
    fn a_recording_that_was_cut_off_is_valid() {
        let events = [header(MeterKind::Mock), Event::Started { t: 2, taken: 1 }];
        let whole = text(&events);
        assert_eq!(parse(&whole[..whole.len() - 9]).unwrap(), events[..1]);
    }

    #[test]
    fn what_is_no_recording_is_refused_by_its_line() {
        assert_eq!(parse(""), Err(RecordingError::NoHeader));
        assert_eq!(
            parse("{\"type\":\"end\",\"t\":0,\"taken\":0}\n"),
            Err(RecordingError::NoHeader)
        );
        let head = text(&[header(MeterKind::Mock)]);
        let message = |more: &str| parse(&format!("{head}{more}\n")).unwrap_err().to_string();
        assert!(message("garbage").starts_with("line 2 is not a line of a recording"));
        assert!(message(&head).contains("a second header"));
        let at = |t| Event::Started { t, taken: 0 };
        assert_eq!(
            message(&text(&[at(9), at(8)])),
            "line 3: the time 8 µs is before that of the line above it"
        );
        let other = head.replace(SCHEMA, "vramplan/recording/v9");
        assert_eq!(parse(&other), Err(RecordingError::NoHeader));
    }

    #[test]
    fn what_has_no_end_is_refused_by_its_first_line() {
        let endless = std::io::BufReader::new(std::io::repeat(0));
        assert_eq!(read(endless), Err(RecordingError::TooLong { line: 1, most: LONGEST }));
        let head = text(&[header(MeterKind::Mock)]);
        let then = std::io::repeat(b'x');
        let endless = std::io::BufReader::new(head.as_bytes().chain(then));
        assert_eq!(read(endless), Err(RecordingError::TooLong { line: 2, most: LONGEST }));
        let blank = |size: usize| parse(&format!("{head}{}\n", " ".repeat(size)));
        assert!(matches!(blank(LONGEST), Err(RecordingError::Malformed { line: 2, .. })));
        assert!(matches!(blank(LONGEST + 1), Err(RecordingError::TooLong { line: 2, .. })));
    }

    #[test]
    fn hostile_names_are_made_safe() {
        let phase =
            Event::Phase { t: 1, name: Some("\u{1b}[2J".to_owned()), by: By::Output, taken: 0 };
        let events = parse(&text(&[header(MeterKind::Mock), phase])).unwrap();
        let Event::Phase { name: Some(name), .. } = &events[1] else { panic!("no phase") };
        assert_eq!(name, "\\u{1b}[2J");
    }
}
