//! Rows of a CSV file without quotes, by the names of their columns.

/// A row, with the header's names.
pub struct Row<'a> {
    names: Vec<&'a str>,
    cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// The cell of a column.
    pub fn text(&self, name: &str) -> &'a str {
        let column = self.names.iter().position(|known| *known == name);
        self.cells[column.unwrap_or_else(|| panic!("no column `{name}`"))]
    }

    /// Whether there is such a column.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// The number in a column.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap()
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
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    lines.map(move |line| Row { names: names.clone(), cells: line.split(',').collect() })
}
