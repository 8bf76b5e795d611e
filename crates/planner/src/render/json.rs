//! JSON, schema `vramplan/plan/v2`: sizes are whole numbers of bytes.

use super::Document;

/// The document as indented JSON.
pub fn to_json(document: &Document) -> serde_json::Result<String> {
    serde_json::to_string_pretty(document).map(|json| json + "\n")
}

/// The document that [`to_json`] wrote.
pub fn from_json(text: &str) -> serde_json::Result<Document> {
    serde_json::from_str(text)
}
