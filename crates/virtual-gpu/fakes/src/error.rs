//! CUDA's error codes, which runtime and driver share.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::sync::OnceLock;

/// A code other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

impl Code {
    pub(crate) const INVALID_VALUE: Self = Self(1);
    pub(crate) const OUT_OF_MEMORY: Self = Self(2);
    pub(crate) const NOT_INITIALIZED: Self = Self(3);
    pub(crate) const INVALID_CONFIGURATION: Self = Self(9);
    pub(crate) const NO_DEVICE: Self = Self(100);
    pub(crate) const INVALID_DEVICE: Self = Self(101);
    pub(crate) const INVALID_CONTEXT: Self = Self(201);
    pub(crate) const NO_IMAGE: Self = Self(209);
    pub(crate) const PEER_UNSUPPORTED: Self = Self(217);
    pub(crate) const INVALID_HANDLE: Self = Self(400);
    pub(crate) const NOT_FOUND: Self = Self(500);
    pub(crate) const PEER_ALREADY: Self = Self(704);
    pub(crate) const PEER_NOT_ENABLED: Self = Self(705);
    pub(crate) const ALREADY_REGISTERED: Self = Self(712);
    pub(crate) const NOT_REGISTERED: Self = Self(713);
    pub(crate) const NOT_SUPPORTED: Self = Self(801);
    pub(crate) const CAPTURING: Self = Self(900);
    pub(crate) const NOT_CAPTURING: Self = Self(401);
}

pub(crate) type Result<T = (), E = Code> = std::result::Result<T, E>;

struct Text {
    runtime: Option<CString>,
    driver: Option<CString>,
    message: Option<CString>,
}

fn texts() -> &'static HashMap<c_int, Text> {
    static TEXTS: OnceLock<HashMap<c_int, Text>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let lines = include_str!("../names/errors.txt").lines().filter(|l| !l.starts_with('#'));
        lines.filter_map(line).collect()
    })
}

fn line(line: &str) -> Option<(c_int, Text)> {
    let mut fields = line.splitn(4, ' ');
    let code = fields.next()?.parse().ok()?;
    let mut text = || fields.next().filter(|f| *f != "-").and_then(|f| CString::new(f).ok());
    Some((code, Text { runtime: text(), driver: text(), message: text() }))
}

/// `cudaErrorMemoryAllocation`.
pub(crate) fn runtime_name(code: c_int) -> *const c_char {
    let text = texts().get(&code).and_then(|t| t.runtime.as_ref());
    text.map_or(c"unrecognized error code".as_ptr(), |t| t.as_ptr())
}

/// `CUDA_ERROR_OUT_OF_MEMORY`; None for an unknown code.
pub(crate) fn driver_name(code: c_int) -> Option<*const c_char> {
    texts().get(&code)?.driver.as_ref().map(|t| t.as_ptr())
}

/// `out of memory`.
pub(crate) fn message(code: c_int) -> Option<*const c_char> {
    let text = texts().get(&code)?;
    Some(text.message.as_ref().map_or(c"unknown error".as_ptr(), |t| t.as_ptr()))
}
