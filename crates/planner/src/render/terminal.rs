//! How text is laid out on a terminal of 80 columns: tables, ranges, wrapped lines.

use comfy_table::{CellAlignment, Table, presets};

use crate::spec::Bounds;

/// Columns of the terminal.
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
    fn ranges_share_their_unit() {
        let mib = |n| Bytes::mib(n).unwrap();
        assert_eq!(range(Bounds::new(mib(10), mib(11), mib(12))), "10.00 – 12.00 MiB");
        assert_eq!(range(Bounds::new(mib(1), mib(2), mib(2048))), "1.00 MiB – 2.00 GiB");
        assert_eq!(range(Bounds::exactly(mib(1))), "");
    }
}
