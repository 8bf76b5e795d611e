//! The Python modules that a rehearsed program finds first: `sitecustomize`, which Python runs by
//! itself, and what it loads.

use std::io;
use std::path::Path;

macro_rules! modules {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../python/", $name)))),*]
    };
}

const MODULES: &[(&str, &str)] = modules! {
    "sitecustomize.py"
    "vramplan_phases.py"
    "vramplan_shadow/__init__.py"
    "vramplan_shadow/fakes.py"
    "vramplan_shadow/kernels.py"
    "vramplan_shadow/operations.py"
    "vramplan_shadow/tensors.py"
};

/// Writes the modules into a folder.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    for (name, text) in MODULES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, text)?;
    }
    Ok(())
}
