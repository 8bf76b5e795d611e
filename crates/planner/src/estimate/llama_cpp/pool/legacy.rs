//! The pool of a card or a build without virtual memory management (`VMM: no` in the log; `GGML_CUDA_NO_VMM`, which is
//! HIP's default): a list of buffers that were allocated (`ggml_cuda_pool_leg` in `ggml-cuda.cu`).
//!
//! A request takes the smallest buffer that is large enough, or a new one that is a twentieth larger. Buffers are kept, so
//! that the scores of a prompt, which grow with every micro-batch, leave those of all micro-batches before behind. Where
//! the card has no room left all that are not in use are given back: so much may be taken, and need not.

use crate::units::{Bytes, Overflow};

/// Buffers that are kept at most (`MAX_BUFFERS`).
const MOST: usize = 256;
/// What a new buffer is larger by, and rounded up to.
const AHEAD: (u64, u64) = (21, 20);
const ALIGNMENT: Bytes = Bytes::new(256);

/// The buffers.
#[derive(Default)]
pub(super) struct Pool {
    free: Vec<Bytes>,
    total: Bytes,
}

/// What a new buffer for a request takes.
pub(super) fn ahead(size: Bytes) -> Result<Bytes, Overflow> {
    size.scale(AHEAD.0, AHEAD.1)?.round_up(ALIGNMENT)
}

impl Pool {
    /// Serves requests that are alive together, and takes them back.
    pub(super) fn serve(&mut self, requests: &[Bytes]) -> Result<(), Overflow> {
        let mut used = Vec::new();
        for request in requests.iter().filter(|request| !request.is_zero()) {
            used.push(self.allocate(*request)?);
        }
        // The last that was asked for is given back first.
        for buffer in used.into_iter().rev() {
            if self.free.len() < MOST {
                self.free.push(buffer);
            } else {
                self.total = self.total.minus_or_zero(buffer);
            }
        }
        Ok(())
    }

    /// All that is held.
    pub(super) const fn total(&self) -> Bytes {
        self.total
    }

    fn allocate(&mut self, request: Bytes) -> Result<Bytes, Overflow> {
        let fitting = self.free.iter().enumerate().filter(|(_, buffer)| **buffer >= request);
        if let Some((at, _)) = fitting.min_by_key(|(_, buffer)| **buffer) {
            return Ok(self.free.swap_remove(at));
        }
        let made = ahead(request)?;
        self.total = self.total.plus(made)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_requests_leave_buffers_behind() {
        let mut pool = Pool::default();
        let mib = |n: u64| Bytes::new(n << 20);
        for size in [100, 104, 110, 110] {
            pool.serve(&[mib(size)]).unwrap();
        }
        // 104 MiB fit into the 105 of the first, 110 do not.
        assert_eq!(pool.total(), ahead(mib(100)).unwrap().plus(ahead(mib(110)).unwrap()).unwrap());
        // Two at once: the larger buffer is taken first by none that is smaller.
        pool.serve(&[mib(90), mib(109)]).unwrap();
        assert_eq!(pool.total(), ahead(mib(100)).unwrap().plus(ahead(mib(110)).unwrap()).unwrap());
    }
}
