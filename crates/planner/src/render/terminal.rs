//! How text is laid out on a terminal: tables, ranges, wrapped lines.

use comfy_table::{CellAlignment, Table, presets};

use crate::spec::Bounds;

/// Columns of a terminal of which nothing is known.
pub const WIDTH: usize = 80;

/// A table without lines, whose columns numbered in `right` are aligned there.
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The lines of a table, without trailing spaces.
pub fn finish(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A table that leaves out columns where a screen is too narrow for all.
pub struct Rows<'a> {
    header: Vec<&'a str>,
    right: &'a [usize],
    dropped_first: Vec<Vec<usize>>,
    cells: Vec<Vec<String>>,
}

impl<'a> Rows<'a> {
    /// A table without rows, whose columns numbered in `right` are aligned there.
    pub fn new(header: &[&'a str], right: &'a [usize]) -> Self {
        Self { header: header.to_vec(), right, dropped_first: Vec::new(), cells: Vec::new() }
    }

    /// The columns that are left out where there is no room, the first of them first; those that say nothing without each
    /// other go together.
    pub fn dropping(self, columns: &[&[usize]]) -> Self {
        Self { dropped_first: columns.iter().map(|group| group.to_vec()).collect(), ..self }
    }

    /// Adds a row.
    pub fn add_row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.cells.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The lines of the table, none wider than `width`: columns are left out, and at last cells are cut, with an ellipsis.
    pub fn finish(&self, width: usize) -> String {
        let mut shown: Vec<usize> = (0..self.header.len()).collect();
        let mut droppable = self.dropped_first.iter();
        loop {
            let text = self.of_columns(&shown);
            let widest = text.lines().map(columns_of).max().unwrap_or(0);
            if widest <= width {
                return text;
            }
            match droppable.next() {
                Some(dropped) => shown.retain(|column| !dropped.contains(column)),
                None => return text.lines().map(|line| cut(line, width) + "\n").collect(),
            }
        }
    }

    fn of_columns(&self, shown: &[usize]) -> String {
        let header: Vec<&str> =
            shown.iter().filter_map(|&at| self.header.get(at).copied()).collect();
        let is_right = |place: &usize| shown.get(*place).is_some_and(|at| self.right.contains(at));
        let right: Vec<usize> = (0..shown.len()).filter(is_right).collect();
        let mut rows = table(&header, &right);
        for row in &self.cells {
            rows.add_row(shown.iter().map(|&at| row.get(at).cloned().unwrap_or_default()));
        }
        finish(&rows)
    }
}

/// Columns that a line takes on a terminal.
pub fn columns_of(line: &str) -> usize {
    textwrap::core::display_width(line)
}

/// A line of at most `width` columns, which ends in an ellipsis where it was cut.
pub fn cut(line: &str, width: usize) -> String {
    if columns_of(line) <= width {
        return line.to_owned();
    }
    let mut text = String::new();
    for letter in line.chars() {
        text.push(letter);
        if columns_of(&text) >= width {
            text.pop();
            break;
        }
    }
    text.trim_end().to_owned() + "…"
}

/// `8.1 – 8.6 GiB`, or nothing where there is no doubt.
pub fn range(bounds: Bounds) -> String {
    if bounds.low == bounds.high {
        return String::new();
    }
    let (low, high) = (bounds.low.to_string(), bounds.high.to_string());
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} – {high}"),
        _ => format!("{low} – {high}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn a_narrow_table_leaves_out_columns_and_cuts_at_last() {
        let mut rows = Rows::new(&["name", "size", "note"], &[1]).dropping(&[&[2]]);
        rows.add_row(["weights", "8.37 GiB", "exact"]);
        assert_eq!(rows.finish(80), "name         size  note\nweights  8.37 GiB  exact\n");
        assert_eq!(rows.finish(20), "name         size\nweights  8.37 GiB\n");
        assert_eq!(rows.finish(10), "name…\nweights…\n");
        assert_eq!(cut("模型模型", 5), "模型…");
    }

    #[test]
    fn ranges_share_their_unit() {
        let mib = |n| Bytes::mib(n).unwrap();
        assert_eq!(range(Bounds::new(mib(10), mib(11), mib(12))), "10.00 – 12.00 MiB");
        assert_eq!(range(Bounds::new(mib(1), mib(2), mib(2048))), "1.00 MiB – 2.00 GiB");
        assert_eq!(range(Bounds::exactly(mib(1))), "");
    }
}
