//! Generates a function for every public name of CUDA's libraries that is not written by hand: it
//! only succeeds, and says so once.
#![allow(clippy::disallowed_methods)] // a build script's errors name its files by themselves

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Lists of names, and what their stubs do.
const LIBRARIES: &[(&str, Default)] = &[
    ("cuda", Default::Succeed),
    ("cudart", Default::Succeed),
    ("cublas", Default::Handles),
    ("cublasLt", Default::Handles),
    ("cudnn", Default::Handles),
    ("cufft", Default::Succeed),
    ("cufile", Default::Succeed),
    ("cupti", Default::Succeed),
    ("curand", Default::Handles),
    ("cusolver", Default::Handles),
    ("cusparse", Default::Handles),
    ("nccl", Default::Succeed),
    ("nvrtc", Default::Succeed),
    ("nvtx", Default::Succeed),
    ("nvshmem", Default::Succeed),
    // What a card does not offer, NVML says so: a program expects it.
    ("nvml", Default::Unsupported),
];

/// What is created to describe something for a later call: it takes no memory of a card.
const DESCRIBED: &[&str] = &["Desc", "Layout"];

#[derive(Clone, Copy)]
enum Default {
    Succeed,
    /// Functions that create something store a handle through their first argument.
    Handles,
    Unsupported,
}

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=names");
    println!("cargo::rerun-if-changed=src");
    let mut written = BTreeSet::new();
    sources(Path::new("src"), &mut |text| written.extend(functions(text)))?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    let mut stubs = String::new();
    for (library, default) in LIBRARIES {
        let names = fs::read_to_string(format!("names/{library}.txt"))?;
        let (mut plain, mut handles, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        let mut descriptors = Vec::new();
        for name in names.split_whitespace().filter(|name| written.insert((*name).to_owned())) {
            let of_handles = matches!(default, Default::Handles);
            if of_handles && name.contains("Create") && DESCRIBED.iter().any(|d| name.contains(d)) {
                descriptors.push(name);
            } else if of_handles && (name.contains("Create") || name.ends_with("Init")) {
                handles.push(name);
            } else if of_handles && (name.contains("Destroy") || name.contains("Set")) {
                // There is nothing behind a handle that could be set or ended.
                quiet.push(name);
            } else {
                plain.push(name);
            }
        }
        let value = if matches!(default, Default::Unsupported) { 3 } else { 0 };
        write_list(&mut stubs, "stubs", library, &format!("{value};"), &plain);
        write_list(&mut stubs, "creating_stubs", library, "", &handles);
        write_list(&mut stubs, "quiet_stubs", library, "", &quiet);
        write_list(&mut stubs, "describing_stubs", library, "", &descriptors);
    }
    fs::write(out.join("stubs.rs"), stubs)
}

fn write_list(out: &mut String, name: &str, library: &str, head: &str, names: &[&str]) {
    if !names.is_empty() {
        let _ = writeln!(out, "{name}! {{ {library:?}; {head} {} }}", names.join(" "));
    }
}

fn sources(folder: &Path, take: &mut dyn FnMut(&str)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, take)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            take(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

/// Names of functions written by hand: definitions, and the lists of two macros. Others of this
/// library do no harm.
fn functions(text: &str) -> Vec<String> {
    let word = |rest: &str| {
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    let mut names: Vec<String> = text.split("fn ").skip(1).map(word).collect();
    for list in ["\nproducts! {", "\ntexts! {"] {
        for body in text.split(list).skip(1) {
            let body = body.split('}').next().unwrap_or_default();
            names.extend(body.split_whitespace().map(str::to_owned));
        }
    }
    names
}
