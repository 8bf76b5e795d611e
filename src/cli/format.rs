//! `--format`: which formats a command's answer has, and printing it in one.

use super::screen::fitted;
use anyhow::Context as _;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use vramplan_planner::render::{Format, Printers};

/// Takes the names of the formats that these printers print.
pub fn one_of<D, E>(printers: &'static Printers<D, E>) -> impl TypedValueParser<Value = Format>
where
    D: 'static,
    E: 'static,
{
    let value = |format: Format| PossibleValue::new(format.name()).help(format.about());
    let values = PossibleValuesParser::new(printers.formats().map(value));
    values.try_map(|name| {
        let found = printers.formats().find(|format| format.name() == name);
        found.ok_or_else(|| format!("unknown format `{name}`"))
    })
}

/// The format of `--format`, or of `--json`, which is short for one of them.
pub fn chosen(format: Format, json: bool) -> Format {
    if json { Format::Json } else { format }
}

/// Prints an answer in a format that [`one_of`] took; what is for people fits the screen.
pub fn print<D, E>(printers: &Printers<D, E>, answer: &D, format: Format) -> anyhow::Result<String>
where
    E: Into<anyhow::Error>,
{
    let text = printers.print(answer, format);
    let text = text.with_context(|| format!("there is no `{format}` of this"))?;
    let text = text.map_err(Into::into)?;
    Ok(if matches!(format, Format::Table | Format::Text) { fitted(&text) } else { text })
}
