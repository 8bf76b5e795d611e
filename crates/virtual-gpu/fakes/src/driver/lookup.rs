//! Functions of the driver by name and version.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// The address of the function that a program means by a name, for the CUDA version that it was
/// built for (12080 for 12.8).
pub(crate) fn driver_function(name: &str, version: u32) -> Option<usize> {
    if !name.starts_with("cu") {
        return None;
    }
    let column = match version / 1000 {
        ..12 => 0,
        12 => 1,
        _ => 2,
    };
    let versioned = versions().get(name).map(|by_major| by_major[column]);
    own_symbol(versioned.filter(|name| *name != "-").unwrap_or(name))
}

fn versions() -> &'static HashMap<&'static str, [&'static str; 3]> {
    static VERSIONS: OnceLock<HashMap<&str, [&str; 3]>> = OnceLock::new();
    VERSIONS.get_or_init(|| {
        let lines = include_str!("../../names/versions.txt").lines();
        let row = |line: &'static str| {
            let mut fields = line.split(' ');
            let name = fields.next()?;
            Some((name, [fields.next()?, fields.next()?, fields.next()?]))
        };
        lines.filter(|line| !line.starts_with('#')).filter_map(row).collect()
    })
}

/// A symbol of this library, however the program opened it.
fn own_symbol(name: &str) -> Option<usize> {
    let name = CString::new(name).ok()?;
    // SAFETY: the handle is one of this library, which stays loaded; the name is a C string.
    let at = unsafe { libc::dlsym(own_library()? as *mut c_void, name.as_ptr()) };
    (!at.is_null()).then_some(at as usize)
}

fn own_library() -> Option<usize> {
    static HANDLE: OnceLock<Option<usize>> = OnceLock::new();
    *HANDLE.get_or_init(|| {
        let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the address is of this library's code, and the structure is written by the call
        // where it succeeds.
        let file = unsafe {
            if libc::dladdr(own_library as *const c_void, info.as_mut_ptr()) == 0 {
                return None;
            }
            info.assume_init().dli_fname
        };
        // SAFETY: the loader's name of a file that is mapped.
        let handle = unsafe { libc::dlopen(file, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(handle as usize)
    })
}
