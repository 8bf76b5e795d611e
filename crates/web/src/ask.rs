//! What is asked and answered, as JSON has it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vramplan_planner::deployment::{Origin, Question};
use vramplan_planner::render::Document;

use crate::{Given, Lists, Missing, Problem};

/// A request: a line of JSON, and behind its end for [`Ask::File`] the bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// What there is to choose from.
    Lists {},
    /// The flags of a command line as a question.
    Flags {
        /// The line.
        line: String,
    },
    /// A plan with all that the page shows of it.
    Plan {
        /// What is to be planned.
        question: Given,
    },
    /// What of a plan follows a slider: no sizes, no advice.
    Outline {
        /// What is to be planned.
        question: Given,
    },
    /// A plan as the command prints it.
    Print {
        /// What is to be planned.
        question: Given,
        /// A format of `budget`: `table`, `json`, `toml`, `markdown`, `svg`, `html`.
        format: String,
    },
    /// A plan as settings of the programs that take it.
    Settings {
        /// What is to be planned.
        question: Given,
    },
    /// Two plans, side by side.
    Compare {
        /// What is.
        current: Given,
        /// What is proposed.
        proposed: Given,
    },
    /// What fits where.
    Sweep {
        /// What is to be planned, but for cards and weights.
        question: Given,
        /// Cards.
        gpus: Vec<String>,
        /// Formats of weights.
        weights: Vec<String>,
    },
    /// More of a file, which stands behind the request's first line.
    File {
        /// Its path.
        path: String,
        /// Bytes of all of it.
        size: u64,
        /// Where in it these are.
        from: u64,
    },
    /// A model's files under another name.
    Alias {
        /// The name that questions give.
        name: String,
        /// The file or folder that it is.
        path: String,
        /// Where it is from.
        origin: Option<Origin>,
    },
    /// Every file and name that was handed over is forgotten.
    Forget {},
}

/// What an answer is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What was asked for.
    Ok(Box<Body>),
    /// More of a file is needed: hand it over, and ask again.
    Needs(Missing),
    /// There is none.
    Error(Problem),
}

/// What was asked for.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// Nothing.
    Done {},
    /// To [`Ask::Lists`].
    Lists(Lists),
    /// To [`Ask::Flags`].
    Flags(Given),
    /// To [`Ask::Plan`] and [`Ask::Outline`].
    Plan(Box<Planned>),
    /// To [`Ask::Print`].
    Text {
        /// As the command prints it.
        text: String,
    },
    /// To [`Ask::Settings`].
    Settings(Vec<Settings>),
    /// To [`Ask::Compare`] and [`Ask::Sweep`]: the command's own JSON.
    Json(Box<RawValue>),
}

/// A plan, and what the page needs beside it.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The plan, as `budget --json` has it.
    pub document: Document,
    /// The question with its defaults left out: what the command asks.
    pub question: Question,
    /// The first lines of the command's answer.
    pub heading: String,
    /// The command that asks the same; nothing where no shell can be told a name in it.
    pub command: Option<String>,
    /// Whether sizes and advice are still to come.
    pub is_outline: bool,
    /// For each piece of advice what it would change, where flags can say it.
    pub changes: Vec<Option<Given>>,
}

/// A plan as a program's settings.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The program.
    pub target: &'static str,
    /// The settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
