//! Lists the profiles that are embedded in the binary.
//!
//! The program must start in a millisecond or two, so it parses no profile but those that are asked
//! for: which name means which profile is worked out here.

#![allow(
    clippy::disallowed_methods,
    reason = "fs_err is no build dependency; errors are given their path here"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[allow(dead_code)]
#[path = "src/read/names.rs"]
mod names;

use names::Kind;

const SCHEMA: i64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/read/names.rs");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let above = above(&here);
    println!("cargo::rerun-if-changed={above}profiles");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    match embedded(&here.join(above), above) {
        Ok(code) => Ok(fs::write(out.join("profiles.rs"), code)?),
        Err(error) => {
            println!("cargo::error={error}");
            Err("a profile is not usable".into())
        }
    }
}

/// The way to the folder that has the profiles: the workspace's, or in a package, which holds them itself, this one. The
/// link to them that is beside this file is for packaging alone: a checkout on Windows can have a text in its place.
fn above(here: &Path) -> &'static str {
    if here.join("../../profiles").is_dir() { "../../" } else { "" }
}

/// The table of profiles, and for each kind the sorted table of names.
fn embedded(root: &Path, above: &str) -> Result<String, Box<dyn Error>> {
    let mut profiles = String::new();
    let mut tables = String::new();
    let mut index = 0usize;
    for kind in Kind::ALL {
        let mut names = BTreeMap::new();
        let mut words = BTreeMap::new();
        for path in files(&root.join("profiles").join(kind.folder()))? {
            let relative = relative(root, &path)?;
            let header = header(&path).map_err(|error| format!("{relative}: {error}"))?;
            claim(&mut names, kind, &header, &relative, index)?;
            if kind == Kind::Model {
                enter_words(&mut words, &header, index);
            }
            writeln!(
                profiles,
                "    Embedded {{ kind: Kind::{kind:?}, name: {:?}, path: {relative:?}, text: \
                 include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})), json: {:?} }},",
                header.name,
                format!("/{above}{relative}"),
                header.json,
            )?;
            index += 1;
        }
        let mut table = String::new();
        for (name, (index, _)) in &names {
            write!(table, "({name:?}, {index}), ")?;
        }
        writeln!(
            tables,
            "static {}: &[(&str, usize)] = &[{table}];",
            kind.folder().to_uppercase()
        )?;
        if kind == Kind::Model {
            writeln!(tables, "static MODEL_WORDS: &[(&str, usize)] = &[{}];", of_one(&words)?)?;
        }
    }
    Ok(format!("static PROFILES: &[Embedded] = &[\n{profiles}];\n{tables}"))
}

/// Enters the words of every name of a profile.
fn enter_words(words: &mut BTreeMap<String, BTreeSet<usize>>, header: &Header, index: usize) {
    for name in std::iter::once(&header.name).chain(&header.aliases) {
        words.entry(names::words(name)).or_default().insert(index);
    }
}

/// Those words that only one profile has.
fn of_one(words: &BTreeMap<String, BTreeSet<usize>>) -> Result<String, Box<dyn Error>> {
    let mut table = String::new();
    for (words, indexes) in words {
        if let (Some(index), 1) = (indexes.first(), indexes.len()) {
            write!(table, "({words:?}, {index}), ")?;
        }
    }
    Ok(table)
}

struct Header {
    name: String,
    aliases: Vec<String>,
    json: String,
}

/// What a profile calls what it describes. The rest is checked where it is read.
fn header(path: &Path) -> Result<Header, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let table: toml::Table = text.parse().map_err(|error| describe(&text, &error))?;
    if table.get("schema").and_then(toml::Value::as_integer) != Some(SCHEMA) {
        return Err(format!("no `schema = {SCHEMA}`").into());
    }
    let text = |value: &toml::Value| value.as_str().map(ToOwned::to_owned);
    let name = table.get("name").and_then(text).ok_or("no `name`: expected a text")?;
    let aliases = match table.get("aliases") {
        None => Some(Vec::new()),
        Some(value) => value.as_array().and_then(|list| list.iter().map(text).collect()),
    };
    let aliases = aliases.ok_or("`aliases` is not a list of texts")?;
    Ok(Header { name, aliases, json: serde_json::to_string(&table)? })
}

/// The parser's message on one line, as Cargo shows it.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message().replace('\n', ", "))
}

/// Enters every name of a profile, none of which may mean another profile.
fn claim(
    names: &mut BTreeMap<String, (usize, String)>,
    kind: Kind,
    header: &Header,
    path: &str,
    index: usize,
) -> Result<(), Box<dyn Error>> {
    for name in std::iter::once(&header.name).chain(&header.aliases) {
        let normalised = kind.normalise(name);
        if normalised.is_empty() {
            return Err(format!("{path}: `{name}` is no name").into());
        }
        match names.insert(normalised, (index, path.to_owned())) {
            Some((other, of)) if other != index => {
                return Err(format!("{path}: `{name}` means {of} already").into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The profiles in a folder, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn relative(root: &Path, path: &Path) -> Result<String, Box<dyn Error>> {
    let parts: Vec<_> =
        path.strip_prefix(root)?.iter().map(|part| part.to_string_lossy()).collect();
    Ok(parts.join("/"))
}
