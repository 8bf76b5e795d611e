//! A plan for people and for programs. Every format is made from one [`Document`].

mod compare;
mod devices;
mod document;
mod drift;
mod emit;
mod explain;
mod html;
mod json;
mod markdown;
mod matrix;
mod svg;
mod sweep;
mod table;
pub mod terminal;
mod toml;

use std::fmt;
use std::str::FromStr;

use crate::text::printable;

pub use compare::{ChangeDoc, CompareDoc, DifferenceDoc, SideDoc};
pub use devices::{DeviceComponentDoc, DeviceDoc, PartDoc};
pub use document::{
    AdviceDoc, BufferDoc, CapacityDoc, ComponentDoc, DeploymentDoc, Document, Lifetime, ModelDoc,
    PeakDoc, PhaseDoc, PoolDoc, RecommendationDoc, SCHEMA, SpeedDoc, TierDoc,
};
pub use drift::{FileReport, ScenarioReport, to_github, to_report};
pub use emit::{EmitError, Target, emit};
pub use explain::explain;
pub use html::to_html;
pub use json::{from_json, to_json};
pub use matrix::to_matrix;
pub use svg::to_svg;
pub use sweep::{CombinationDoc, SummaryDoc, SweepDoc};
pub use table::to_table;

/// A format of `vramplan budget`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal of 80 columns.
    #[default]
    Table,
    /// Schema `vramplan/plan/v2`.
    Json,
    /// The same document as TOML.
    Toml,
    /// Tables for a repository or an issue.
    Markdown,
    /// A picture: the stack of components against the card.
    Svg,
    /// One page with picture, tables, advice and sources.
    Html,
}

impl Format {
    /// Every format with its name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("table", Self::Table),
        ("json", Self::Json),
        ("toml", Self::Toml),
        ("markdown", Self::Markdown),
        ("svg", Self::Svg),
        ("html", Self::Html),
    ];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        Self::NAMES.iter().find(|(name, _)| *name == wanted).map(|(_, format)| *format).ok_or_else(
            || {
                format!(
                    "`{}` is no format: expected `table`, `json`, `toml`, `markdown`, `svg` or `html`",
 printable(text)
                )
            },
        )
    }
}

/// Renders a document.
pub fn render(document: &Document, format: Format) -> Result<String, fmt::Error> {
    match format {
        Format::Table => Ok(to_table(document)),
        Format::Json => to_json(document).map_err(|_| fmt::Error),
        Format::Toml => toml::to_toml(document).map_err(|_| fmt::Error),
        Format::Markdown => Ok(markdown::to_markdown(document)),
        Format::Svg => Ok(to_svg(document)),
        Format::Html => Ok(to_html(document)),
    }
}
