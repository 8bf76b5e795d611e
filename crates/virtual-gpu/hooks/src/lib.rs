//! What the dynamic loader is told in a rehearsal, as `LD_AUDIT` and `LD_PRELOAD`.
//!
//! As an auditor it answers every request for one of NVIDIA's libraries, by name, by `DT_RPATH` or
//! by an absolute path, with the file of that name in the rehearsal's folder. As a preloaded library
//! it keeps a model file that is mapped from being read: a rehearsal needs its size alone.
//!
//! It runs before `main`, in every process of the rehearsal, and keeps to libc.
#![cfg(target_os = "linux")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

const LAV_CURRENT: c_uint = 2;
const FOLDER: &CStr = c"VRAMPLAN_VIRTUAL_GPU_FOLDER";
const PATH: usize = 4096;

/// The version of the auditing interface that is spoken.
#[unsafe(no_mangle)]
pub extern "C" fn la_version(offered: c_uint) -> c_uint {
    offered.min(LAV_CURRENT)
}

/// Answers a search for a library.
///
/// # Safety
/// Called by the loader alone, with a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn la_objsearch(
    name: *const c_char,
    _cookie: *mut usize,
    _flag: c_uint,
) -> *mut c_char {
    // SAFETY: the loader passes a C string.
    let asked = unsafe { CStr::from_ptr(name) }.to_bytes();
    let base = asked.rsplit(|&byte| byte == b'/').next().unwrap_or(asked);
    if !is_nvidias(base) {
        return name.cast_mut();
    }
    // SAFETY: the name is a C string, and nothing changes the environment while the loader runs.
    let folder = unsafe { libc::getenv(FOLDER.as_ptr()) };
    if folder.is_null() {
        return name.cast_mut();
    }
    // SAFETY: `getenv` gives a C string.
    let folder = unsafe { CStr::from_ptr(folder) }.to_bytes();
    ours(folder, base).unwrap_or(name.cast_mut())
}

fn is_nvidias(base: &[u8]) -> bool {
    [&b"libcu"[..], b"libnv", b"libnccl"].iter().any(|start| base.starts_with(start))
}

/// The path of our file of this name, where there is one.
fn ours(folder: &[u8], base: &[u8]) -> Option<*mut c_char> {
    let path = [folder, b"/", base, b"\0"].concat();
    let path = CStr::from_bytes_with_nul(&path).ok().filter(|_| path.len() < PATH)?;
    // SAFETY: the path is a C string. The loader keeps the answer as long as it likes, so it must
    // not be freed: `strdup` makes it the loader's.
    unsafe {
        if libc::access(path.as_ptr(), libc::R_OK) != 0 {
            return None;
        }
        let kept = libc::strdup(path.as_ptr());
        (!kept.is_null()).then_some(kept)
    }
}

/// `mmap` that does not read a file ahead.
///
/// # Safety
/// As `mmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    at: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let flags = if fd >= 0 { flags & !libc::MAP_POPULATE } else { flags };
    // SAFETY: the caller's arguments, of which only a hint was changed. `syscall` sets `errno`.
    unsafe { libc::syscall(libc::SYS_mmap, at, len, protection, flags, fd, offset) as *mut c_void }
}

/// The same under its other name.
///
/// # Safety
/// As `mmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    at: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    // SAFETY: the caller's arguments.
    unsafe { mmap(at, len, protection, flags, fd, offset) }
}

/// Advice is a hint: none is followed, so none reads a file.
#[unsafe(no_mangle)]
pub extern "C" fn posix_madvise(_at: *mut c_void, _len: usize, _advice: c_int) -> c_int {
    0
}

/// As [`posix_madvise`].
#[unsafe(no_mangle)]
pub extern "C" fn posix_fadvise(
    _fd: c_int,
    _at: libc::off_t,
    _len: libc::off_t,
    _advice: c_int,
) -> c_int {
    0
}

/// As [`posix_madvise`].
#[unsafe(no_mangle)]
pub extern "C" fn posix_fadvise64(_fd: c_int, _at: i64, _len: i64, _advice: c_int) -> c_int {
    0
}

/// Page-locks nothing: a program that locks its model (`--mlock`) would read it whole.
#[unsafe(no_mangle)]
pub extern "C" fn mlock(_at: *const c_void, _len: usize) -> c_int {
    0
}
