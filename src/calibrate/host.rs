//! What surrounds the program: containers, WSL, device files, the driver's libraries on the loader's path.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use vramplan_planner::text::{printable_message, printable_path};

/// Libraries that are opened on a GPU, each with what it is for.
const LIBRARIES: [(&str, &str); 2] =
    [("libcuda.so.1", "running the engine"), ("libnvidia-ml.so.1", "reading the card's memory")];

/// Where this program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Host {
    /// What kind of container this is in, if it is in one.
    pub container: Option<String>,
    /// Whether Windows runs below.
    pub wsl: bool,
    /// The device files of the driver, and whether they may be opened.
    pub device_files: Vec<DeviceFile>,
    /// The driver's libraries.
    pub libraries: Vec<Library>,
}

/// A device file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceFile {
    /// Where it is.
    pub path: String,
    /// Why it cannot be opened, if it cannot.
    pub refused: Option<String>,
}

/// A library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Library {
    /// Its name, as the loader looks for it.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Where it is found.
    pub path: Option<PathBuf>,
}

/// Looks around.
pub fn host() -> Host {
    let release = fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let search = Search::new();
    let library = |name: &str, purpose: &str| Library {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        path: search.find(name),
    };
    Host {
        container: container(),
        wsl: release.to_ascii_lowercase().contains("microsoft"),
        device_files: device_files(),
        libraries: LIBRARIES.map(|(name, purpose)| library(name, purpose)).into(),
    }
}

/// The files that container runtimes leave, and what they are of.
const TRACES: [(&str, &str); 3] = [
    ("/.dockerenv", "docker"),
    ("/run/.containerenv", "podman"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
];

fn container() -> Option<String> {
    let trace = TRACES.iter().find(|(path, _)| Path::new(path).exists());
    if let Some((_, kind)) = trace {
        return Some((*kind).to_owned());
    }
    let groups = fs_err::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let kinds = ["docker", "kubepods", "containerd", "lxc"];
    kinds.iter().find(|kind| groups.contains(**kind)).map(|kind| (*kind).to_owned())
}

fn device_files() -> Vec<DeviceFile> {
    let fixed = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/dxg"].map(PathBuf::from);
    let cards = (0..16).map(|index| PathBuf::from(format!("/dev/nvidia{index}")));
    let there = fixed.into_iter().chain(cards).filter(|path| path.exists());
    there
        .map(|path| {
            let opened = fs_err::OpenOptions::new().read(true).write(true).open(&path);
            DeviceFile {
                path: printable_path(&path),
                refused: opened.err().map(|error| printable_message(&error.to_string())),
            }
        })
        .collect()
}

/// Where the loader looks: `LD_LIBRARY_PATH`, its cache, the usual directories.
struct Search {
    folders: Vec<PathBuf>,
    cache: Vec<u8>,
}

const USUAL: [&str; 7] = [
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/wsl/lib",
    "/usr/lib",
];

impl Search {
    fn new() -> Self {
        let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let named = std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty());
        Self {
            folders: named.chain(USUAL.map(PathBuf::from)).collect(),
            cache: fs_err::read("/etc/ld.so.cache").unwrap_or_default(),
        }
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let inside = self.folders.iter().map(|folder| folder.join(name));
        let mut found = inside.chain(cached(&self.cache, name));
        found.find(|path| path.is_file())
    }
}

/// The paths of a library in the loader's cache, whose strings end in zeros.
fn cached<'c>(cache: &'c [u8], name: &'c str) -> impl Iterator<Item = PathBuf> + 'c {
    let strings = cache.split(|&byte| byte == 0);
    let text = strings.filter_map(|string| std::str::from_utf8(string).ok());
    text.filter(move |text| {
        text.strip_suffix(name)
            .is_some_and(|folder| folder.starts_with('/') && folder.ends_with('/'))
    })
    .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_names_libraries_by_their_path() {
        let cache = b"glibc-ld.so.cache1.1\0\x07libcublas.so.13\0/opt/cuda/lib64/libcublas.so.13\0\
            /opt/other/notlibcublas.so.13\0";
        let found: Vec<_> = cached(cache, "libcublas.so.13").collect();
        assert_eq!(found, [PathBuf::from("/opt/cuda/lib64/libcublas.so.13")]);
    }

    #[test]
    fn the_c_library_is_found_wherever_it_is() {
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert!(Search::new().find("libc.so.6").is_some());
        }
        assert_eq!(Search::new().find("libnothing-of-this-name.so.0"), None);
    }
}
