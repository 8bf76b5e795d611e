//! Text that stands for itself within a marked-up document or a table of data.

use std::borrow::Cow;

use super::escape::{printable_lines, printable_message};

/// Characters that mean something in Markdown, GitHub's included, wherever they stand in a line.
const MARKDOWN: &[char] = &['\\', '`', '*', '[', ']', '<', '>', '|', '&'];

/// A name within a line of Markdown or a cell of its tables: no HTML, link, code or end of a cell.
///
/// ```
/// use vramplan_planner::text::markdown;
/// assert_eq!(markdown("qwen2.5-14b"), "qwen2.5-14b");
/// assert_eq!(markdown("a|<b>"), "a\\|\\<b\\>");
/// ```
pub fn markdown(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for c in printable_message(name).chars() {
        if MARKDOWN.contains(&c) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// A text that stands for itself inside an element or a quoted attribute of HTML.
///
/// ```
/// use vramplan_planner::text::html;
/// assert_eq!(html("a < \"b\""), "a &lt; &quot;b&quot;");
/// ```
pub fn html(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control() || ['&', '<', '>', '"', '\''].contains(&c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in printable_lines(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// A field that a spreadsheet takes for text: one that begins as a formula does is given an apostrophe.
///
/// ```
/// use vramplan_planner::text::spreadsheet_text;
/// assert_eq!(spreadsheet_text("L4"), "L4");
/// assert_eq!(spreadsheet_text("=1+1"), "'=1+1");
/// ```
pub fn spreadsheet_text(field: &str) -> Cow<'_, str> {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return Cow::Owned(format!("'{field}"));
    }
    Cow::Borrowed(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_text_only() {
        assert_eq!(markdown("[x](http://a) `b`\n# c"), "\\[x\\](http://a) \\`b\\`\\\\u{a}# c");
        assert_eq!(markdown("<img src=x>&lt;"), "\\<img src=x\\>\\&lt;");
    }

    #[test]
    fn formulas_are_text() {
        for formula in ["=cmd|'/c calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(spreadsheet_text(formula), format!("'{formula}"));
        }
        assert_eq!(spreadsheet_text("a=b"), "a=b");
    }
}
