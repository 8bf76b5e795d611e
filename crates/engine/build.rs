//! Unpacks the compiled kernels, `kernels/ptx.lzma`, and lists them for `launch::ptx`.
//!
//! The archive is one text: every file's PTX behind a line `// name`, as `scripts/build-kernels` writes it. PTX has no
//! other comments. `xz -dc kernels/ptx.lzma` shows it.

#![allow(
    clippy::disallowed_methods,
    reason = "fs_err is no build dependency; errors are given their path here"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use lzma_rust2::LzmaReader;

/// Where it is in the workspace, and where in a package: a link that is for packaging alone.
const ARCHIVES: [&str; 2] = ["../../kernels/ptx.lzma", "ptx.lzma"];
/// What unpacking may take, in KiB: the archive's window is 4 MiB.
const MEMORY_LIMIT: u32 = 16 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let [workspace, package] = ARCHIVES.map(|path| here.join(path));
    let archive = if workspace.is_file() { workspace } else { package };
    println!("cargo::rerun-if-changed={}", archive.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    match unpacked(&archive).and_then(|text| listed(&text, &out)) {
        Ok(table) => Ok(fs::write(out.join("ptx.rs"), table)?),
        Err(error) => {
            println!(
                "cargo::error={}: {error}; `scripts/build-kernels` writes it",
                archive.display()
            );
            Err("the compiled kernels are not usable".into())
        }
    }
}

fn unpacked(archive: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    LzmaReader::new_mem_limit(fs::File::open(archive)?, MEMORY_LIMIT, None)?
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Writes every file of the archive into `out` and its row of the table.
fn listed(text: &str, out: &Path) -> Result<String, Box<dyn Error>> {
    let mut table = "&[\n".to_owned();
    for file in text.split("// ").skip(1) {
        let (name, ptx) = file.split_once('\n').ok_or("a heading without PTX")?;
        let (op, head_dim, oldest) =
            parts(name).ok_or_else(|| format!("`{name}` names no kernel"))?;
        let path = out.join(format!("{name}.ptx"));
        fs::write(&path, ptx)?;
        let path = path.to_str().ok_or("the folder of build outputs is not named in UTF-8")?;
        writeln!(table, "    ({op:?}, {head_dim:?}, {oldest}, include_str!({path:?})),")?;
    }
    Ok(format!("{table}]\n"))
}

/// Op, `head_dim` and architecture, of `decode_mma.d128.compute_80` for example.
fn parts(name: &str) -> Option<(&str, Option<u32>, u32)> {
    let (stem, oldest) = name.split_once(".compute_")?;
    let (op, head_dim) = match stem.split_once(".d") {
        Some((op, dim)) => (op, Some(dim.parse().ok()?)),
        None => (stem, None),
    };
    Some((op, head_dim, oldest.parse().ok()?))
}
