//! A plan for people and for programs. Every format is made from one [`Document`].

mod compare;
mod devices;
mod document;
mod drift;
mod emit;
mod explain;
mod format;
mod html;
mod json;
mod markdown;
mod matrix;
mod outcome;
mod placement;
mod plan_text;
mod pool_text;
mod quants;
mod svg;
mod sweep;
mod sweep_page;
pub mod terminal;
mod toml;
mod verdict;
mod why;

use std::fmt;

pub use compare::{ChangeDoc, CompareDoc, DifferenceDoc, SideDoc};
pub use devices::{DeviceComponentDoc, DeviceDoc, PartDoc};
pub use document::{
    AdviceDoc, BufferDoc, CapacityDoc, ComponentDoc, DeploymentDoc, Document, Lifetime, ModelDoc,
    PeakDoc, PhaseDoc, PoolDoc, RecommendationDoc, SCHEMA, SpeedDoc, TierDoc,
};
pub use drift::{
    FileReport, ScenarioReport, to_github, to_gitlab, to_markdown as drift_to_markdown, to_report,
};
pub use emit::{EmitError, Target, emit};
pub use explain::explain;
pub use format::{Format, Printer, Printers};
pub use html::to_html;
pub use json::{from_json, to_json};
pub use matrix::to_matrix;
pub use outcome::Outcome;
pub use placement::{PlacementDoc, TradeDoc};
pub use plan_text::{answer_alone, heading, to_table, to_table_on};
pub use quants::{Candidate, QuantDoc, QuantResult, QuantsDoc};
pub use svg::{colour, to_svg};
pub use sweep::{CombinationDoc, SummaryDoc, SweepDoc};
pub use sweep_page::{sweep_to_html, sweep_to_markdown};
pub use verdict::verdict_words;
pub use why::{SCHEMA as WHY_SCHEMA, WHY, WhyDoc};

/// The formats of a plan.
pub const PLAN: Printers<Document, fmt::Error> = Printers(&[
    (Format::Table, |document| Ok(to_table(document))),
    (Format::Json, |document| to_json(document).map_err(|_| fmt::Error)),
    (Format::Toml, |document| toml::to_toml(document).map_err(|_| fmt::Error)),
    (Format::Markdown, |document| Ok(markdown::to_markdown(document))),
    (Format::Svg, |document| Ok(to_svg(document))),
    (Format::Html, |document| Ok(to_html(document))),
]);
