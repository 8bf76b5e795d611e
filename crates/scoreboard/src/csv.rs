//! Rows of a CSV file, by the names of their columns.

use std::rc::Rc;
use std::str::FromStr;

use ::csv::StringRecord;
use anyhow::Context as _;

/// A row, with the header's names.
pub struct Row {
    names: Rc<StringRecord>,
    cells: StringRecord,
}

impl Row {
    /// The cell of a column.
    ///
    /// # Panics
    ///
    /// Without such a column: the fixture is at fault.
    pub fn text(&self, name: &str) -> &str {
        let column = self.names.iter().position(|known| known == name);
        &self.cells[column.unwrap_or_else(|| panic!("no column `{name}`"))]
    }

    /// The cells of several columns, as a key.
    pub fn texts<const N: usize>(&self, names: [&str; N]) -> [String; N] {
        names.map(|name| self.text(name).to_owned())
    }

    /// The value in a column.
    pub fn get<T: FromStr>(&self, name: &str) -> anyhow::Result<T> {
        let text = self.text(name);
        text.parse().ok().with_context(|| format!("`{name}` = `{text}` in {}", self.line()))
    }

    /// The value in a column; nothing where the cell is empty.
    pub fn maybe<T: FromStr>(&self, name: &str) -> anyhow::Result<Option<T>> {
        if self.text(name).is_empty() { Ok(None) } else { self.get(name).map(Some) }
    }

    /// Whether there is such a column.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// The number in a column.
    ///
    /// # Panics
    ///
    /// Where it is none: the fixture is at fault.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether a column says `1` or `on`.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), "1" | "on")
    }

    /// The row as it is written, for messages.
    pub fn line(&self) -> String {
        self.cells.iter().collect::<Vec<_>>().join(",")
    }
}

/// Every row of a file.
///
/// # Panics
///
/// Where the file is no CSV, or a row has more or fewer cells than the header: the fixture is at fault.
pub fn rows(file: &str) -> impl Iterator<Item = Row> {
    let mut reader = ::csv::Reader::from_reader(file.as_bytes());
    let names = reader.headers().unwrap_or_else(|error| panic!("{error}")).clone();
    let names = Rc::new(names);
    reader.into_records().map(move |cells| Row {
        names: Rc::clone(&names),
        cells: cells.unwrap_or_else(|error| panic!("{error}")),
    })
}
