//! Functions that only succeed. Each says once that it was called: a program that depends on what it
//! should have done is not rehearsed faithfully.
#![allow(non_snake_case)]

use std::ffi::c_long;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use vramplan_virtual_gpu::event::What;
use vramplan_virtual_gpu::shared::count;

use crate::call::Out;
use crate::core::{events, fresh_handle, process};

macro_rules! stubs {
    ($library:literal; $value:literal; $($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name() -> c_long {
            static CALLED: AtomicBool = AtomicBool::new(false);
            called(&CALLED, $library, stringify!($name));
            $value
        }
    )*};
}

macro_rules! creating_stubs {
    ($library:literal; $($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name(handle: Out<usize>) -> c_long {
            static CALLED: AtomicBool = AtomicBool::new(false);
            called(&CALLED, $library, stringify!($name));
            handle.maybe(fresh_handle());
            0
        }
    )*};
}

/// Functions that have nothing to do here: they are not worth a word.
macro_rules! quiet_stubs {
    ($library:literal; $($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name() -> c_long {
            count(&process::shared().counters().calls, 1);
            0
        }
    )*};
}

/// Functions that create a description: a handle is all that they are asked for.
macro_rules! describing_stubs {
    ($library:literal; $($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name(handle: Out<usize>) -> c_long {
            count(&process::shared().counters().calls, 1);
            handle.maybe(fresh_handle());
            0
        }
    )*};
}

include!(concat!(env!("OUT_DIR"), "/stubs.rs"));

#[cold]
fn called(before: &AtomicBool, library: &str, function: &str) {
    count(&process::shared().counters().calls, 1);
    if !before.swap(true, Relaxed) {
        let (library, function) = (library.to_owned(), function.to_owned());
        events::send(What::Stub { library, function });
    }
}
