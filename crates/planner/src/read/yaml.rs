//! YAML of strangers as a tree, bounded while it is built: its size, its depth, and what aliases copy.
//!
//! What a text means is left to who reads it: `8192`, `0.90` and `true` stay as they are written, so that nothing of an argument is
//! lost. The parser is `saphyr-parser`, whose events are taken one by one.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::text::printable;

/// Bytes of a text that are read.
pub const MOST_BYTES: usize = 1 << 20;

/// Values of a tree, those that aliases copy among them.
const MOST_VALUES: usize = 50_000;

/// Bytes of its texts, those that aliases copy among them.
const MOST_TEXT: usize = 4 << 20;

/// How deep it may be.
const DEEPEST: usize = 64;

/// The key under which a mapping takes another's entries.
const MERGE: &str = "<<";

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// `null`, `~`, or nothing at all.
    Nothing,
    /// A text, a number, a truth: as it is written.
    Text(String),
    /// A sequence.
    List(Vec<Self>),
    /// A mapping, in its order. Of keys that stand twice the last counts.
    Map(Vec<(String, Self)>),
}

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// It is no YAML.
    #[error("line {line}: {message}")]
    Invalid {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// It is larger or deeper than what is read.
    #[error("it has more than {0}")]
    TooLarge(String),
}

impl Yaml {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value behind several keys, one within the other.
    pub fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            Self::Nothing | Self::Text(_) | Self::List(_) => &[],
        }
    }

    /// The items of a sequence; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Nothing | Self::Text(_) | Self::Map(_) => &[],
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::List(_) | Self::Map(_) => None,
        }
    }

    fn depth(&self) -> usize {
        let within = match self {
            Self::List(items) => items.iter().map(Self::depth).max(),
            Self::Map(entries) => entries.iter().map(|(_, value)| value.depth()).max(),
            Self::Nothing | Self::Text(_) => None,
        };
        within.map_or(1, |deepest| deepest + 1)
    }
}

/// The documents of a text, of which `---` stands between.
///
/// ```
/// use vramplan_planner::read::yaml;
///
/// let documents = yaml::documents("a: &x [1, 0.90]\nb: *x\n---\nc: ~").unwrap();
/// assert_eq!(documents[0].get("b").unwrap().items()[1].text(), Some("0.90"));
/// assert_eq!(documents[1].get("c"), Some(&yaml::Yaml::Nothing));
/// ```
///
/// # Errors
/// Where it is no YAML, or more of it than is read.
pub fn documents(text: &str) -> Result<Vec<Yaml>, YamlError> {
    if text.len() > MOST_BYTES {
        return Err(YamlError::TooLarge(format!("{MOST_BYTES} bytes")));
    }
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| invalid(error.marker().line(), error.info()))?;
        tree.take(event, span.start.line())?;
    }
    Ok(tree.documents)
}

fn invalid(line: usize, message: &str) -> YamlError {
    YamlError::Invalid { line: line.max(1), message: printable(message) }
}

/// A sequence or a mapping whose end was not met yet.
struct Open {
    anchor: usize,
    value: Yaml,
    /// Of a mapping the key whose value comes next.
    key: Option<String>,
}

/// What was built, and what it may still take.
#[derive(Default)]
struct Tree {
    documents: Vec<Yaml>,
    open: Vec<Open>,
    anchors: HashMap<usize, Yaml>,
    values: usize,
    text: usize,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_nothing =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null");
                let value = if is_nothing { Yaml::Nothing } else { Yaml::Text(text.into_owned()) };
                self.count(&value)?;
                self.add(value, anchor, line)
            }
            Event::Alias(anchor) => {
                let none = || invalid(line, "an alias of what is not complete");
                let value = self.anchors.get(&anchor).ok_or_else(none)?;
                if self.open.len() + value.depth() > DEEPEST {
                    return Err(too_deep());
                }
                let value = value.clone();
                self.count(&value)?;
                self.add(value, 0, line)
            }
            Event::SequenceStart(anchor, _) => self.begin(Yaml::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.begin(Yaml::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { anchor, value, .. }) = self.open.pop() else { return Ok(()) };
                self.add(merged(value), anchor, line)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, value: Yaml, anchor: usize) -> Result<(), YamlError> {
        if self.open.len() == DEEPEST {
            return Err(too_deep());
        }
        self.count(&value)?;
        self.open.push(Open { anchor, value, key: None });
        Ok(())
    }

    /// Adds a value, which is complete, to what it is in.
    fn add(&mut self, value: Yaml, anchor: usize, line: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            self.count(&value)?;
            self.anchors.insert(anchor, value.clone());
        }
        let Some(Open { value: outer, key, .. }) = self.open.last_mut() else {
            self.documents.push(value);
            return Ok(());
        };
        match (outer, key.take()) {
            (Yaml::Map(entries), Some(name)) => entries.push((name, value)),
            (Yaml::Map(_), None) => *key = Some(name(value, line)?),
            (Yaml::List(items), _) => items.push(value),
            (Yaml::Nothing | Yaml::Text(_), _) => {}
        }
        Ok(())
    }

    /// Takes a value off what the tree may have.
    fn count(&mut self, value: &Yaml) -> Result<(), YamlError> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(YamlError::TooLarge(format!("{MOST_VALUES} values, with its aliases")));
        }
        match value {
            Yaml::Nothing => {}
            Yaml::Text(text) => self.text += text.len(),
            Yaml::List(items) => items.iter().try_for_each(|item| self.count(item))?,
            Yaml::Map(entries) => {
                for (name, value) in entries {
                    self.text += name.len();
                    self.count(value)?;
                }
            }
        }
        if self.text > MOST_TEXT {
            return Err(YamlError::TooLarge(format!("{MOST_TEXT} bytes, with its aliases")));
        }
        Ok(())
    }
}

fn too_deep() -> YamlError {
    YamlError::TooLarge(format!("{DEEPEST} levels"))
}

/// The name that a key is.
fn name(key: Yaml, line: usize) -> Result<String, YamlError> {
    match key {
        Yaml::Text(name) => Ok(name),
        Yaml::Nothing => Ok(String::new()),
        Yaml::List(_) | Yaml::Map(_) => Err(invalid(line, "a key that is no text")),
    }
}

/// A mapping with the entries of those that it merges, which its own go before.
fn merged(value: Yaml) -> Yaml {
    let Yaml::Map(entries) = value else { return value };
    let (others, mut entries): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(name, _)| name == MERGE);
    let others = others.into_iter().flat_map(|(_, value)| match value {
        Yaml::List(items) => items,
        other => vec![other],
    });
    let mut names: HashSet<String> = entries.iter().map(|(name, _)| name.clone()).collect();
    let mut taken = Vec::new();
    for other in others {
        let Yaml::Map(more) = other else { continue };
        taken.extend(more.into_iter().filter(|(name, _)| names.insert(name.clone())));
    }
    taken.append(&mut entries);
    Yaml::Map(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::fmt::Write as _;

    fn one(text: &str) -> Yaml {
        documents(text).unwrap().remove(0)
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let tree = one("a: 0.90\nb: \"null\"\nc: null\nd: [1e3, yes, 'x']\ne: |\n  two\n  lines\n");
        assert_eq!(tree.get("a").unwrap().text(), Some("0.90"));
        assert_eq!(tree.get("b").unwrap().text(), Some("null"));
        assert_eq!(tree.get("c"), Some(&Yaml::Nothing));
        let texts: Vec<_> = tree.get("d").unwrap().items().iter().map(Yaml::text).collect();
        assert_eq!(texts, [Some("1e3"), Some("yes"), Some("x")]);
        assert_eq!(tree.get("e").unwrap().text(), Some("two\nlines\n"));
        assert_eq!(documents("").unwrap(), []);
    }

    #[test]
    fn mappings_merge_others() {
        let tree = one("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz:\n  <<: [*x, {c: 4, a: 9}]\n");
        let texts = |keys: &[&str]| tree.at(keys).and_then(Yaml::text).map(str::to_owned);
        assert_eq!(texts(&["y", "a"]).as_deref(), Some("1"));
        assert_eq!(texts(&["y", "b"]).as_deref(), Some("3"));
        assert_eq!(texts(&["z", "a"]).as_deref(), Some("1"));
        assert_eq!(texts(&["z", "c"]).as_deref(), Some("4"));
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let copies = vec![format!("*a{}", level - 1); 10].join(", ");
            let _ = writeln!(bomb, "a{level}: &a{level} [{copies}]");
        }
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(10_000), vec!["*a"; 1000].join(", "));
        let flow = "[".repeat(100_000);
        let block: Vec<_> = (0..100).map(|level| " ".repeat(level) + "a:").collect();
        let block = block.join("\n");
        // What the reader itself refuses is an error of its own.
        assert!(documents(&flow).is_err());
        for text in [bomb, long, block, "x".repeat(MOST_BYTES + 1)] {
            assert!(matches!(documents(&text), Err(YamlError::TooLarge(_))), "{text:.40}");
        }
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        assert!(matches!(documents("a: 1\nb: [1"), Err(YamlError::Invalid { .. })));
        assert!(documents("a: &a [*a]").is_err());
        assert!(documents("? [a]\n: b").is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[\\[\\]{}:,&*#|>?!~%@'\"a-c \n\t-]{0,200}") {
            let _ = documents(&text);
        }
    }
}
