//! Patterns of names of modules, as lists in quantized checkpoints have them: plain names, `fnmatch`, and the regular
//! expressions that compressed-tensors marks with `re:`.

use std::collections::BTreeSet;

/// Patterns of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleNames {
    /// Names that count for all within them, at the beginning of a module's name, within it or at its end.
    plain: BTreeSet<String>,
    patterns: Vec<Pattern>,
}

/// A pattern with signs of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Any of these.
    alternatives: Vec<Vec<Part>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This character.
    Char(char),
    /// Any one.
    One,
    /// Any number of any.
    Any,
    /// One digit or more.
    Digits,
}

/// What may stand before a module's name in a checkpoint.
const PREFIXES: [&str; 5] =
    ["model.language_model.", "language_model.model.", "language_model.", "model.", "backbone."];

/// Alternatives that a pattern may have.
const MOST: usize = 64;

/// A name without what stands before the model's own.
pub fn within_model(name: &str) -> &str {
    PREFIXES.into_iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

impl<'a> FromIterator<&'a str> for ModuleNames {
    fn from_iter<T: IntoIterator<Item = &'a str>>(texts: T) -> Self {
        let mut names = Self::default();
        for text in texts {
            names.add(text);
        }
        names
    }
}

impl ModuleNames {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.patterns.is_empty()
    }

    fn add(&mut self, text: &str) {
        if let Some(expression) = text.strip_prefix("re:") {
            self.patterns.push(Pattern::of_expression(expression));
            return;
        }
        let name = within_model(text);
        if !name.contains(['*', '?']) {
            self.plain.insert(name.to_owned());
            return;
        }
        let parts = name.chars().map(|c| match c {
            '*' => Part::Any,
            '?' => Part::One,
            other => Part::Char(other),
        });
        self.patterns.push(Pattern { alternatives: vec![parts.collect()] });
    }

    /// Whether a name within the model matches one of them.
    pub fn matches(&self, name: &str) -> bool {
        self.has_plain(name) || {
            let characters: Vec<_> = name.chars().collect();
            self.patterns.iter().any(|pattern| pattern.matches(&characters))
        }
    }

    /// Whether some run of a name's parts is one of the plain names.
    fn has_plain(&self, name: &str) -> bool {
        if self.plain.is_empty() {
            return false;
        }
        let dots = name.match_indices('.').map(|(at, _)| at);
        let starts: Vec<_> = std::iter::once(0).chain(dots.clone().map(|at| at + 1)).collect();
        let ends: Vec<_> = dots.chain(std::iter::once(name.len())).collect();
        let runs = starts.iter().flat_map(|&start| {
            ends.iter().filter(move |&&end| end > start).map(move |&end| &name[start..end])
        });
        runs.into_iter().any(|run| self.plain.contains(run))
    }
}

impl Pattern {
    /// Of a regular expression, which counts from the beginning of a name (`re.match`): `.`, `.*`, `\d+`, `\.`, `^`,
    /// `$`, and groups of alternatives. Other signs stand for themselves.
    fn of_expression(expression: &str) -> Self {
        let mut alternatives = Vec::new();
        for text in expanded(expression) {
            let text = text.strip_prefix('^').unwrap_or(&text);
            let (text, open) = match text.strip_suffix('$') {
                Some(text) => (text, false),
                None => (text, true),
            };
            let mut parts = parts_of(within_model(
                &text.replace("\\.", "\u{1}").replace("model\u{1}", "model."),
            ));
            if open {
                parts.push(Part::Any);
            }
            alternatives.push(parts);
        }
        Self { alternatives }
    }

    fn matches(&self, name: &[char]) -> bool {
        self.alternatives.iter().any(|parts| begins(parts, name) && matches(parts, name))
    }
}

/// Whether a name begins with the characters that a pattern begins with.
fn begins(parts: &[Part], name: &[char]) -> bool {
    let literal = parts.iter().map_while(|part| match part {
        Part::Char(c) => Some(c),
        _ => None,
    });
    literal.zip(name.iter().map(Some).chain(std::iter::repeat(None))).all(|(c, n)| Some(c) == n)
}

/// The parts of an expression without groups; `\u{1}` stands for a dot that is one.
fn parts_of(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let known = [
            (".*", Part::Any),
            (".+", Part::Any),
            ("\\d+", Part::Digits),
            ("[0-9]+", Part::Digits),
            (".", Part::One),
            ("\u{1}", Part::Char('.')),
        ];
        let found = known.into_iter().find(|(sign, _)| rest.starts_with(sign));
        let (length, part) =
            found.map_or((c.len_utf8(), Part::Char(c)), |(sign, part)| (sign.len(), part));
        parts.push(part);
        rest = &rest[length..];
    }
    parts
}

/// An expression once for each of the alternatives in its groups.
fn expanded(expression: &str) -> Vec<String> {
    let mut found = vec![expression.to_owned()];
    while found.len() <= MOST {
        let Some(at) = found.iter().position(|text| text.contains('(')) else { break };
        let text = found.swap_remove(at);
        let group = text.split_once('(').and_then(|(before, rest)| {
            let (inside, after) = rest.split_once(')')?;
            Some((before, inside, after))
        });
        let Some((before, inside, after)) = group else {
            // A group that does not end is none.
            found.push(text.replace('(', ""));
            continue;
        };
        let inside = inside.strip_prefix("?:").unwrap_or(inside);
        found.extend(inside.split('|').map(|one| format!("{before}{one}{after}")));
    }
    found.truncate(MOST);
    found
}

/// Whether all of a name matches, in time that grows with the product of both lengths.
fn matches(parts: &[Part], name: &[char]) -> bool {
    // Whether the parts so far match the first characters, for each number of these.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            let step = |fits: bool| at > 0 && fits && reached[at - 1];
            let last = || at.checked_sub(1).and_then(|before| name.get(before));
            next[at] = match part {
                Part::Char(c) => step(last() == Some(c)),
                Part::One => step(true),
                Part::Any => reached[at] || (at > 0 && next[at - 1]),
                Part::Digits => {
                    let digit = last().is_some_and(char::is_ascii_digit);
                    digit && (reached[at - 1] || next[at - 1])
                }
            };
        }
        reached = next;
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_their_libraries_do() {
        for (pattern, name, expected) in [
            ("lm_head", "lm_head", true),
            ("gate", "layers.0.mlp.gate", true),
            ("gate", "layers.0.mlp.gate_proj", false),
            ("model.layers.1", "layers.1.mlp.gate_proj", true),
            ("model.layers.1", "layers.10.mlp.gate_proj", false),
            ("language_model.model.layers.0*", "layers.0.self_attn.q_proj", true),
            ("*.attn.*", "layers.3.attn.wq_a", true),
            ("re:.*self_attn.*", "layers.0.self_attn.q_proj", true),
            ("re:.*mlp\\.(gate|up)_proj.*", "layers.0.mlp.up_proj", true),
            ("re:.*mlp\\.(gate|up)_proj.*", "layers.0.mlp.down_proj", false),
            ("re:.*mlp.gate$", "layers.0.mlp.gate", true),
            ("re:.*mlp.gate$", "layers.0.mlp.gate_proj", false),
            ("re:model\\.layers\\.\\d+\\.mlp", "layers.12.mlp.up_proj", true),
            ("re:(unclosed", "unclosed", true),
        ] {
            assert_eq!(
                ModuleNames::from_iter([pattern]).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let groups = "re:".to_owned() + &"(a|b)(".repeat(1000);
        let stars = "*".repeat(10_000);
        for pattern in [groups, stars] {
            ModuleNames::from_iter([pattern.as_str()]).matches(&"a".repeat(100));
        }
    }
}
