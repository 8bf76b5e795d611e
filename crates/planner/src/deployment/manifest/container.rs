//! A container as its manifest describes it: its image, its command and its variables.

use super::expand::expanded;
use crate::read::yaml::Yaml;

/// Keys of a command or of what is behind it.
const COMMANDS: [&str; 3] = ["command", "cmd", "entrypoint"];
const ARGUMENTS: [&str; 3] = ["args", "extraArgs", "extra_args"];

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) image: Option<String>,
    /// What it runs in the place of the image's own program.
    pub(super) entry: Vec<String>,
    /// What is handed over to that.
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
}

impl Container {
    /// The container that a mapping describes; nothing where it describes none. In compose a `command` is what the image's program
    /// is handed over, elsewhere what stands in its place.
    pub(super) fn of(map: &Yaml, is_compose: bool) -> Option<Self> {
        let image = image(map.get("image"));
        let has_words = COMMANDS.iter().chain(&ARGUMENTS).any(|key| map.get(key).is_some());
        if image.is_none() && !has_words {
            return None;
        }
        // A chart's values may have both below the image.
        let of = |key: &&str| map.get(key).or_else(|| map.get("image")?.get(key)).map(words);
        let (entry, mut arguments) = if is_compose {
            (of(&"entrypoint").unwrap_or_default(), of(&"command").unwrap_or_default())
        } else {
            (COMMANDS.iter().find_map(of).unwrap_or_default(), Vec::new())
        };
        arguments.extend(ARGUMENTS.iter().filter_map(of).flatten());
        let variables = variables(map);
        Some(Self { image, entry, arguments, variables }.expanded())
    }

    /// What a mapping says of a container whose image and command are said elsewhere.
    pub(super) fn bare(map: &Yaml) -> Self {
        Self { variables: variables(map), ..Self::default() }.expanded()
    }

    /// With its own variables in their places.
    pub(super) fn expanded(mut self) -> Self {
        let mut known: Vec<(String, String)> = Vec::new();
        for (name, value) in self.variables {
            let value = expanded(&value, &known);
            known.push((name, value));
        }
        self.variables = known;
        let of = |words: &[String]| -> Vec<String> {
            words.iter().map(|word| expanded(word, &self.variables)).collect()
        };
        let (entry, arguments) = (of(&self.entry), of(&self.arguments));
        let image = self.image.map(|image| expanded(&image, &self.variables));
        Self { image, entry, arguments, variables: self.variables }
    }

    /// The value of a variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An image: `NAME:TAG`, or `repository`, `tag` and a registry of their own.
pub(super) fn image(value: Option<&Yaml>) -> Option<String> {
    let value = value?;
    if let Some(name) = value.text() {
        return Some(name.to_owned());
    }
    let part = |keys: &[&str]| keys.iter().find_map(|key| value.get(key)?.text());
    let name = part(&["repository", "name"])?;
    Some(match part(&["tag"]).filter(|tag| !tag.is_empty()) {
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    })
}

/// A list of words, or a text of them.
pub(super) fn words(value: &Yaml) -> Vec<String> {
    match value {
        Yaml::Text(text) => of_text(text),
        Yaml::List(items) => items.iter().filter_map(Yaml::text).map(str::to_owned).collect(),
        Yaml::Nothing | Yaml::Map(_) => Vec::new(),
    }
}

/// The words of a text. What a shell is to run stays one word, whose lines are commands.
pub(super) fn of_text(text: &str) -> Vec<String> {
    let plain = || text.split_whitespace().map(str::to_owned).collect();
    shlex::split(&text.replace("\\\n", " ")).unwrap_or_else(plain)
}

/// `env` as a list of names and values or as a mapping, `environment` as a mapping or as a list of `NAME=value`.
fn variables(map: &Yaml) -> Vec<(String, String)> {
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let of_item = |item: &Yaml| match item {
        Yaml::Text(text) => text.split_once('=').map(|(name, value)| owned(name, value)),
        item => Some(owned(item.get("name")?.text()?, item.get("value")?.text()?)),
    };
    let keys = ["env", "environment", "extraEnv"];
    let values = keys.iter().filter_map(|key| map.get(key));
    let of = |value: &Yaml| -> Vec<(String, String)> {
        let entries = value.entries().iter();
        let of_entry = |(name, value): &(String, Yaml)| Some(owned(name, value.text()?));
        value.items().iter().filter_map(of_item).chain(entries.filter_map(of_entry)).collect()
    };
    values.flat_map(of).collect()
}
