//! Programs that cannot be rehearsed, recognised before anything runs.
//!
//! Only headers and symbol tables are read. A CUDA runtime that is linked in checks that its driver
//! is NVIDIA's; that check is respected, not worked around.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

mod image;

use image::Image;

use crate::launch::variable;

/// Why a program cannot be rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotRehearse {
    /// Not Linux on x86-64 with the GNU C library.
    #[error("cannot be rehearsed because the virtual GPU exists for Linux on x86-64 only")]
    Platform,
    /// No such program.
    #[error("cannot be rehearsed because `{0}` was not found")]
    NotFound(PathBuf),
    /// A text without `#!`, or a program for another processor.
    #[error("cannot be rehearsed because `{0}` is not a program of this machine's kind")]
    OtherMachine(PathBuf),
    /// No dynamic loader.
    #[error(
        "cannot be rehearsed because `{0}` is linked statically: it asks the loader for no library\nhint: use a build with shared libraries"
    )]
    Static(PathBuf),
    /// Another loader, without `LD_AUDIT`.
    #[error(
        "cannot be rehearsed because `{0}` uses musl, whose loader cannot be given other libraries"
    )]
    Musl(PathBuf),
    /// The file that holds the runtime.
    #[error(
        "cannot be rehearsed because `{0}` has the CUDA runtime linked in, which accepts NVIDIA's driver only\nhint: use a build with `libcudart.so` as a shared library"
    )]
    StaticRuntime(PathBuf),
    /// The loader drops `LD_*` for it.
    #[error(
        "cannot be rehearsed because `{0}` runs with another user's rights: the loader ignores what it is told"
    )]
    SetUid(PathBuf),
}

/// How deep scripts may name one another, and how many libraries are looked at.
const SCRIPTS: usize = 4;
const LIBRARIES: usize = 400;

/// Whether this machine can rehearse at all.
pub fn this_platform() -> Result<(), CannotRehearse> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        Ok(())
    } else {
        Err(CannotRehearse::Platform)
    }
}

/// Looks at the program that a command would run, and at the libraries that it names.
pub fn program(command: &Command) -> Result<(), CannotRehearse> {
    this_platform()?;
    let path = variable(command, "PATH");
    let name = command.get_program();
    let base = command.get_current_dir();
    let program = find(name, path.as_deref(), base)
        .ok_or_else(|| CannotRehearse::NotFound(PathBuf::from(name)))?;
    let program = interpreter(program, path.as_deref())?;
    let image =
        Image::read(&program).ok_or_else(|| CannotRehearse::OtherMachine(program.clone()))?;
    if fs_err::metadata(&program).is_ok_and(|file| file.mode() & 0o6000 != 0) {
        return Err(CannotRehearse::SetUid(program));
    }
    match image.interpreter.as_deref() {
        None => return Err(CannotRehearse::Static(program)),
        Some(loader) if loader.contains("ld-musl") => return Err(CannotRehearse::Musl(program)),
        Some(_) => {}
    }
    let library_path = variable(command, "LD_LIBRARY_PATH");
    match static_runtime(program, image, library_path.as_deref()) {
        Some(file) => Err(CannotRehearse::StaticRuntime(file)),
        None => Ok(()),
    }
}

/// The first of the program and the libraries it names that has the CUDA runtime linked in.
fn static_runtime(program: PathBuf, image: Image, library_path: Option<&OsStr>) -> Option<PathBuf> {
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([(program, image)]);
    while let Some((file, image)) = queue.pop_front() {
        if image.has_runtime() {
            return Some(file);
        }
        for needed in &image.needed {
            let found = image.search(&file, library_path).map(|folder| folder.join(needed));
            if let Some(path) = found.into_iter().find(|path| path.is_file())
                && seen.len() < LIBRARIES
                && seen.insert(path.clone())
                && let Some(image) = Image::read(&path)
            {
                queue.push_back((path, image));
            }
        }
    }
    None
}

/// The file that a name stands for, as `execvp` finds it.
fn find(name: &OsStr, path: Option<&OsStr>, base: Option<&Path>) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        let file = base.map_or_else(|| PathBuf::from(name), |base| base.join(name));
        return file.is_file().then_some(file);
    }
    let runnable = |file: &PathBuf| {
        fs_err::metadata(file).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
    };
    std::env::split_paths(path?).map(|folder| folder.join(name)).find(runnable)
}

/// Follows `#!` to the program that is run.
fn interpreter(mut file: PathBuf, path: Option<&OsStr>) -> Result<PathBuf, CannotRehearse> {
    for _ in 0..SCRIPTS {
        let Some(words) = shebang(&file) else { break };
        let mut words = words.into_iter();
        let Some(first) = words.next() else { break };
        let named = if Path::new(&first).file_name() == Some(OsStr::new("env")) {
            // `env -S name`, `env NAME=value name`
            words.find(|w| !w.as_bytes().starts_with(b"-") && !w.as_bytes().contains(&b'='))
        } else {
            Some(first)
        };
        let Some(named) = named else { break };
        file = find(&named, path, None).ok_or_else(|| CannotRehearse::NotFound(named.into()))?;
    }
    Ok(file)
}

fn shebang(file: &Path) -> Option<Vec<OsString>> {
    use std::io::Read;
    let mut head = Vec::new();
    fs_err::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    Some(words.map(|word| OsStr::from_bytes(word).to_owned()).collect())
}
