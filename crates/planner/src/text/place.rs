//! Where in a text something is.

use std::fmt::Write as _;
use std::ops::Range;

use super::escape;

/// Columns of a line that an excerpt shows.
const SHOWN: usize = 100;
/// How many of them stand before what it is about, at most.
const BEFORE: usize = 40;

/// The line, from 1, in which the byte at `offset` lies; the last one for an offset past the end.
///
/// ```
/// assert_eq!(vramplan_planner::text::line_at("a\nb = 1\n", 2), 2);
/// ```
pub fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.split(|byte| *byte == b'\n').count()
}

/// `line 3, column 12`, and that line with marks beneath the bytes of `span`: of a long line, the part
/// around them.
///
/// ```
/// let text = "gpu = \"L4\"\nheadroom = \"1G\"\n";
/// let excerpt = vramplan_planner::text::excerpt(text, &(22..26));
/// assert_eq!(excerpt, "line 2, column 12\n  |\n2 | headroom = \"1G\"\n  |            ^^^^\n");
/// ```
pub fn excerpt(text: &str, span: &Range<usize>) -> String {
    let number = line_at(text, span.start);
    let start = text.len().min(span.start);
    let head = text.get(..start).unwrap_or(text);
    let line_start = head.rfind('\n').map_or(0, |at| at + 1);
    let column = head[line_start..].chars().count();
    let line = text[line_start..].lines().next().unwrap_or_default();
    let marked = text.get(span.clone()).unwrap_or_default();
    let length = marked.lines().next().unwrap_or_default().chars().count().max(1);
    let mut excerpt = format!("line {number}, column {}\n", column + 1);
    let gutter = " ".repeat(number.to_string().len());
    let (shown, marks) = window(line, column, length);
    // Writing to a String cannot fail.
    let _ = writeln!(excerpt, "{gutter} |\n{number} | {shown}\n{gutter} | {marks}");
    excerpt
}

/// The part of a line around its column, and marks beneath what begins there.
fn window(line: &str, column: usize, length: usize) -> (String, String) {
    let first = if column < SHOWN { 0 } else { column - BEFORE };
    let part = |from: usize, to: usize| -> String {
        escape::without_limit(line.chars().skip(from).take(to.saturating_sub(from)))
    };
    let last = first + SHOWN;
    let end = (column + length).min(last);
    let (before, about, after) = (part(first, column), part(column, end), part(end, last));
    let cut = |is: bool| if is { "…" } else { "" };
    let (left, right) = (cut(first > 0), cut(line.chars().nth(last).is_some()));
    let indent = " ".repeat(left.chars().count() + before.chars().count());
    let marks = "^".repeat(about.chars().count().max(1));
    (format!("{left}{before}{about}{after}{right}"), format!("{indent}{marks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let text = "a\nbé\n\nc";
        let lines: Vec<_> = [0, 1, 2, 4, 5, 6, 7, 99].map(|at| line_at(text, at)).into();
        assert_eq!(lines, [1, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn what_is_wrong_is_marked() {
        let text = "x = 1\ncache_token = 7000\n";
        let expected = "line 2, column 1\n  |\n2 | cache_token = 7000\n  | ^^^^^^^^^^^\n";
        assert_eq!(excerpt(text, &(6..17)), expected);
        assert_eq!(excerpt("", &(0..0)), "line 1, column 1\n  |\n1 | \n  | ^\n");
        // A span that lies outside of the text, or within a character, is no reason to fail.
        assert!(excerpt("é", &(1..9)).starts_with("line 1"));
        assert!(excerpt("a\n", &(2..2)).starts_with("line 2, column 1\n"));
    }

    #[test]
    fn an_excerpt_is_short_and_safe() {
        let text =
            format!("a = [{}, \u{1b}]0;x\u{7}, {}]", "1, ".repeat(1000), "2, ".repeat(70_000));
        let at = text.find('\u{1b}').unwrap();
        let excerpt = excerpt(&text, &(at..at + 1));
        assert!(excerpt.len() < 400, "{excerpt}");
        assert!(!excerpt.chars().any(|c| c.is_control() && c != '\n'), "{excerpt}");
        let lines: Vec<_> = excerpt.lines().collect();
        let column = lines[3].chars().position(|c| c == '^').unwrap();
        let marked: String = lines[2].chars().skip(column).take(6).collect();
        assert_eq!(marked, "\\u{1b}");
        assert_eq!(lines[3].chars().filter(|c| *c == '^').count(), 6);
        // Every line but the first begins with the gutter: none can pass for one of ours.
        assert!(lines[1..].iter().all(|line| line.contains(" | ") || line.ends_with('|')));
    }
}
