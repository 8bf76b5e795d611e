//! What was read of servers, kept so that the next time nothing is asked: listings and beginnings of files, each under
//! the commit or digest that it is of.
//!
//! ```text
//! hub/HOST/models--org--name/refs/main          the commit that it was, and by its age: when
//!                           /COMMIT/listing.json
//!                           /COMMIT/heads/FILE   the beginning of a file, as long as it was needed
//! ```

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::escaped;
use super::listing::{Listing, is_commit};

/// A folder for one repository, where there is such a place. What cannot be written is not kept: nothing depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    folder: Option<PathBuf>,
}

/// The commit that a branch or a tag was, and how long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The commit.
    pub commit: String,
    /// Since it was asked for.
    pub age: Duration,
}

impl Kept {
    /// What is kept of `id` on a host.
    pub fn new(root: Option<&Path>, host: &str, id: &str) -> Self {
        let id = id.replace('/', "--");
        let folder = root
            .map(|root| root.join("hub").join(plain(host)).join(format!("models--{}", plain(&id))));
        Self { folder }
    }

    /// What a branch or a tag was, the last time.
    pub fn reference(&self, revision: &str) -> Option<Reference> {
        let path = self.path(&["refs", &plain(revision)])?;
        let commit = String::from_utf8(read(&path, 128)?).ok()?;
        let written = fs_err::metadata(&path).ok()?.modified().ok()?;
        let age = written.elapsed().unwrap_or_default();
        is_commit(&commit).then_some(Reference { commit, age })
    }

    /// Keeps what a branch or a tag is now.
    pub fn keep_reference(&self, revision: &str, commit: &str) {
        self.write(&["refs", &plain(revision)], commit.as_bytes());
    }

    /// The files of a commit.
    pub fn listing(&self, commit: &str) -> Option<Listing> {
        let bytes = read(&self.path(&[commit, "listing.json"])?, Listing::LONGEST)?;
        let listing: Listing = serde_json::from_slice(&bytes).ok()?;
        let sound = listing.commit == commit
            && listing.files.keys().all(|file| crate::name::is_plain_path(file));
        sound.then_some(listing)
    }

    /// Keeps the files of a commit.
    pub fn keep_listing(&self, listing: &Listing) {
        if let Ok(bytes) = serde_json::to_vec(listing) {
            self.write(&[&listing.commit, "listing.json"], &bytes);
        }
    }

    /// The files of which a beginning is kept, as they are called there.
    pub fn heads(&self, commit: &str) -> BTreeSet<String> {
        let entries = self.path(&[commit, "heads"]).and_then(|path| fs_err::read_dir(path).ok());
        let name = |entry: fs_err::DirEntry| entry.file_name().to_str().map(str::to_owned);
        entries.into_iter().flatten().flatten().filter_map(name).collect()
    }

    /// The beginning of a file.
    pub fn head(&self, commit: &str, file: &str, most: u64) -> Vec<u8> {
        let path = self.path(&[commit, "heads", &plain(file)]);
        path.and_then(|path| read(&path, most)).unwrap_or_default()
    }

    /// Keeps the beginning of a file.
    pub fn keep_head(&self, commit: &str, file: &str, head: &[u8]) {
        self.write(&[commit, "heads", &plain(file)], head);
    }

    fn path(&self, parts: &[&str]) -> Option<PathBuf> {
        Some(parts.iter().fold(self.folder.clone()?, |path, part| path.join(part)))
    }

    /// All of it or nothing: another process may read it meanwhile.
    fn write(&self, parts: &[&str], bytes: &[u8]) {
        let Some(path) = self.path(parts) else { return };
        let Some(folder) = path.parent() else { return };
        let written = || -> std::io::Result<()> {
            fs_err::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            file.persist(&path)?;
            Ok(())
        };
        // A disk that is full or read-only costs the next run a request.
        let _ = written();
    }
}

fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let short = fs_err::metadata(path).ok()?.len() <= most;
    short.then(|| fs_err::read(path).ok()).flatten()
}

/// One name for a path: what is not plain is escaped, also on systems that take `:` for more than a letter.
pub(crate) fn plain(text: &str) -> String {
    escaped(text).replace('/', "%2F").replace('~', "%7E")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_kept_comes_back_under_its_commit_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(Some(folder.path()), "hub.example:80", "org/name");
        let commit = "a".repeat(40);
        assert_eq!(kept.reference("main"), None);
        kept.keep_reference("refs/pr/1", &commit);
        assert_eq!(kept.reference("refs/pr/1").unwrap().commit, commit);
        let files = BTreeMap::from([("x/y.gguf".to_owned(), Some(9))]);
        let listing = Listing { commit: commit.clone(), files };
        kept.keep_listing(&listing);
        assert_eq!(kept.listing(&commit), Some(listing));
        assert_eq!(kept.listing(&"b".repeat(40)), None);
        kept.keep_head(&commit, "x/y.gguf", b"GGUF");
        assert_eq!(kept.head(&commit, "x/y.gguf", 99), b"GGUF");
        assert_eq!(kept.head(&commit, "x/y.gguf", 3), b"");
        assert_eq!(Kept::new(None, "h", "a/b").head(&commit, "x", 9), b"");
    }
}
