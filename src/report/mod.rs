//! Measured runs and this machine, for people and for programs.

pub mod doctor;
pub mod observe;
