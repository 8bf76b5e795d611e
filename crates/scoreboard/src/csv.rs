//! Rows of a CSV file without quotes, by the names of their columns.

use std::str::FromStr;

use anyhow::Context as _;

/// A row, with the header's names.
pub struct Row<'a> {
    names: Vec<&'a str>,
    cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// The cell of a column.
    ///
    /// # Panics
    ///
    /// Without such a column: the fixture is at fault.
    pub fn text(&self, name: &str) -> &'a str {
        let column = self.names.iter().position(|known| *known == name);
        self.cells[column.unwrap_or_else(|| panic!("no column `{name}`"))]
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
        self.names.contains(&name)
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
        self.cells.join(",")
    }
}

/// Every row of a file.
pub fn rows(file: &str) -> impl Iterator<Item = Row<'_>> {
    let mut lines = file.lines();
    let names: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
    lines.map(move |line| Row { names: names.clone(), cells: line.split(',').collect() })
}
