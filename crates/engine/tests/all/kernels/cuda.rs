//! A GPU, with guards around every piece of memory.

use vramplan_engine::cuda::{Cuda, Held};
use vramplan_engine::gpu::Device as _;
use vramplan_engine::launch::{Gpu, Launch, Span};

use crate::kernels::device::Device;

/// Bytes before and behind memory that nobody may write.
const GUARD: usize = 256;
const UNTOUCHED: u8 = 0xc5;

struct Card {
    cuda: Cuda,
    buffers: Vec<(String, Held, Span)>,
}

/// The first GPU, for a test.
pub fn open(_seed: u64) -> Box<dyn Device> {
    Box::new(Card { cuda: Cuda::new(0).unwrap(), buffers: Vec::new() })
}

impl Card {
    /// What lies before and behind memory.
    fn guards(&self, whole: Span) -> Vec<u8> {
        let mut all = vec![0; whole.bytes as usize];
        // SAFETY: the span is that of a live buffer.
        unsafe { self.cuda.device().download(whole, &mut all) }.unwrap();
        let behind = all.split_off(all.len() - GUARD);
        all.truncate(GUARD);
        [all, behind].concat()
    }
}

impl Device for Card {
    fn speed(&self) -> usize {
        5
    }

    fn gpu(&self) -> Gpu {
        self.cuda.device().gpu()
    }

    fn upload(&mut self, name: &str, bytes: &[u8]) -> Span {
        let device = self.cuda.device();
        let guard = [UNTOUCHED; GUARD];
        let buffer = device.allocate(bytes.len() + 2 * GUARD).unwrap();
        let whole = device.span(&buffer);
        // SAFETY: the span is that of a buffer that is kept.
        unsafe { device.upload(whole, &[&guard, bytes, &guard].concat()) }.unwrap();
        let span = whole.part(GUARD, bytes.len()).unwrap();
        self.buffers.push((name.to_owned(), buffer, span));
        span
    }

    fn download(&self, span: Span) -> Vec<u8> {
        assert!(self.buffers.iter().any(|(_, _, known)| *known == span));
        let mut bytes = vec![0; span.bytes as usize];
        // SAFETY: the span lies in a buffer that is kept.
        unsafe { self.cuda.device().download(span, &mut bytes) }.unwrap();
        bytes
    }

    fn run(&mut self, launch: &Launch) -> Result<(), String> {
        // SAFETY: tests launch on memory of this device.
        unsafe { self.cuda.device().launch(launch) }.map_err(|error| error.to_string())?;
        self.cuda.device().synchronize().map_err(|error| error.to_string())
    }

    fn release(&mut self) -> Result<(), String> {
        let mut result = Ok(());
        for (name, buffer, _) in std::mem::take(&mut self.buffers) {
            if self.guards(self.cuda.device().span(&buffer)).iter().any(|&byte| byte != UNTOUCHED) {
                result = result.and(Err(format!("`{name}` was written outside of its bounds")));
            }
        }
        result
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let released = self.release();
        if !std::thread::panicking() {
            released.unwrap();
        }
    }
}
