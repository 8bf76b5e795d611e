//! How wide the screen is that text is printed on, and text of 80 columns on a narrower one.

use vramplan_planner::render::terminal::{WIDTH, columns_of};
use vramplan_planner::text::wrap;

/// Narrower, nothing can be read; wider, no line of text is.
const BOUNDS: (usize, usize) = (40, 120);

/// Columns of the terminal, or as many as `COLUMNS` says; 80 where neither is known.
pub fn width() -> usize {
    known_width().unwrap_or(WIDTH)
}

fn known_width() -> Option<usize> {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let seen = || terminal_size::terminal_size_of(std::io::stdout());
    let seen = || seen().map(|(width, _)| usize::from(width.0));
    let (least, most) = BOUNDS;
    told.or_else(seen).map(|columns| columns.clamp(least, most))
}

/// A text that was laid out for 80 columns, for the screen: lines are broken anew, and tables that are wider become a few
/// lines for each row. Where there is no screen, as in a pipe, it is left as it is.
pub fn fitted(text: &str) -> String {
    known_width().map_or_else(|| text.to_owned(), |width| fitted_to(text, width))
}

fn fitted_to(text: &str, width: usize) -> String {
    if text.lines().all(|line| columns_of(line) <= width) {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut fitted = String::new();
    let mut rest = lines.as_slice();
    while let Some((first, behind)) = rest.split_first() {
        let rows = rest.iter().take_while(|line| is_row(line)).count();
        if rows > 1 {
            fitted.push_str(&table(&rest[..rows], width));
            rest = &rest[rows..];
            continue;
        }
        let broken = broken_lines(first, behind);
        fitted.push_str(&line(first, &behind[..broken], width));
        rest = &behind[broken..];
    }
    fitted
}

/// Whether a line is a row of a table: cells with two spaces between them.
fn is_row(line: &str) -> bool {
    line.trim().contains("  ")
}

/// How many lines go on what was broken at 80 columns: each begins with a word for which there was no room.
fn broken_lines(first: &str, behind: &[&str]) -> usize {
    let befores = std::iter::once(&first).chain(behind);
    let goes_on = |(before, line): &(&&str, &&str)| {
        let word = line.split_whitespace().next().unwrap_or_default();
        let is_indented = line.starts_with("  ") && !is_row(line);
        is_indented && columns_of(before) + 1 + columns_of(word) > WIDTH
    };
    befores.zip(behind).take_while(goes_on).count()
}

/// A line of text with those that went on, broken anew behind the spaces that it begins with.
fn line(first: &str, behind: &[&str], width: usize) -> String {
    let indent = first.len() - first.trim_start().len();
    let mut words = first.trim().to_owned();
    for line in behind {
        words.push(' ');
        words.push_str(line.trim());
    }
    if words.is_empty() {
        return "\n".to_owned();
    }
    let indent = " ".repeat(indent.min(width / 4));
    let wrapped = wrap(&words, width - indent.len());
    wrapped.lines().fold(String::new(), |text, line| text + &indent + line + "\n")
}

/// A table: as it is where there is room, else each row as its first cell and the others behind the names of their
/// columns.
fn table(rows: &[&str], width: usize) -> String {
    if rows.iter().all(|row| columns_of(row) <= width) {
        return rows.join("\n") + "\n";
    }
    let cells = Cells::of(rows);
    let Some((header, rows)) = cells.split_first() else { return String::new() };
    rows.iter().map(|row| record(header, row, width)).collect()
}

fn record(header: &[String], row: &[String], width: usize) -> String {
    let mut named = header.iter().zip(row);
    let (_, first) = named.next().unzip();
    let others =
        named.filter(|(_, cell)| !cell.is_empty()).map(|(name, cell)| match name.as_str() {
            "" => cell.clone(),
            name => format!("{name} {cell}"),
        });
    let others = others.collect::<Vec<_>>().join(" · ");
    let first = first.map(String::as_str).unwrap_or_default();
    let mut text = if first.is_empty() { String::new() } else { wrap(first, width) };
    if !others.is_empty() {
        text.extend(wrap(&others, width - 2).lines().map(|line| format!("  {line}\n")));
    }
    text
}

/// The cells of rows, which are apart where every row has two spaces.
struct Cells;

impl Cells {
    fn of(rows: &[&str]) -> Vec<Vec<String>> {
        let rows: Vec<Vec<char>> = rows.iter().map(|row| row.chars().collect()).collect();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let is_blank = |at: usize| rows.iter().all(|row| row.get(at).is_none_or(|c| *c == ' '));
        let mut cuts = vec![0];
        let mut blanks = 0;
        for at in 0..longest {
            if is_blank(at) {
                blanks += 1;
                continue;
            }
            if blanks >= 2 && at > blanks {
                cuts.push(at);
            }
            blanks = 0;
        }
        cuts.push(longest);
        let cell = |row: &[char], from: usize, to: usize| {
            let letters = row.get(from..to.min(row.len())).unwrap_or_default();
            letters.iter().collect::<String>().trim().to_owned()
        };
        let cells = |row: &Vec<char>| cuts.windows(2).map(|at| cell(row, at[0], at[1])).collect();
        rows.iter().map(cells).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
qwen2.5-14b · q4_k_m weights · int8 KV · vramplan runtime (see `--runtime`) · a
  very long name of a card

format     size  verdict
q8_0  15.00 GiB  fits
f32           –  does not fit

- a line
";

    #[test]
    fn text_is_left_alone_where_there_is_room() {
        for width in [80, 120] {
            assert_eq!(fitted_to(TEXT, width), TEXT);
        }
    }

    #[test]
    fn lines_are_broken_anew() {
        let fitted = fitted_to(TEXT, 40);
        assert!(fitted.lines().all(|line| columns_of(line) <= 40), "{fitted}");
        // The line that was broken at 80 columns is one again.
        assert!(fitted.contains(" · a\n  very long name of a card\n\n"), "{fitted}");
        assert!(fitted.contains("q8_0  15.00 GiB  fits\n") && fitted.ends_with("\n- a line\n"));
    }

    #[test]
    fn a_wide_table_becomes_records() {
        let table = "name                     size in bytes   verdict of all\n\
                     qwen2.5-14b              9.00 GiB        fits\n\
                     a                        –               does not fit\n";
        let fitted = fitted_to(table, 40);
        assert!(fitted.lines().all(|line| columns_of(line) <= 40), "{fitted}");
        assert!(fitted.starts_with("qwen2.5-14b\n  size in bytes 9.00 GiB · "), "{fitted}");
        assert!(fitted.contains("\na\n  size in bytes – · verdict of all does"), "{fitted}");
    }
}
