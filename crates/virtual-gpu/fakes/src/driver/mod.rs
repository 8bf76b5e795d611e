//! The CUDA driver, `libcuda`. Names and signatures are the public header's.
#![allow(non_snake_case, unused_variables)]

mod context;
mod device;
mod launch;
pub(crate) mod lookup;
mod memory;
mod reservations;
mod streams;
