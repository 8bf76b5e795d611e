//! What a `config.json` states of its language model: where that is, under which names, and what its class assumes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::read::SourceError;
use crate::read::json::{Fields, Json};
use crate::spec::families::Family;

type Object = BTreeMap<String, Json>;

/// Where the language model of a file with more than one part is described: paths, the outermost key first.
const INNER: [(&str, &[&str]); 7] = [
    ("text_config.", &["text_config"]),
    ("llm_config.", &["llm_config"]),
    ("language_config.", &["language_config"]),
    ("thinker_config.text_config.", &["thinker_config", "text_config"]),
    ("decoder_config.", &["decoder_config"]),
    ("lm_config.", &["lm_config"]),
    ("llama_config.", &["llama_config"]),
];

/// The object that describes the language model, where it is not the file's own.
pub(super) fn inner(top: Fields<'_>) -> Result<Option<Fields<'_>>, SourceError> {
    for (prefix, path) in INNER {
        let mut at = Some(top);
        for key in path {
            at = match at {
                Some(fields) => {
                    fields.child(key)?.map(|object| Fields::new(top.at, prefix, object))
                }
                None => None,
            };
        }
        if at.is_some() {
            return Ok(at);
        }
    }
    Ok(None)
}

/// The fields of the language model under the usual names; those of a nested object with what its class assumes of
/// keys that are absent: transformers writes only what differs from that.
pub(super) fn completed<'a>(
    object: &'a Object,
    family: &Family,
    model_type: Option<&str>,
) -> Cow<'a, Object> {
    let mut found = Cow::Borrowed(object);
    for (usual, own) in family.keys {
        if let Some(value) = at_path(object, own).filter(|_| !object.contains_key(*usual)) {
            found.to_mut().insert((*usual).to_owned(), value.clone());
        }
    }
    if let Some(class) = model_type.and_then(class) {
        class.complete(&mut found);
    }
    found
}

fn at_path<'a>(object: &'a Object, path: &str) -> Option<&'a Json> {
    match path.split_once('.') {
        None => object.get(path),
        Some((key, rest)) => match object.get(key)? {
            Json::Object(inner) => at_path(inner, rest),
            _ => None,
        },
    }
}

/// What a configuration class of transformers assumes.
#[derive(Deserialize)]
struct Class {
    /// Keys and their values.
    keys: Object,
    /// Other names of keys.
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// `evidence/families/classes.py` makes it of transformers 5.24.
static CLASSES: LazyLock<BTreeMap<String, Class>> =
    LazyLock::new(|| serde_json::from_str(include_str!("defaults.json")).unwrap_or_default());

/// The class of a `model_type`, or of the language model within it.
fn class(name: &str) -> Option<&'static Class> {
    CLASSES.get(name).or_else(|| CLASSES.get(&format!("{name}_text")))
}

impl Class {
    /// Adds what is neither stated nor stated under another name.
    fn complete(&self, found: &mut Cow<'_, Object>) {
        let is_stated = |object: &Object, key: &String| {
            let mut names = self.aliases.iter().filter(|(_, of)| *of == key);
            let other = self.aliases.get(key).is_some_and(|of| object.contains_key(of));
            object.contains_key(key) || other || names.any(|(alias, _)| object.contains_key(alias))
        };
        for (key, value) in &self.keys {
            if !is_stated(found, key) {
                found.to_mut().insert(key.clone(), value.clone());
            }
        }
    }
}
