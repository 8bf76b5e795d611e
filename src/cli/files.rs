//! Files that commands write and read as a whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::calibrate::recording::{Header, SCHEMA};
use crate::calibrate::{Device, PlannedRun, now};
use crate::text::printable_path;

/// Writes a file: all of it or nothing. What is no regular file is written to as it is.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.exists() && !path.is_file() {
        fs_err::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())?;
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into `{}`", printable_path(folder)))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write `{}`", printable_path(path)))?;
    readable(&file);
    file.persist(path).with_context(|| format!("cannot write `{}`", printable_path(path)))?;
    Ok(())
}

/// A temporary file is private; a report need not be.
#[cfg(unix)]
fn readable(file: &tempfile::NamedTempFile) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644));
}

#[cfg(not(unix))]
fn readable(_file: &tempfile::NamedTempFile) {}

/// The header of a recording that begins now.
pub fn header(device: Device, command: Vec<String>, plan: Option<PlannedRun>) -> Header {
    Header {
        schema: SCHEMA.to_owned(),
        tool: concat!("vramplan ", env!("CARGO_PKG_VERSION")).to_owned(),
        started: now(),
        device,
        command,
        plan,
        notes: std::collections::BTreeMap::new(),
    }
}

/// Where the user's own profiles are.
pub fn configured_profiles() -> anyhow::Result<PathBuf> {
    use etcetera::BaseStrategy as _;
    let strategy = etcetera::choose_base_strategy()?;
    Ok(strategy.config_dir().join("vramplan").join("profiles"))
}
