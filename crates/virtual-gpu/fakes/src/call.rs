//! How every exported function is called: counted, refused after `fork`, its error remembered.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};

use vramplan_virtual_gpu::shared::count;

use crate::core::process;
use crate::error::{Code, Result};

thread_local! {
    static LAST: Cell<c_int> = const { Cell::new(0) };
}

/// Defines functions of the C ABI that return a status.
macro_rules! api {
    ($call:path; $(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name($($arg: $type),*) -> std::ffi::c_int {
            $call(|| -> $crate::error::Result { $body })
        }
    )*};
}
pub(crate) use api;

/// A call of the runtime, whose last error a program can ask for.
pub(crate) fn runtime(work: impl FnOnce() -> Result) -> c_int {
    let code = driver(work);
    if code != 0 {
        LAST.set(code);
    }
    code
}

/// A call of the driver.
pub(crate) fn driver(work: impl FnOnce() -> Result) -> c_int {
    count(&process::shared().counters().calls, 1);
    if process::is_forked() {
        return Code::NOT_INITIALIZED.0;
    }
    code(work())
}

/// A call of a library on top, which has its own codes: 0 or 1.
pub(crate) fn library(work: impl FnOnce() -> Result) -> c_int {
    c_int::from(driver(work) != 0)
}

pub(crate) fn code(result: Result) -> c_int {
    result.map_or_else(|code| code.0, |()| 0)
}

/// The last error of this thread's runtime calls; `clear` forgets it.
pub(crate) fn last_error(clear: bool) -> c_int {
    let last = LAST.get();
    if clear {
        LAST.set(0);
    }
    last
}

/// A pointer that a program passes to receive a value.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Stores a value.
    ///
    /// # Errors
    /// Where the program passed null.
    pub(crate) fn set(self, value: T) -> Result {
        self.maybe(value).then_some(()).ok_or(Code::INVALID_VALUE)
    }

    /// Stores a value unless the program passed null; says whether it did.
    pub(crate) fn maybe(self, value: T) -> bool {
        if self.0.is_null() {
            return false;
        }
        // SAFETY: by CUDA's contract a result pointer that is not null points to room for a value.
        unsafe { self.0.write_unaligned(value) };
        true
    }

    /// The n-th of an array that begins there.
    pub(crate) fn nth(self, n: usize) -> Self {
        Self(self.0.wrapping_add(n))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The same address for values of another type.
    pub(crate) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// Where the n-th byte lies.
    pub(crate) fn byte(self, n: usize) -> Out<u8> {
        Out(self.0.cast::<u8>().wrapping_add(n))
    }
}

impl<T: Copy> Out<T> {
    /// Reads a value that the program passed in the same place.
    pub(crate) fn get(self) -> Result<T> {
        In(self.0.cast_const()).get()
    }
}

/// A pointer to a value that a program passes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// Reads the value.
    ///
    /// # Errors
    /// Where the program passed null.
    pub(crate) fn get(self) -> Result<T> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: by CUDA's contract a parameter pointer that is not null points to a value.
        Ok(unsafe { self.0.read_unaligned() })
    }

    /// The value that lies `bytes` behind the first.
    pub(crate) fn field<U: Copy>(self, bytes: usize) -> Result<U> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        In::<U>(self.0.cast::<u8>().wrapping_add(bytes).cast()).get()
    }
}

/// A C string that a program passes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Text(*const c_char);

impl Text {
    /// The text.
    ///
    /// # Errors
    /// Where the program passed null, or no UTF-8.
    pub(crate) fn get(self) -> Result<String> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: by CUDA's contract a name that is not null is a C string.
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map(str::to_owned).map_err(|_| Code::INVALID_VALUE)
    }
}

/// A buffer for a C string that a program passes.
pub(crate) fn fill_text(out: Out<c_char>, room: usize, text: &str) -> Result {
    if out.is_null() || room == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let bytes = &text.as_bytes()[..text.len().min(room - 1)];
    for (at, byte) in bytes.iter().chain([&0]).enumerate() {
        out.byte(at).maybe(*byte);
    }
    Ok(())
}

/// An address that a program passes or gets: of the card or of the host.
pub(crate) type Address = usize;
/// What a program holds of something of ours and only gives back.
pub(crate) type Handle = usize;
/// A pointer that is never followed here.
pub(crate) type Unused = *const c_void;
