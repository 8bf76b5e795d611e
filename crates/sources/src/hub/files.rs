//! A repository's files for the planner's readers: paths below a name such as `hf:org/name`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vramplan_planner::read::{Files, Found, Opened};

use super::error::HubError;
use super::kept::Kept;
use super::remote::{Reader, RemoteFile};

/// Files of one commit. What was read of them is kept when they go.
pub(crate) struct RemoteFiles {
    root: PathBuf,
    files: BTreeMap<String, Arc<RemoteFile>>,
    kept: Kept,
    /// What the files are kept under.
    commit: String,
}

/// Behind the name of a file: its tensor table. No path of a repository has a control character.
const TABLE: &str = "\u{1}table";
/// Answers that come at once.
const THREADS: usize = 8;

impl RemoteFiles {
    /// The files below `root`.
    pub const fn new(
        root: PathBuf,
        files: BTreeMap<String, Arc<RemoteFile>>,
        kept: Kept,
        commit: String,
    ) -> Self {
        Self { root, files, kept, commit }
    }

    /// The path of a file.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// The files' root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file by its path from the root.
    pub fn file(&self, name: &str) -> Option<&Arc<RemoteFile>> {
        self.files.get(name)
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        let parts = path.strip_prefix(&self.root).ok()?.iter().map(|part| part.to_str());
        Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
    }

    /// Does something with several files at once: each is a round trip of its own.
    ///
    /// # Errors
    /// The first that any of them meets.
    pub fn each_named(
        &self,
        names: &[String],
        work: impl Fn(&str, &RemoteFile) -> Result<(), HubError> + Sync,
    ) -> Result<(), HubError> {
        let files: Vec<_> =
            names.iter().filter_map(|name| Some((name, self.files.get(name)?))).collect();
        let next = AtomicUsize::new(0);
        let take = || {
            while let Some((name, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = work(name, file) {
                    // The others need not begin.
                    next.store(files.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others = THREADS.min(files.len()).saturating_sub(1);
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, take).ok();
            let others: Vec<_> = (0..others).filter_map(spawn).collect();
            let mut result = take();
            for other in others {
                match other.join() {
                    Ok(its) => result = result.and(its),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
    }

    /// What was kept of a file's tensor table.
    pub fn kept_table(&self, name: &str) -> Option<Vec<u8>> {
        const LONGEST: u64 = 16 << 20;
        let bytes = self.kept.head(&self.commit, &format!("{name}{TABLE}"), LONGEST);
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Keeps a file's tensor table.
    pub fn keep_table(&self, name: &str, bytes: &[u8]) {
        self.kept.keep_head(&self.commit, &format!("{name}{TABLE}"), bytes);
    }

    /// Keeps what was read of some files, and holds it in memory no longer.
    pub fn keep_and_forget(&self, names: &[String]) {
        for (name, file) in names.iter().filter_map(|name| Some((name, self.files.get(name)?))) {
            file.hang_up();
            if let Some(head) = file.grown() {
                self.kept.keep_head(&self.commit, name, &head);
            }
            file.forget();
        }
    }

    /// Keeps what was read, and ends answers that are still coming.
    pub fn keep(&self) {
        for (name, file) in &self.files {
            file.hang_up();
            if let Some(head) = file.grown() {
                self.kept.keep_head(&self.commit, name, &head);
            }
        }
    }
}

impl Drop for RemoteFiles {
    fn drop(&mut self) {
        self.keep();
    }
}

impl Files for RemoteFiles {
    fn find(&self, path: &Path) -> Found {
        match self.name_of(path) {
            Some(name) if self.files.contains_key(&name) => Found::File,
            Some(name) if name.is_empty() => Found::Folder,
            Some(name) if self.files.keys().any(|file| is_below(file, &name)) => Found::Folder,
            _ => Found::Neither,
        }
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let file = self.name_of(path).and_then(|name| self.files.get(&name));
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let size = file.size()?;
        Ok(Opened { reader: Box::new(Reader::new(Arc::clone(file))), size })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let name = self.name_of(folder).ok_or(io::ErrorKind::NotFound)?;
        let below = |file: &&String| {
            let rest = if name.is_empty() { Some(file.as_str()) } else { rest_below(file, &name) };
            rest.is_some_and(|rest| !rest.contains('/'))
        };
        Ok(self.files.keys().filter(below).map(|file| self.root.join(file)).collect())
    }
}

fn rest_below<'a>(file: &'a str, folder: &str) -> Option<&'a str> {
    file.strip_prefix(folder)?.strip_prefix('/')
}

fn is_below(file: &str, folder: &str) -> bool {
    rest_below(file, folder).is_some()
}
