//! What runs a launch: the emulator, or a GPU. Tests are written once for both.

use vramplan_engine::launch::{Gpu, Launch, Span};

pub trait Device {
    /// The GPU that it is, or pretends to be.
    fn gpu(&self) -> Gpu;

    /// Memory with these contents; at least one byte long.
    fn upload(&mut self, name: &str, bytes: &[u8]) -> Span;

    fn download(&self, span: Span) -> Vec<u8>;

    /// Runs to the end; says what went wrong.
    fn run(&mut self, launch: &Launch) -> Result<(), String>;

    /// Releases all memory; says which was written outside of its bounds.
    fn release(&mut self) -> Result<(), String>;

    /// How many times as much work it does in the time of the slowest.
    fn speed(&self) -> usize;
}

/// Opens a device that makes its choices by a seed, where it has any.
pub type Open = fn(seed: u64) -> Box<dyn Device>;

/// Tests that run on the emulator, and on a GPU where there is one.
macro_rules! on_devices {
    ($($name:ident => $body:expr;)*) => {
        mod emulated {
            use super::*;
            $(#[test] fn $name() { $body(crate::kernels::emulator::open) })*
        }
        #[cfg(feature = "cuda")]
        mod on_gpu {
            use super::*;
            $(#[test] #[ignore = "needs an NVIDIA GPU"] fn $name() { $body(crate::kernels::cuda::open) })*
        }
    };
}
pub(crate) use on_devices;

/// Plain numbers, to and from bytes.
pub trait Number: Copy {
    const BYTES: usize;
    fn write(self, to: &mut Vec<u8>);
    fn read(from: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();
            fn write(self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
            fn read(from: &[u8]) -> Self {
                Self::from_le_bytes(from.try_into().unwrap())
            }
        }
    )*};
}
numbers!(i8, u8, i32, u32, u64, f32, half::f16);

pub fn upload<T: Number>(device: &mut dyn Device, name: &str, numbers: &[T]) -> Span {
    let mut bytes = Vec::with_capacity(numbers.len() * T::BYTES);
    for number in numbers {
        number.write(&mut bytes);
    }
    device.upload(name, &bytes)
}

/// Memory full of ones: not a number as f32 and f16, -1 as an integer.
pub fn poisoned(device: &mut dyn Device, name: &str, bytes: usize) -> Span {
    device.upload(name, &vec![0xff; bytes.max(1)])
}

pub fn download<T: Number>(device: &dyn Device, span: Span) -> Vec<T> {
    device.download(span).chunks_exact(T::BYTES).map(T::read).collect()
}

pub fn run(device: &mut dyn Device, launch: &Launch) {
    let function = launch.function;
    device.run(launch).unwrap_or_else(|error| panic!("{function}: {error}"));
}
