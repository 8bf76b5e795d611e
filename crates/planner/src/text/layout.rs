//! Text broken into lines, and words quoted for a shell.

use std::borrow::Cow;

use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// Breaks a line at spaces into lines of at most `width` columns, further ones indented by two; a word
/// that is longer is broken, too. The last line ends too.
///
/// ```
/// assert_eq!(vramplan_planner::text::wrap("- aaa bbb ccc", 9), "- aaa bbb\n  ccc\n");
/// ```
pub fn wrap(line: &str, width: usize) -> String {
    let options = Options::new(width)
        .subsequent_indent("  ")
        .break_words(true)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(line, options) + "\n"
}

/// Every line of a text broken to a width, with its own indentation before what goes on.
///
/// ```
/// use vramplan_planner::text::wrap_lines;
///
/// assert_eq!(wrap_lines("a\n  bb cc\n", 6), "a\n  bb\n    cc\n");
/// ```
pub fn wrap_lines(text: &str, width: usize) -> String {
    let broken = |line: &str| {
        let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
        let wrapped = wrap(line.trim_start_matches(' '), width.saturating_sub(indent.len()).max(1));
        let lines = wrapped.trim_end_matches('\n').split('\n');
        lines.map(|line| format!("{indent}{line}").trim_end().to_owned() + "\n").collect::<String>()
    };
    text.lines().map(broken).collect()
}

/// A word as a POSIX shell reads it back; nothing where no shell can: a word of a command cannot hold
/// a NUL.
///
/// ```
/// use vramplan_planner::text::shell_word;
/// assert_eq!(shell_word("models/a-Q4_K_M.gguf").as_deref(), Some("models/a-Q4_K_M.gguf"));
/// assert_eq!(shell_word("a b").as_deref(), Some("'a b'"));
/// assert_eq!(shell_word("a\0b"), None);
/// ```
pub fn shell_word(word: &str) -> Option<Cow<'_, str>> {
    shlex::try_quote(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_at_spaces() {
        assert_eq!(wrap("- aaa bbb ccc", 9), "- aaa bbb\n  ccc\n");
        assert_eq!(wrap("", 9), "\n");
        assert_eq!(wrap("aaa-bbb-ccc-ddd e", 9), "aaa-bbb\n  -ccc-dd\n  d e\n");
        // A column is what a terminal shows, not a byte or a character.
        assert_eq!(wrap("8 – 9 ≤ x", 9), "8 – 9 ≤ x\n");
        assert_eq!(wrap("模型 模型", 8), "模型\n  模型\n");
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in
            ["", "it's", "$(x) `y` \"z\" \\ !", "a\nFROM evil", "-m", "模型.gguf", "~/a", "a=b"]
        {
            let quoted = shell_word(word).unwrap();
            assert_eq!(shlex::split(&quoted).unwrap(), [word], "{quoted}");
        }
    }
}
