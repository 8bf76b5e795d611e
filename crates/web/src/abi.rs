//! What the module exports: one request at a time, written into memory that the module made room for.
//!
//! ```text
//! at = request(length)      room for a request; the page writes it there
//! length = answer()         answers it
//! at = answer_at()          where the answer is: UTF-8, until the next request
//! length = failure()        after a trap: the length of what went wrong
//! at = failure_at()         and where it is said
//! ```
//!
//! No pointer is followed here: the page alone reads and writes through them, inside the module's own memory.

#![allow(
    unsafe_code,
    reason = "a name that is exported cannot be checked for clashes by the compiler"
)]

use std::cell::RefCell;

use crate::Session;

#[derive(Default)]
struct Planner {
    session: Session,
    request: Vec<u8>,
    answer: String,
}

thread_local! {
    static PLANNER: RefCell<Planner> = RefCell::default();
    static FAILURE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes room for a request of so many bytes, and says where.
#[unsafe(no_mangle)]
pub extern "C" fn request(length: usize) -> *mut u8 {
    PLANNER.with_borrow_mut(|planner| {
        planner.request.clear();
        planner.request.resize(length, 0);
        planner.request.as_mut_ptr()
    })
}

/// Answers the request, and says how long the answer is.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> usize {
    std::panic::set_hook(Box::new(|panic| {
        FAILURE.with_borrow_mut(|failure| *failure = panic.to_string());
    }));
    PLANNER.with_borrow_mut(|planner| {
        planner.answer = planner.session.answer(&planner.request);
        planner.answer.len()
    })
}

/// Where the answer is.
#[unsafe(no_mangle)]
pub extern "C" fn answer_at() -> *const u8 {
    PLANNER.with_borrow(|planner| planner.answer.as_ptr())
}

/// How long the account of a failure is.
#[unsafe(no_mangle)]
pub extern "C" fn failure() -> usize {
    FAILURE.with_borrow(String::len)
}

/// Where the account of a failure is.
#[unsafe(no_mangle)]
pub extern "C" fn failure_at() -> *const u8 {
    FAILURE.with_borrow(|failure| failure.as_ptr())
}
