//! Measured runs, rehearsals and this machine, for people and for programs.

pub mod doctor;
pub mod observe;
#[cfg(target_os = "linux")]
pub mod rehearsal;
