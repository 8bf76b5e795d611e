//! What a repository holds at a revision: a commit, and files with their sizes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{HubError, HubErrorKind as Kind};
use crate::name::is_plain_path;

/// The files of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// The commit.
    pub commit: String,
    /// Bytes of each file by its path; nothing where the server does not say.
    pub files: BTreeMap<String, Option<u64>>,
}

/// The answer of `GET /api/models/{id}/revision/{revision}?blobs=true`, as far as it is read.
#[derive(Deserialize)]
struct ModelInfo {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    size: Option<u64>,
}

/// Files beyond which a listing is not believed.
const MOST_FILES: usize = 100_000;

impl Listing {
    /// The longest answer that is read, in bytes.
    pub const LONGEST: u64 = 32 << 20;

    /// Reads the hub's answer about `what`.
    pub fn of_answer(bytes: &[u8], what: &str) -> Result<Self, HubError> {
        let refuse = |message: String| HubError::new(Kind::Broken, format!("`{what}`: {message}"));
        let info: ModelInfo = serde_json::from_slice(bytes)
            .map_err(|error| refuse(format!("the hub's answer is not a list of files: {error}")))?;
        if !is_commit(&info.sha) {
            return Err(refuse(format!("commit `{}`: expected 40 hexadecimal digits", info.sha)));
        }
        if info.siblings.len() > MOST_FILES {
            return Err(refuse(format!(
                "{} files: expected at most {MOST_FILES}",
                info.siblings.len()
            )));
        }
        let mut files = BTreeMap::new();
        for file in info.siblings {
            if !is_plain_path(&file.rfilename) {
                return Err(refuse(format!(
                    "it lists a file `{}`: expected a plain path",
                    file.rfilename
                )));
            }
            let size = file.lfs.and_then(|lfs| lfs.size).or(file.size);
            files.insert(file.rfilename, size);
        }
        Ok(Self { commit: info.sha, files })
    }

    /// The paths of all files.
    pub fn names(&self) -> Vec<&str> {
        self.files.keys().map(String::as_str).collect()
    }

    /// The commit as it is shown.
    pub fn short_commit(&self) -> &str {
        self.commit.get(..8).unwrap_or(&self.commit)
    }
}

/// Whether a text is a commit (SHA-1), or a digest (SHA-256).
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn listing(files: &str) -> Result<Listing, HubError> {
        Listing::of_answer(
            format!(r#"{{"sha": "{SHA}", "siblings": [{files}]}}"#).as_bytes(),
            "a/b",
        )
    }

    #[test]
    fn sizes_are_those_of_the_files_and_not_of_what_points_to_them() {
        let files = r#"{"rfilename": "config.json", "size": 7},
            {"rfilename": "x.gguf", "size": 135, "lfs": {"size": 9000, "sha256": "0"}}, {"rfilename": "y"}"#;
        let listing = listing(files).unwrap();
        let sizes: Vec<_> = listing.files.values().copied().collect();
        assert_eq!(sizes, [Some(7), Some(9000), None]);
        assert_eq!(listing.short_commit(), "01234567");
    }

    #[test]
    fn a_listing_that_leads_elsewhere_is_refused() {
        for name in ["../x", "/etc/passwd", "a/../../b", "a\\\\b", "x\\u001b[2J"] {
            let error = listing(&format!(r#"{{"rfilename": "{name}"}}"#)).unwrap_err().to_string();
            assert!(
                error.contains("expected a plain path") && !error.contains('\u{1b}'),
                "{error}"
            );
        }
        let sha = Listing::of_answer(br#"{"sha": "../../x"}"#, "a/b").unwrap_err().to_string();
        assert!(sha.contains("expected 40 hexadecimal digits"), "{sha}");
        assert!(
            Listing::of_answer(b"<html>", "a/b")
                .unwrap_err()
                .to_string()
                .contains("not a list of files")
        );
    }
}
