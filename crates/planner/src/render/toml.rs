//! The same document as TOML.

use super::Document;

/// The document as TOML.
pub fn to_toml(document: &Document) -> Result<String, toml::ser::Error> {
    toml::to_string(document)
}
