//! Files that commands write and read as a whole.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::calibrate::recording::{Header, SCHEMA};
use crate::calibrate::{Device, PlannedRun, now};

/// The largest recording that is read, in bytes.
const MOST: u64 = 512 << 20;

/// Writes a file: all of it or nothing. What is no regular file is written to as it is.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.exists() && !path.is_file() {
        fs_err::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())?;
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into `{}`", folder.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    readable(&file);
    file.persist(path).with_context(|| format!("cannot write `{}`", path.display()))?;
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

/// The text of a file that is not larger than it should be.
pub fn read_bounded(path: &Path) -> Result<String, String> {
    let file = fs_err::File::open(path.to_owned()).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MOST {
        return Err(format!("it is larger than {MOST} bytes"));
    }
    String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())
}

/// The header of a recording that begins now.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "runs are measured on Linux"))]
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
