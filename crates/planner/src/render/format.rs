//! The formats that answers are printed in, and which printer a kind of answer has for each.

use std::fmt;

/// A format of a printed answer. Which of them a kind of answer has, its [`Printers`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal of 80 columns.
    #[default]
    Table,
    /// Plain lines for people.
    Text,
    /// The answer's JSON schema.
    Json,
    /// The same document as TOML.
    Toml,
    /// One line for each combination.
    Csv,
    /// Tables for a repository or an issue.
    Markdown,
    /// A picture.
    Svg,
    /// One page with picture, tables, advice and sources.
    Html,
    /// Annotations for GitHub Actions.
    Github,
    /// A report for GitLab's Code Quality.
    Gitlab,
}

impl Format {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Text => "text",
            Self::Json => "json",
            Self::Toml => "toml",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Svg => "svg",
            Self::Html => "html",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
        }
    }

    /// What it is for, in a line of help.
    pub fn about(self) -> &'static str {
        match self {
            Self::Table => "For a terminal of 80 columns",
            Self::Text => "For people",
            Self::Json => "For programs, by its schema",
            Self::Toml => "The JSON's document as TOML",
            Self::Csv => "One line for each combination",
            Self::Markdown => "Tables for a repository or an issue",
            Self::Svg => "A picture",
            Self::Html => "One page with picture, tables, advice and sources",
            Self::Github => "Annotations for GitHub Actions",
            Self::Gitlab => "A report for GitLab's Code Quality",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Prints an answer of type `D`, or fails with `E`.
pub type Printer<D, E> = fn(&D) -> Result<String, E>;

/// The formats of answers of type `D`, each with its printer; the first is the default.
#[derive(Clone, Copy, Debug)]
pub struct Printers<D: 'static, E: 'static>(pub &'static [(Format, Printer<D, E>)]);

impl<D, E> Printers<D, E> {
    /// The formats that there are.
    pub fn formats(&self) -> impl Iterator<Item = Format> + use<D, E> {
        self.0.iter().map(|(format, _)| *format)
    }

    /// Prints an answer; nothing where it has no such format.
    pub fn print(&self, answer: &D, format: Format) -> Option<Result<String, E>> {
        let found = self.0.iter().find(|(own, _)| *own == format);
        found.map(|(_, print)| print(answer))
    }
}
