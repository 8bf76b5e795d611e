//! Files that commands write and read as a whole.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::problem::Problem;
use crate::calibrate::recording::{Header, SCHEMA};
use crate::calibrate::{Device, PlannedRun, beside, now};
use vramplan_planner::text::printable_path;

/// Writes a file: all of it or nothing. What is no regular file is written to as it is; a link stays one,
/// and a file that is there keeps its permissions.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if is_special(path) {
        fs_err::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())?;
        return Ok(());
    }
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let cannot = || format!("cannot write `{}`", printable_path(&path));
    let mut file = beside(&path).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    file.persist(&path).with_context(cannot)?;
    Ok(())
}

/// Refuses a path that [`write()`] could not write to, before there is something to write.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    if is_special(path) {
        return Ok(());
    }
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    beside(&path).map_err(|error| {
        Problem::new(format!("the report cannot be written: {error}"))
            .hint("name a file in a directory that exists and can be written to")
    })?;
    Ok(())
}

/// A pipe or a device; a directory too, whose error comes from the system.
fn is_special(path: &Path) -> bool {
    path.exists() && !path.is_file()
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
